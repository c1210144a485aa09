"""Labelled examples → rows of token ids → batches, for training (`LabelledLoader`) and for evaluation.

Shapes: B rows, S sequences of a row (orders of two texts, answers of a choice), T positions. A sequence is padded on
the right; a row with fewer sequences than others has whole sequences of padding behind its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from seodang.data.batch import IGNORE, Batch
from seodang.data.labelled import UNLABELLED, Kind, Labelled, TaskSpec
from seodang.data.loader import StepLoader, digest
from seodang.data.transformations import (
    Frame,
    Ids,
    Special,
    classification,
    entailment,
    multiple_choice,
    similarity,
)
from seodang.errors import DataError, FitError, UsageError

TooLong = Literal["cut", "drop", "error"]
MULTIPLE = 8
"""Batches are padded to a multiple of so many positions."""


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One example as S sequences of int32 ids; `texts`, alike, is 1 on tokens of its texts and 0 on special ones,
    `segments` the token types of an encoder, or None."""

    ids: tuple[NDArray[np.int32], ...]
    texts: tuple[NDArray[np.int32], ...]
    segments: tuple[NDArray[np.int32], ...] | None
    label: int | float | None
    where: str

    @property
    def length(self) -> int:
        """Tokens of the longest sequence."""
        return max(map(len, self.ids))


class LabelledRows:
    """Rows of one task for one tokenizer, with what was cut or dropped (`notes`).

    kept       numbers of the examples that the rows were made of: all but the dropped ones
    long       where the examples are that were cut or dropped
    length     tokens of the longest sequence
    sequences  most sequences of a row
    n_tokens   tokens of all rows
    """

    def __init__(
        self,
        rows: Sequence[LabelledRow],
        spec: TaskSpec,
        *,
        pad_id: int = 0,
        notes: Sequence[str] = (),
        kept: Sequence[int] | None = None,
        long: Sequence[str] = (),
    ) -> None:
        self.rows, self.spec, self.pad_id, self.notes = rows, spec, pad_id, list(notes)
        self.kept, self.long = range(len(rows)) if kept is None else kept, long
        self.lengths = np.array([row.length for row in rows], dtype=np.int64)
        self.length = int(self.lengths.max())
        self.sequences = max(len(row.ids) for row in rows)
        self.n_tokens = sum(len(ids) for row in rows for ids in row.ids)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def fingerprint(self) -> str:
        """Of all ids, token types and labels."""
        hasher = hashlib.blake2b(digest_size=16)
        for row in self.rows:
            hasher.update(f"{row.label} {[len(ids) for ids in row.ids]}".encode())
            for ids in (*row.ids, *row.texts, *(row.segments or ())):
                hasher.update(ids.tobytes())
        return hasher.hexdigest()

    def batch(self, numbers: Sequence[int]) -> Batch:
        """The rows with these numbers as (B, S, T), or (B, T) where no row has more than one sequence.

        `targets` are the next tokens of the texts themselves, for the auxiliary objective L1 (GPT-1, sec. 3.2); special
        tokens are no targets, and an encoder's rows have none. (The code released with the paper predicts the
        delimiter and the extract token, too.)
        """
        rows = [self.rows[number] for number in numbers]
        most = max(len(row.ids) for row in rows)
        length = -(-max(row.length for row in rows) // MULTIPLE) * MULTIPLE
        shape = (len(rows), most, length)
        ids, targets = np.full(shape, self.pad_id, dtype=np.int64), np.full(shape, IGNORE, dtype=np.int64)
        documents, segments = np.full(shape, -1, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for b, row in enumerate(rows):
            for s, sequence in enumerate(row.ids):
                n = len(sequence)
                ids[b, s, :n], documents[b, s, :n] = sequence, 0
                if row.segments is None:
                    targets[b, s, : n - 1] = np.where(row.texts[s][1:], sequence[1:], IGNORE)
                else:
                    segments[b, s, :n] = row.segments[s]
        keep = slice(None) if self.sequences > 1 else 0
        tensors = [torch.from_numpy(array[:, keep]) for array in (ids, targets, documents, segments)]
        return Batch(
            tensors[0],
            tensors[1],
            tensors[2],
            segments=None if rows[0].segments is None else tensors[3],
            labels=_labels([row.label for row in rows], self.spec.regression),
        )


def _labels(labels: Sequence[int | float | None], regression: bool) -> torch.Tensor:
    if regression:
        return torch.tensor([math.nan if label is None else label for label in labels], dtype=torch.float32)
    return torch.tensor([UNLABELLED if label is None else int(label) for label in labels])


def encode_examples(
    examples: Sequence[Labelled],
    spec: TaskSpec,
    tokenizer: Any,
    form: Special | Frame,
    *,
    max_length: int,
    too_long: TooLong = "cut",
    max_lost: float = 0.1,
    pad_id: int = 0,
) -> LabelledRows:
    """Rows of at most `max_length` tokens a sequence.

    form      the special tokens of a decoder or recurrent model, or the frame of an encoder
    too_long  cut: a text loses its end, of two texts the longer one first, and the context of a choice its beginning,
              the same for all answers, which are never cut themselves; drop: leave such rows out, at most `max_lost` of
              all; error: stop
    Raises FitError, with the smallest length that would do, when a row cannot be cut down to `max_length`; DataError
    (file:row) for one that is too long with `error`, when too many would be dropped, and when there are no examples.
    """
    if not examples:
        raise DataError("no examples", "the data holds no row that can be used", "seodang data check --task NAME FILE")
    all_parts = _tokenize(examples, spec.kind, tokenizer)
    encoder = _Encoder(spec.kind, form, max_length)
    if too_long != "drop":
        encoder.require_room(examples, all_parts)
    rows: list[LabelledRow] = []
    kept: list[int] = []
    long: list[str] = []
    for number, (example, parts) in enumerate(zip(examples, all_parts, strict=True)):
        if encoder.needed(parts) > max_length:
            long.append(example.where)
            if too_long == "drop":
                continue
            if too_long == "error":
                raise DataError(
                    f"{example.where} is too long",
                    f"it has {encoder.needed(parts):,} tokens, {max_length:,} fit",
                    "raise --max-length, or let such rows be cut: --too-long cut",
                )
            parts = encoder.cut(parts)
        rows.append(encoder.row(parts, example))
        kept.append(number)
    if too_long == "drop" and (len(long) > max_lost * len(examples) or not rows):
        raise DataError(
            f"{len(long):,} of {len(examples):,} rows would be lost: {', '.join(long[:3])}",
            f"they have more than {max_length:,} tokens; at most {max_lost:.0%} may be lost",
            "raise --max-length, or let such rows be cut: --too-long cut",
        )
    done = {"cut": "cut to", "drop": "left out as longer than"}.get(too_long)
    shown = ", ".join(long[:3]) + (", …" if len(long) > 3 else "")
    notes = [f"{len(long):,} of {len(examples):,} rows {done} {max_length:,} tokens: {shown}"] if long else []
    return LabelledRows(rows, spec, pad_id=pad_id, notes=notes, kept=kept, long=long)


Parts = tuple[list[int], ...]
"""Ids of each text; of a choice, of the context with its question, then of each answer."""


def _tokenize(examples: Sequence[Labelled], kind: Kind, tokenizer: Any) -> list[Parts]:
    texts: list[str] = []
    counts = []
    for example in examples:
        stripped = [text.strip() for text in example.texts]
        own = [" ".join(filter(None, stripped)), *map(str.strip, example.answers)] if kind == "choice" else stripped
        texts += own
        counts.append(len(own))
    ids = iter(tokenizer.encode_batch(texts))
    return [tuple(next(ids) for _ in range(count)) for count in counts]


@dataclass
class _Encoder:
    """What a row of one kind is for one kind of model."""

    kind: Kind
    form: Special | Frame
    max_length: int

    def _overhead(self, n_texts: int) -> int:
        """Special tokens of a sequence of one text or of two."""
        if isinstance(self.form, Special):
            return 1 + n_texts
        return len(self.form.before) + (n_texts - 1) * len(self.form.between) + len(self.form.after)

    def needed(self, parts: Parts) -> int:
        """Tokens of the longest sequence."""
        if self.kind == "choice":
            return self._overhead(2) + len(parts[0]) + max(map(len, parts[1:]))
        return self._overhead(len(parts)) + sum(map(len, parts))

    def least(self, parts: Parts) -> int:
        """The fewest tokens that leave something of every text, and answers whole."""
        some = [min(1, len(part)) for part in parts]
        if self.kind == "choice":
            return self._overhead(2) + some[0] + max(map(len, parts[1:]))
        return self._overhead(len(parts)) + sum(some)

    def require_room(self, examples: Sequence[Labelled], all_parts: Sequence[Parts]) -> None:
        smallest = [self.least(parts) for parts in all_parts]
        worst = int(np.argmax(smallest))
        if smallest[worst] > self.max_length:
            whole = "its longest answer and" if self.kind == "choice" else "a token of each text and"
            raise FitError(
                f"{examples[worst].where} does not fit into {self.max_length:,} tokens",
                f"{whole} the special tokens take {smallest[worst]:,}",
                f"--max-length {smallest[worst]} is the smallest that would do; --too-long drop leaves such rows out",
            )

    def cut(self, parts: Parts) -> Parts:
        if self.kind == "choice":
            room = self.max_length - self._overhead(2) - max(map(len, parts[1:]))
            return parts[0][len(parts[0]) - min(room, len(parts[0])) :], *parts[1:]
        room = self.max_length - self._overhead(len(parts))
        return (parts[0][:room],) if len(parts) == 1 else cut_pair(parts[0], parts[1], room)

    def row(self, parts: Parts, example: Labelled) -> LabelledRow:
        if isinstance(self.form, Special):
            ids = _sequences(self.kind, parts, self.form)
            texts = _sequences(self.kind, [[1] * len(part) for part in parts], Special(0, 0, 0))
            return LabelledRow(_arrays(ids), _arrays(texts), None, example.label, example.where)
        if self.kind == "choice":
            framed = [self.form.pair(parts[0], answer) for answer in parts[1:]]
        else:
            framed = [self.form.pair(*parts) if len(parts) == 2 else self.form.single(parts[0])]
        ids, segments = [both[0] for both in framed], [both[1] for both in framed]
        return LabelledRow(_arrays(ids), (), _arrays(segments), example.label, example.where)


def _sequences(kind: Kind, parts: Sequence[Ids], special: Special) -> list[list[int]]:
    if kind == "choice":
        return multiple_choice(parts[0], parts[1:], special)
    if len(parts) == 1:
        return classification(parts[0], special)
    return (similarity if kind == "similar" else entailment)(parts[0], parts[1], special)


def _arrays(sequences: Sequence[Ids]) -> tuple[NDArray[np.int32], ...]:
    return tuple(np.array(sequence, dtype=np.int32) for sequence in sequences)


def cut_pair(first: list[int], second: list[int], room: int) -> tuple[list[int], list[int]]:
    """Both together at most `room` tokens: the longer loses its end until they are equal, then both in turn, the second
    first (Devlin et al. 2019's released code, there at random from the front or the back)."""
    n_second = min(len(second), max(room // 2, room - len(first)))
    return first[: room - n_second], second[:n_second]


class LabelledLoader(StepLoader):
    """Steps of `rows_per_step` rows, each row once per epoch in a seeded order.

    The rows of a step are dealt by length, so that a micro-batch holds rows that are alike and padding is little; which
    rows a step holds depends on (seed, epoch) alone. `tokens_per_step` is the mean without padding.
    """

    def __init__(
        self,
        rows: LabelledRows,
        *,
        rows_per_step: int = 32,
        micro_batch_size: int = 8,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if rows_per_step < world_size:
            raise UsageError(
                f"a batch of {rows_per_step} rows is too small for {world_size} processes",
                "every process needs a row",
                f"--batch-rows {world_size} or more",
            )
        super().__init__(
            tokens_per_step=rows_per_step * rows.length,
            context_length=rows.length,
            micro_batch_size=micro_batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        self.rows = rows
        self.tokens_per_step = max(1, round(rows_per_step * rows.n_tokens / len(rows)))
        self._data = rows.fingerprint

    @property
    def fingerprint(self) -> str:
        return digest("labelled", self._data, self.rows_per_step, self.seed)

    def rows_in_epoch(self, epoch: int) -> int:
        return len(self.rows)

    def arrange(self, rows: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return sorted(rows, key=lambda row: -self.rows.lengths[self.epoch_order(row[0])[row[1]]])

    def make_batch(self, rows: Sequence[tuple[int, int]]) -> Batch:
        return self.rows.batch([int(self.epoch_order(epoch)[row]) for epoch, row in rows])


def labelled_batches(
    rows: LabelledRows, micro_batch_size: int = 8, *, rank: int = 0, world_size: int = 1
) -> Iterator[tuple[list[int], Batch]]:
    """(numbers of the rows, their batch), every row once, the longest first: for evaluation and prediction.

    What a model says of a batch belongs at `numbers` of the whole: `out[numbers] = said`.
    """
    order = np.argsort(-rows.lengths, kind="stable")[rank::world_size].tolist()
    for i in range(0, len(order), micro_batch_size):
        numbers = order[i : i + micro_batch_size]
        yield numbers, rows.batch(numbers)
