"""Batches in an order that is a function of the seed alone, resumable at every step.

The stream of rows does not depend on how it is cut up: `micro_batch_size` only splits a step's rows, and of R ranks,
rank r takes rows r, r + R, r + 2R … of each step.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seodang.data.batch import Batch
from seodang.data.collate import packed_batch, window_batch
from seodang.data.examples import Example
from seodang.data.packing import pack
from seodang.data.shards import TokenShards
from seodang.errors import DataError, UsageError

Ints = NDArray[np.int64]


class StepLoader(ABC):
    """An endless stream of steps; a step is a list of micro-batches. Epochs follow one another without a gap.

    tokens_per_step   tokens of a step over all ranks, a multiple of the context length (rounded, see `notes`)
    rows_per_step     rows of `context_length` tokens in a step, over all ranks
    epoch, row        where the next step begins: `row` rows of epoch `epoch` have been given
    notes             remarks for the user, such as a rounded batch size
    """

    def __init__(
        self,
        *,
        tokens_per_step: int,
        context_length: int,
        micro_batch_size: int,
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        if min(tokens_per_step, context_length, micro_batch_size, world_size) < 1 or not 0 <= rank < world_size:
            raise ValueError("sizes are positive and 0 <= rank < world_size")
        self.rows_per_step = max(1, tokens_per_step // context_length)
        self.tokens_per_step = self.rows_per_step * context_length
        self.context_length, self.micro_batch_size = context_length, micro_batch_size
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = self.row = self.step = 0
        self.notes: list[str] = []
        self._orders: dict[int, Ints] = {}
        if self.tokens_per_step != tokens_per_step:
            self.notes.append(
                f"batch of {tokens_per_step:,} tokens rounded to {self.tokens_per_step:,}: "
                f"{self.rows_per_step} rows of {context_length}"
            )
        if self.rows_per_step < world_size:
            raise UsageError(
                f"a batch of {tokens_per_step:,} tokens is too small for {world_size} processes",
                f"it has {self.rows_per_step} rows of {context_length} tokens; every process needs one",
                f"--batch-tokens {context_length * world_size} or more",
            )

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Of everything that decides the stream: data, lengths, batch size, seed. Not ranks or micro-batches."""

    @abstractmethod
    def rows_in_epoch(self, epoch: int) -> int:
        """Rows of `context_length` tokens in an epoch."""

    @abstractmethod
    def make_batch(self, rows: Sequence[tuple[int, int]]) -> Batch:
        """The batch of rows given as (epoch, index in that epoch's order)."""

    @property
    def steps_per_epoch(self) -> float:
        """Steps that one pass over the data takes; seldom whole, as epochs follow without a gap."""
        return self.rows_in_epoch(0) / self.rows_per_step

    def __iter__(self) -> Iterator[list[Batch]]:
        while True:
            yield self.next_step()

    def next_step(self) -> list[Batch]:
        """The micro-batches of this rank's rows of the next step; moves on by one step."""
        rows: list[tuple[int, int]] = []
        while len(rows) < self.rows_per_step:
            n_rows = self.rows_in_epoch(self.epoch)
            count = min(self.rows_per_step - len(rows), n_rows - self.row)
            rows.extend((self.epoch, self.row + i) for i in range(count))
            self.row += count
            if self.row == n_rows:
                self.epoch, self.row = self.epoch + 1, 0
        self.step += 1
        mine, size = self.arrange(rows)[self.rank :: self.world_size], self.micro_batch_size
        return [self.make_batch(mine[i : i + size]) for i in range(0, len(mine), size)]

    def arrange(self, rows: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The rows of a step in the order in which they are dealt to ranks and micro-batches."""
        return rows

    def epoch_order(self, epoch: int) -> Ints:
        """The rows of an epoch in its seeded order."""
        if epoch not in self._orders:  # a step may hold the end of one epoch and the beginning of the next
            self._orders = {known: order for known, order in self._orders.items() if known == epoch - 1}
            self._orders[epoch] = permutation(self.rows_in_epoch(epoch), self.seed, epoch)
        return self._orders[epoch]

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, as plain JSON values."""
        return {
            "epoch": self.epoch,
            "row": self.row,
            "step": self.step,
            "seed": self.seed,
            "fingerprint": self.fingerprint,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken. Raises DataError when it belongs to another stream."""
        if state["fingerprint"] != self.fingerprint:
            raise DataError(
                "the data is not that of the interrupted run",
                "files, tokenizer, context length, batch size or seed have changed since the checkpoint",
                "resume with the same data and settings, or start a new run in another --out",
            )
        self.epoch, self.row, self.step = state["epoch"], state["row"], state["step"]


class PretrainLoader(StepLoader):
    """Windows of `context_length` tokens over a token stream, each once per epoch, in a seeded order.

    Window i reads tokens i·T … i·T + T and predicts each from those before it; the last window is moved back to end
    with the stream, so no token is left out. With `document_mask` attention and positions restart at each document:
    its first token is predicted from the end-of-text token before it and from nothing else (see `window_batch`).
    """

    def __init__(
        self,
        shards: TokenShards,
        *,
        tokens_per_step: int,
        context_length: int,
        micro_batch_size: int = 8,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        document_mask: bool = True,
    ) -> None:
        super().__init__(
            tokens_per_step=tokens_per_step,
            context_length=context_length,
            micro_batch_size=micro_batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        require_tokens(shards)
        self.shards, self.document_mask = shards, document_mask
        self.n_windows = -(-(shards.n_tokens - 1) // context_length)

    @property
    def fingerprint(self) -> str:
        return digest(
            "pretrain", self.shards.fingerprint, self.context_length, self.rows_per_step, self.seed, self.document_mask
        )

    def rows_in_epoch(self, epoch: int) -> int:
        return self.n_windows

    def make_batch(self, rows: Sequence[tuple[int, int]]) -> Batch:
        last = max(0, self.shards.n_tokens - 1 - self.context_length)
        starts = [min(int(self.epoch_order(epoch)[row]) * self.context_length, last) for epoch, row in rows]
        return window_batch(self.shards, starts, self.context_length, self.document_mask)


class SFTLoader(StepLoader):
    """Tokenised examples, shuffled by the seed in each epoch and packed into rows of `context_length` positions.

    Attention never crosses from one example into another, positions restart, padding has document -1.
    An example of L tokens takes L - 1 positions: position t reads token t and predicts token t + 1 if that is
    marked. Rows are cut on the right to the longest of their micro-batch (in steps of 64).
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        tokens_per_step: int,
        context_length: int,
        micro_batch_size: int = 8,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pad_id: int = 0,
    ) -> None:
        super().__init__(
            tokens_per_step=tokens_per_step,
            context_length=context_length,
            micro_batch_size=micro_batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        _require_fitting(examples, context_length)
        self.examples, self.pad_id = examples, pad_id
        self._lengths = np.array([len(example.ids) - 1 for example in examples], dtype=np.int64)
        self._data = digest(*(f"{hash_ids(e.ids)}:{hash_ids(e.mask)}" for e in examples))
        self._packed: dict[int, list[list[int]]] = {}

    @property
    def fingerprint(self) -> str:
        return digest("sft", self._data, self.context_length, self.rows_per_step, self.seed)

    def rows_in_epoch(self, epoch: int) -> int:
        return len(self._rows(epoch))

    def make_batch(self, rows: Sequence[tuple[int, int]]) -> Batch:
        chosen = [[self.examples[i] for i in self._rows(epoch)[row]] for epoch, row in rows]
        return packed_batch(chosen, self.context_length, self.pad_id)

    def _rows(self, epoch: int) -> list[list[int]]:
        """Packed rows of an epoch, as indices of examples, in the order they are given."""
        if epoch not in self._packed:
            order = permutation(len(self.examples), self.seed, epoch)
            packed = pack(self._lengths[order].tolist(), self.context_length)
            shuffled = permutation(len(packed), self.seed, epoch, 1)  # first-fit decreasing puts long ones first
            rows = [[int(order[i]) for i in packed[j]] for j in shuffled]
            self._packed = {known: self._packed[known] for known in self._packed if known == epoch - 1}
            self._packed[epoch] = rows
        return self._packed[epoch]


def evaluation_batches(
    shards: TokenShards,
    context_length: int,
    micro_batch_size: int = 8,
    *,
    document_mask: bool = True,
    max_tokens: int | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """Windows in order, every token predicted exactly once; the last, short window is padded.

    `max_tokens` takes windows spread evenly over the stream, about so many tokens.
    """
    require_tokens(shards)
    starts = list(range(0, shards.n_tokens - 1, context_length))
    if max_tokens is not None and len(starts) * context_length > max_tokens:
        count = max(1, max_tokens // context_length)
        starts = [starts[i * len(starts) // count] for i in range(count)]
    mine = starts[rank::world_size]
    for i in range(0, len(mine), micro_batch_size):
        yield window_batch(shards, mine[i : i + micro_batch_size], context_length, document_mask)


def example_batches(
    examples: Sequence[Example],
    context_length: int,
    micro_batch_size: int = 8,
    *,
    pad_id: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """Every example once, packed, in a fixed order: for evaluation."""
    _require_fitting(examples, context_length)
    rows = pack([len(example.ids) - 1 for example in examples], context_length)[rank::world_size]
    for i in range(0, len(rows), micro_batch_size):
        chosen = [[examples[j] for j in row] for row in rows[i : i + micro_batch_size]]
        yield packed_batch(chosen, context_length, pad_id)


def permutation(n: int, *key: int) -> Ints:
    """A permutation of range(n) that is a function of `key`; from raw random bits, whose stream numpy guarantees."""
    bits = np.random.PCG64(np.random.SeedSequence(list(key))).random_raw(n)
    return np.argsort(bits, kind="stable")


def hash_ids(values: NDArray[Any]) -> str:
    """Short digest of an array's contents."""
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=8).hexdigest()


def digest(*parts: object) -> str:
    """SHA-256 of what the parts read as."""
    return hashlib.sha256("\n".join(map(str, parts)).encode("utf-8")).hexdigest()


def require_tokens(shards: TokenShards) -> None:
    """Raises DataError for a stream in which no token follows another."""
    if shards.n_tokens < 2:
        raise DataError(
            f"{shards.folder} has {shards.n_tokens} tokens", "there is nothing to predict", "give more text"
        )


def _require_fitting(examples: Sequence[Example], context_length: int) -> None:
    if not examples:
        raise DataError("no examples", "the data holds no row that can be used", "seodang data check FILE")
    for example in examples:
        if len(example.ids) - 1 > context_length:
            raise DataError(
                f"{example.where} has {len(example.ids)} tokens",
                f"the context holds {context_length}",
                "drop or shorten the row, or raise --max-length",
            )
