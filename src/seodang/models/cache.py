"""Keys and values of earlier tokens, so that they are never computed twice.

The caller owns the cache and advances it: a forward pass writes behind `length`, `advance` moves `length`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seodang.errors import FitError
from seodang.models.config import ModelConfig


class KVCache:
    """One buffer (layers, 2, B, K, capacity, d) for K key-value heads of width d."""

    def __init__(
        self,
        config: ModelConfig,
        batch: int,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (config.n_layers, 2, batch, config.n_kv_heads, capacity, config.d_head)
        self._buffer = torch.empty(shape, dtype=dtype, device=device)
        self.capacity = capacity
        self.length = 0

    @property
    def batch(self) -> int:
        """Rows."""
        return self._buffer.shape[2]

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write k and v (B, K, T, d) behind `length`; return all keys and values (B, K, length + T, d)."""
        end = self.length + k.shape[2]
        if end > self.capacity:
            raise FitError(
                f"the cache holds {self.capacity} tokens and {end} are needed",
                "the text is longer than was planned for",
                "make a larger cache, or generate fewer tokens",
            )
        keys, values = self._buffer[layer]
        keys[:, :, self.length : end] = k
        values[:, :, self.length : end] = v
        return keys[:, :, :end], values[:, :, :end]

    def advance(self, n_tokens: int) -> None:
        """Count the tokens of the last forward pass as written."""
        self.length += n_tokens

    def truncate(self, length: int) -> None:
        """Forget everything behind `length` tokens."""
        self.length = min(self.length, length)

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order (beams that survive, batch rows that go on)."""
        self._buffer = self._buffer.index_select(2, rows)

    def n_bytes(self) -> int:
        """Size of the buffer."""
        return self._buffer.numel() * self._buffer.element_size()
