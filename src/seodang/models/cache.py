"""Keys and values of earlier tokens, so that they are never computed twice.

The caller owns the cache and advances it: a forward pass writes behind `length`, `advance` moves `length`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from seodang.errors import FitError
from seodang.models.config import ModelConfig

SLACK = 64
"""Tokens by which a local layer can be taken back, and keys after which its buffer is tidied."""


class Cache(Protocol):
    """What generation asks of a model's memory, be it keys and values or a recurrent state."""

    length: int
    """Tokens that are remembered."""
    capacity: int
    """Tokens that there is room for."""

    @property
    def batch(self) -> int:
        """Rows."""

    def advance(self, n_tokens: int) -> None:
        """Count the tokens of the last forward pass as written."""

    def truncate(self, length: int) -> int:
        """Forget everything behind `length` tokens. Returns what is left: less, where that was forgotten already."""

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order (beams that survive, batch rows that go on)."""

    def n_bytes(self) -> int:
        """Size of what is held."""


def check_room(needed: int, capacity: int) -> None:
    """Raise FitError when a cache of `capacity` tokens is to hold more."""
    if needed > capacity:
        raise FitError(
            f"the cache holds {capacity} tokens and {needed} are needed",
            "the text is longer than was planned for",
            "make a larger cache, or generate fewer tokens",
        )


class KVCache:
    """Keys and values (2, B, K, tokens, d) of every layer, for K key-value heads of width d.

    A local layer keeps only what its window can still reach, and `SLACK` more.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch: int,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self._window = config.window or 0
        self._keep = self._window - 1 + SLACK
        local = config.local_layers if self._keep + SLACK < capacity else ()
        whole = [layer for layer in range(config.n_layers) if layer not in local]
        self._windowed = frozenset(config.local_layers)
        self._place = {layer: place for layers in (whole, local) for place, layer in enumerate(layers)}
        self._first = dict.fromkeys(local, 0)  # where in the text a local layer's buffer begins
        size = (batch, config.n_kv_heads)
        self._whole = torch.empty(len(whole), 2, *size, capacity, config.d_head, dtype=dtype, device=device)
        self._local = torch.empty(len(local), 2, *size, self._keep + SLACK, config.d_head, dtype=dtype, device=device)
        self.capacity = capacity
        self.length = 0

    @property
    def batch(self) -> int:
        """Rows."""
        return self._whole.shape[2]

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write k and v (B, K, T, d) behind `length`; return all keys and values that the layer's T queries may see.

        Those are (B, K, length + T, d), or, in a local layer, (B, K, min(length, window - 1) + T, d).
        """
        end = self.length + k.shape[2]
        check_room(end, self.capacity)
        seen = self.length - min(self.length, self._window - 1) if layer in self._windowed else 0
        if layer in self._first:
            return self._update_local(layer, k, v, seen)
        keys, values = self._whole[self._place[layer]]
        keys[:, :, self.length : end] = k
        values[:, :, self.length : end] = v
        return keys[:, :, seen:end], values[:, :, seen:end]

    def _update_local(self, layer: int, k: Tensor, v: Tensor, seen: int) -> tuple[Tensor, Tensor]:
        buffer, first = self._local[self._place[layer]], self._first[layer]
        at, n_new = self.length - first, k.shape[2]
        assert seen >= first, "a long pass was not counted: advance or truncate before the next one"
        if at + n_new > buffer.shape[3] and at > self._keep:  # move what is still needed to the front
            buffer[..., : self._keep, :] = buffer[..., at - self._keep : at, :].clone()
            first, at = self.length - self._keep, self._keep
        both = torch.stack((k, v))
        if at + n_new <= buffer.shape[3]:
            buffer[..., at : at + n_new, :] = both
            everything = buffer[..., seen - first : at + n_new, :]
        else:  # a long prompt: it is seen whole, and its end is kept
            everything = torch.cat((buffer[..., seen - first : at, :], both), dim=3)
            kept = min(self._keep, everything.shape[3])
            buffer[..., :kept, :] = everything[..., -kept:, :]
            first = self.length + n_new - kept
        self._first[layer] = first
        return everything[0], everything[1]

    def advance(self, n_tokens: int) -> None:
        """Count the tokens of the last forward pass as written."""
        self.length += n_tokens

    def truncate(self, length: int) -> int:
        """Forget everything behind `length` tokens; all of it where a local layer no longer has its window's keys."""
        self.length = min(self.length, length)
        if any(first > max(0, self.length - self._window + 1) for first in self._first.values()):
            self.length = 0
            self._first = dict.fromkeys(self._first, 0)
        return self.length

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order (beams that survive, batch rows that go on)."""
        self._whole = self._whole.index_select(2, rows)
        self._local = self._local.index_select(2, rows)

    def n_bytes(self) -> int:
        """Size of the buffers."""
        return sum(buffer.numel() * buffer.element_size() for buffer in (self._whole, self._local))
