"""Rows that are made anew each time they are read: a row of noise is a function of (seed, epoch, row) alone.

`Rows` says how row number `index` is made of the data, `RowLoader` deals rows into steps, `row_batches` gives the
held-out ones, whose noise no seed changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seodang.data.batch import IGNORE, Batch
from seodang.data.loader import StepLoader, digest
from seodang.data.noising import Ints
from seodang.data.shards import TokenShards
from seodang.errors import DataError

HELD_OUT = 0x5EED
"""Stands where the seed stands in the noise of held-out rows."""
MULTIPLE = 32
"""Batches are padded to a multiple of so many positions, so that few shapes occur."""


@dataclass(frozen=True)
class Row:
    """One row without padding: ids, segments and draws (T,); targets (T,), or (U,) as decoder_ids; see `Batch`."""

    ids: Ints
    targets: Ints
    segments: Ints | None = None
    label: int | None = None
    decoder_ids: Ints | None = None
    draws: NDArray[np.float32] | None = None
    n_bytes: float = 0.0


class Rows(ABC):
    """Numbered rows. `length` (and `decoder_length`): the most positions of one; `pad`: the id of the rest."""

    length: int
    decoder_length: int = 0
    pad: int

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Of the data and of all that decides how rows are made of it."""

    @abstractmethod
    def make(self, index: int, rng: np.random.Generator) -> Row:
        """Row number `index`, with noise from `rng`."""


class RowLoader(StepLoader):
    """Each row once per epoch, in a seeded order, with noise of its own in every epoch.

    `tokens_per_step` counts rows of `rows.length` positions, the decoder's left out.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        tokens_per_step: int,
        micro_batch_size: int = 8,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(
            tokens_per_step=tokens_per_step,
            context_length=rows.length,
            micro_batch_size=micro_batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        self.rows = rows

    @property
    def fingerprint(self) -> str:
        return digest("rows", self.rows.fingerprint, self.rows_per_step, self.seed)

    def rows_in_epoch(self, epoch: int) -> int:
        return len(self.rows)

    def make_batch(self, rows: Sequence[tuple[int, int]]) -> Batch:
        made = [
            self.rows.make(int(self.epoch_order(epoch)[row]), np.random.default_rng([self.seed, epoch, row]))
            for epoch, row in rows
        ]
        return collate(made, self.rows)


def row_batches(
    rows: Rows,
    micro_batch_size: int = 8,
    *,
    max_tokens: int | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """For evaluation: the rows in order, with noise that depends on the row alone.

    `max_tokens` takes rows spread evenly over the data, about so many tokens.
    """
    count = len(rows) if max_tokens is None else min(len(rows), max(1, max_tokens // rows.length))
    mine = [i * len(rows) // count for i in range(count)][rank::world_size]
    for i in range(0, len(mine), micro_batch_size):
        made = [rows.make(j, np.random.default_rng([HELD_OUT, 0, j])) for j in mine[i : i + micro_batch_size]]
        yield collate(made, rows)


def collate(made: Sequence[Row], rows: Rows) -> Batch:
    """Rows as one batch, padded on the right."""
    length = _padded([len(row.ids) for row in made], rows.length)
    full = all(len(row.ids) == length for row in made)
    first = made[0]
    decoder = None
    if first.decoder_ids is not None:
        width = _padded([len(row.targets) for row in made], rows.decoder_length)
        decoder = _stack([row.decoder_ids for row in made], rows.pad, width)
    return Batch(
        _stack([row.ids for row in made], rows.pad, length),
        _stack([row.targets for row in made], IGNORE, length if decoder is None else decoder.shape[1]),
        None if full else _stack([np.zeros_like(row.ids) for row in made], -1, length),
        n_bytes=round(sum(row.n_bytes for row in made)),
        segments=None if first.segments is None else _stack([row.segments for row in made], 0, length),
        labels=None if first.label is None else torch.tensor([row.label for row in made]),
        decoder_ids=decoder,
        draws=None if first.draws is None else _stack([row.draws for row in made], 0.0, length),
    )


def _padded(lengths: list[int], most: int) -> int:
    return min(most, -(-max(lengths) // MULTIPLE) * MULTIPLE)


def _stack(values: Sequence[NDArray | None], rest: float, length: int) -> Tensor:
    out = np.full((len(values), length), rest, dtype=values[0].dtype)  # type: ignore[union-attr]
    for row, value in zip(out, values, strict=True):
        assert value is not None
        row[: len(value)] = value
    return torch.from_numpy(out)


@dataclass(frozen=True)
class Pieces:
    """The parts of a token stream that rows are made of: piece i is [starts[i], stops[i]), of document documents[i]."""

    starts: Ints
    stops: Ints
    documents: Ints

    def __len__(self) -> int:
        return len(self.starts)


def document_end(shards: TokenShards) -> int:
    """The id that ends every document of these shards."""
    meta = shards.meta
    return int(meta["document_end_id"] if "document_end_id" in meta else meta["end_of_text_id"])


def windows(shards: TokenShards, size: int) -> Pieces:
    """The stream in windows of `size` tokens across documents; the last is moved back to end with the stream."""
    n = shards.n_tokens
    starts = np.minimum(np.arange(0, n, size), max(0, n - size))
    return Pieces(starts, np.minimum(starts + size, n), shards.document_at(starts))


def chunks(shards: TokenShards, size: int, least: int = 2) -> Pieces:
    """Every document, without its end token, in as few equal parts of at most `size` tokens as it takes.

    Raises DataError when no document has `least` tokens; shorter ones are left out.
    """
    bodies = np.diff(shards.starts)
    bodies[:-1] -= 1
    n = shards.n_tokens  # the last document may be cut before its end
    if n and int(shards.read(n - 1, n)[0]) == document_end(shards):
        bodies[-1] -= 1
    counts = np.where(bodies >= least, -(-bodies // size), 0)
    documents = np.repeat(np.arange(len(bodies)), counts)
    if len(documents) == 0:
        raise DataError(
            f"{shards.folder} has no document of {least} tokens", "there is nothing to learn from", "give longer texts"
        )
    number = np.arange(len(documents)) - np.repeat(np.cumsum(counts) - counts, counts)
    body, count, start = bodies[documents], counts[documents], shards.starts[documents]
    return Pieces(start + number * body // count, start + (number + 1) * body // count, documents)
