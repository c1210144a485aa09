"""Conversations → tokenised examples: ids, and which of them carry loss; with a report of what was lost and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seodang.data.formats import (
    Conversation,
    Message,
    format_of,
    is_desired,
    to_conversation,
    unused_keys,
    without_row,
)
from seodang.data.readers import Row
from seodang.errors import DataError

Train = Literal["all", "last", "flags"]
TooLong = Literal["drop", "truncate", "error"]


@dataclass(frozen=True, slots=True)
class Example:
    """ids (L,) int32; mask (L,) bool, True on tokens that are learned; n_bytes: UTF-8 bytes those stand for."""

    ids: NDArray[np.int32]
    mask: NDArray[np.bool_]
    source: str
    row: int
    n_bytes: int = 0

    @property
    def where(self) -> str:
        """`file:row`"""
        return f"{self.source}:{self.row}"


@dataclass
class Report:
    """What became of the rows, for the user to read before the first step."""

    rows: int = 0
    kept: int = 0
    too_long: list[str] = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)
    undesired: int = 0
    duplicates: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    longest: int = 0
    formats: dict[str, int] = field(default_factory=dict)
    unused: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    """Remarks on other files, added by whoever reads several."""

    @property
    def lost(self) -> int:
        """Rows left out because they did not fit."""
        return len(self.too_long)

    def losses(self) -> list[str]:
        """Which rows did not fit, and what was done with them."""
        lines = []
        if self.too_long:
            lines.append(f"dropped as too long {len(self.too_long):,}: {_some(self.too_long)}")
        if self.truncated:
            lines.append(f"prompt cut on the left {len(self.truncated):,}: {_some(self.truncated)}")
        return lines

    def lines(self) -> list[str]:
        """The report in words, one remark a line."""
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.formats.items())
        lines = [
            f"rows {self.rows:,} ({kinds}), kept {self.kept:,}",
            f"tokens {self.tokens:,}, of which learned {self.trained_tokens:,}"
            f" ({self.trained_tokens / max(1, self.tokens):.0%}); longest row {self.longest:,}",
        ]
        lines += [*self.losses(), *self.notes]
        if self.undesired:
            lines.append(f"left out as marked undesired {self.undesired:,}")
        if self.unused:
            lines.append(f"keys that are not used: {', '.join(sorted(self.unused))}")
        if self.duplicates:
            lines.append(f"exact duplicates (kept) {self.duplicates:,}")
        return lines


def tokenize_conversations(
    rows: Iterable[Row | Conversation],
    tokenizer: Any,
    *,
    max_length: int,
    train: Train = "all",
    too_long: TooLong = "drop",
    max_lost: float = 0.1,
    system: str | None = None,
) -> tuple[list[Example], Report]:
    """Tokenise rows of any conversation format, with exactly the answers (and their end tokens) marked.

    train     assistant turns that are learned: all, the last one, or those the messages flag.
    too_long  rows of more than `max_length` tokens: drop them, cut the prompt from the left (`truncate`: whole turns
              first, never the system prompt, never the last answer), or stop.
    max_lost  stop when more than this share of the rows is dropped.
    system    system prompt put before dialogues that have none.
    Raises DataError (file:row) for a row that cannot be read, for one without a learned token, for a file that
    mixes formats, for a row that is too long with `error`, and when too many rows would be lost.
    """
    from seodang.text.chat import render_with_mask

    builder = _Builder(tokenizer, render_with_mask, max_length, train, too_long)
    examples: list[Example] = []
    report = Report()
    seen: set[bytes] = set()
    for conversation in _conversations(rows, report):
        if system and conversation.messages[0]["role"] != "system":
            conversation.messages.insert(0, {"role": "system", "content": system})
        example = builder.build(conversation, report)
        if example is None:
            continue
        examples.append(example)
        report.kept += 1
        report.tokens += len(example.ids)
        report.trained_tokens += int(example.mask.sum())
        report.longest = max(report.longest, len(example.ids))
        key = example.ids.tobytes()
        report.duplicates += key in seen
        seen.add(key)
    _check_losses(report, max_length, max_lost)
    return examples, report


def _conversations(rows: Iterable[Row | Conversation], report: Report) -> Iterable[Conversation]:
    first: dict[str, tuple[str, int]] = {}
    for row in rows:
        report.rows += 1
        if isinstance(row, Row):
            check_one_format(row, first)
            report.unused |= unused_keys(row)
            if not is_desired(row):
                report.undesired += 1
                continue
            conversation = to_conversation(row)
        else:
            conversation = row
        report.formats[conversation.format] = report.formats.get(conversation.format, 0) + 1
        yield conversation


def check_one_format(row: Row, first: dict[str, tuple[str, int]]) -> str:
    """The row's format. Raises DataError when an earlier row of its file, kept in `first`, has another one."""
    kind = format_of(row)
    expected, at = first.setdefault(row.source, (kind, row.row))
    if kind != expected:
        raise DataError(
            f"{row.where} is in the format {kind}",
            f"row {at} of the file is in the format {expected} (here the keys are {', '.join(row.values)})",
            "put each format into a file of its own; several files may be given",
        )
    return kind


@dataclass
class _Builder:
    tokenizer: Any
    render: Any
    max_length: int
    train: Train
    too_long: TooLong

    def build(self, conversation: Conversation, report: Report) -> Example | None:
        messages = conversation.messages
        with located(conversation.where):
            ids, mask = self.render(self.tokenizer, messages, train=self.train)
        if not any(mask[1:]):
            why = {
                "flags": "no assistant message is flagged (train, weight or loss_mask)",
                "last": "the last assistant message is empty",
                "all": "no assistant message has text that is learned",
            }[self.train]
            fix = without_row(conversation.source, conversation.row)
            raise DataError(f"{conversation.where} has nothing to learn", why, fix)
        if len(ids) > self.max_length:
            shortened = self._shorten(messages) if self.too_long == "truncate" else None
            if shortened is None:
                if self.too_long == "error":
                    raise self._does_not_fit(conversation, len(ids))
                report.too_long.append(conversation.where)
                return None
            report.truncated.append(conversation.where)
            ids, mask = shortened
        array, learned = np.array(ids, dtype=np.int32), np.array(mask, dtype=bool)
        n_bytes = sum(self._n_bytes(int(i)) for i in array[1:][learned[1:]])
        return Example(array, learned, conversation.source, conversation.row, n_bytes)

    def _n_bytes(self, token: int) -> int:
        return 0 if token in self.tokenizer.special_ids else len(self.tokenizer.token_bytes(token))

    def _shorten(self, messages: Sequence[Message]) -> tuple[list[int], list[bool]] | None:
        """Leave out the oldest turns, then the beginning of the last question, until the row fits.

        The answer is never cut. None when even the answer alone, with its end token, is too long.
        """
        system = [m for m in messages[:1] if m["role"] == "system"]
        turns = list(messages[len(system) :])
        starts = [i for i, m in enumerate(turns) if m["role"] == "user"]
        for start in starts[1:]:
            ids, mask = self.render(self.tokenizer, [*system, *turns[start:]], train=self.train)
            if len(ids) <= self.max_length and any(mask[1:]):
                return ids, mask
        if not starts:
            return None
        return self._cut_question(system, turns[starts[-1] :])

    def _cut_question(self, system: list[Message], turns: list[Message]) -> tuple[list[int], list[bool]] | None:
        """The longest end of the question (by halving) with which the turns fit."""
        question = turns[0]["content"]
        low, high = 0, len(question)  # `low` characters always fit, `high` never do
        best = None
        while low <= high:
            middle = (low + high) // 2
            cut = {**turns[0], "content": question[len(question) - middle :]}
            ids, mask = self.render(self.tokenizer, [*system, cut, *turns[1:]], train=self.train)
            if len(ids) <= self.max_length:
                best, low = (ids, mask), middle + 1
            else:
                high = middle - 1
        return best if best and any(best[1][1:]) else None

    def _does_not_fit(self, conversation: Conversation, n_tokens: int) -> DataError:
        return DataError(
            f"{conversation.where} is too long",
            f"it has {n_tokens:,} tokens, {self.max_length:,} fit",
            "shorten the row, raise --max-length, or leave such rows out with --too-long drop",
        )


@contextmanager
def located(where: str) -> Iterator[None]:
    """Puts `file:row` in front of an error about a conversation that does not know where it came from."""
    try:
        yield
    except DataError as error:
        if error.what.startswith(where):
            raise
        raise DataError(f"{where}: {error.what}", error.why, error.fix) from None


def _check_losses(report: Report, max_length: int, max_lost: float) -> None:
    usable = report.rows - report.undesired
    if usable and report.lost > max_lost * usable:
        raise DataError(
            f"{report.lost:,} of {usable:,} rows would be lost ({report.lost / usable:.0%}): {_some(report.too_long)}",
            f"they have more than {max_length:,} tokens; at most {max_lost:.0%} may be lost",
            "raise --max-length, cut prompts with --too-long truncate, or accept the loss with --max-lost 1",
        )
    if not report.kept:
        raise DataError("no row is left to learn from", f"{report.rows:,} were read", "seodang data check FILE")


def _some(items: Sequence[str], limit: int = 3) -> str:
    return ", ".join(items[:limit]) + (", …" if len(items) > limit else "")
