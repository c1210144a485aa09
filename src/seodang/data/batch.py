"""What a model is trained on: a rectangle of token ids and, for every position, the id it must predict."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

IGNORE = -100
"""Target of a position that carries no loss (the value torch's cross-entropy leaves out)."""


@dataclass
class Batch:
    """One micro-batch. B rows, T positions, U positions of a decoder.

    Rows of a labelled task may be of S sequences each, the orders of two texts or the answers of a choice: ids,
    targets, documents, positions and segments are then (B, S, T), and a sequence whose documents are all -1 does not
    exist.

    ids          (B, T) int64, input token ids: the decoder's of a causal model, else the encoder's.
    targets      (B, T) int64, the id each position must predict, already aligned with `ids`; -100 carries no loss.
                 With `decoder_ids` they are the decoder's: (B, U), aligned with those.
    documents    (B, T) int64 or None: number of the document each position belongs to, counted from 0 in each row;
                 attention never crosses from one to another; -1 is padding. None: every row is one document.
    positions    (B, T) int64 or None: position within the document, restarting at 0. None: 0 … T-1.
    n_bytes      UTF-8 bytes that the predicted targets stand for (0 if unknown), for bits per byte.
    segments     (B, T) int64 or None: token types, 0 for the first text of a pair and 1 for the second.
    labels       (B,) int64 or None: class of each row, such as whether B follows A; -100 for none. float32 for a score.
    decoder_ids  (B, U) int64 or None: what an encoder-decoder's decoder reads.
    draws        (B, T) float32 or None: numbers from [0, 1) for what an objective draws at each position, so that
                 micro-batches and ranks change no draw.
    stream       (place of the first row among this process's streams, number of the step) or None: row b continues
                 stream `stream[0] + b` where the step before left it, unless its first position is 0.
    """

    ids: Tensor
    targets: Tensor
    documents: Tensor | None = None
    positions: Tensor | None = None
    n_bytes: int = 0
    segments: Tensor | None = None
    labels: Tensor | None = None
    decoder_ids: Tensor | None = None
    draws: Tensor | None = None
    stream: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        read = self.ids if self.decoder_ids is None else self.decoder_ids
        decoder = (len(self.ids), *read.shape[1:])
        expected = {"targets": decoder, "decoder_ids": decoder, "labels": self.ids.shape[:1]}
        for name, value in self._tensors().items():
            wanted = tuple(expected.get(name, self.ids.shape))
            if value.shape != wanted:
                raise ValueError(f"{name} is {tuple(value.shape)}, not {wanted}; ids are {tuple(self.ids.shape)}")

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in self._tensors().items()}
        return replace(self, **moved)

    def split(self, rows: int) -> list[Batch]:
        """The same rows in batches of at most `rows`. The first one keeps the bytes, which only add up."""
        parts = []
        for start in range(0, self.ids.shape[0], rows):
            cut: dict[str, Any] = {name: value[start : start + rows] for name, value in self._tensors().items()}
            stream = None if self.stream is None else (self.stream[0] + start, self.stream[1])
            parts.append(replace(self, **cut, n_bytes=0 if start else self.n_bytes, stream=stream))
        return parts

    def sequences(self) -> Batch:
        """The same with every sequence as a row: (B, S, T) becomes (B·S, T), without labels, which belong to rows."""
        n_rows = self.ids.shape[:-1].numel()
        flat: dict[str, Any] = {
            name: None if name == "labels" else value.reshape(n_rows, value.shape[-1])
            for name, value in self._tensors().items()
        }
        return replace(self, **flat)

    @property
    def last(self) -> Tensor:
        """(B,) or (B, S) int64: the last position that is not padding; 0 in a sequence that is all padding."""
        if self.documents is None:
            return torch.full(self.ids.shape[:-1], self.ids.shape[-1] - 1, device=self.ids.device)
        at = torch.arange(self.ids.shape[-1], device=self.ids.device)
        return torch.where(self.documents >= 0, at, 0).amax(-1)

    @property
    def n_tokens(self) -> int:
        """Positions that are not padding."""
        return self.ids.numel() if self.documents is None else int((self.documents >= 0).sum())

    @property
    def n_targets(self) -> int:
        """How many positions carry loss."""
        return int((self.targets != IGNORE).sum())
