"""What a task is: rows that are read one after the other, what each asks of a model, and how its answer is scored.

    request        what is asked of a row                      what is found
    continuation   (context, continuation) of each answer      log P of each
    rolling        a text                                      its log P
    generate       a prompt                                    a text
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from seodang.data.labelled import Labelled
from seodang.evaluation.results import Outcome, Sample, fingerprint, fingerprint_of, outcome
from seodang.prompting.demonstrations import Embed, Overlap, Select, Shots, demonstrate
from seodang.prompting.template import Template

Request = Literal["continuation", "rolling", "generate"]
Files = Iterable[Path | str]
Asked = Any
"""A (context, continuation), a text, or a prompt."""


@dataclass(frozen=True, slots=True)
class Item:
    """One row: where it stands, what is asked about it, and what the task needs to score the answer."""

    where: str
    asked: tuple[Asked, ...]
    row: Any
    """As `key` wants it."""
    n_dropped: int = 0
    """Demonstrations that did not fit the context."""


@dataclass
class Rows:
    """Rows as they are read, and remarks, which are complete when the last one has been read."""

    items: Iterator[Item]
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """What the files decide of `Task.settings`."""


@dataclass(frozen=True)
class Shown:
    """Demonstrations before every question: `k` of the examples in `files` (`prompting/demonstrations.py`)."""

    files: Sequence[Path | str]
    k: int = 4
    select: Select = "fixed"
    balanced: bool = False
    seed: int = 0
    overlap: Overlap = "refuse"
    fit: Callable[[Template, Labelled, Sequence[Labelled], int], list[Labelled]] | None = None
    """Which of them fit before a question, with so many tokens reserved; set by the evaluation, for its model."""
    embed: Embed | None = None
    """What "nearest" is near by; set by the evaluation, too."""
    limit: int | None = None
    """How many rows are asked; no demonstration is chosen for others."""

    def fitting(
        self, template: Template, example: Labelled, shown: Sequence[Labelled], reserve: int = 0
    ) -> Sequence[Labelled]:
        """The demonstrations that fit before a question."""
        return shown if self.fit is None else self.fit(template, example, shown, reserve)

    def choose(
        self, pool: Sequence[Labelled], examples: Sequence[Labelled]
    ) -> tuple[list[list[Labelled]], list[str], dict[str, Any]]:
        """(those of each example, remarks, how they were chosen). Raises DataError for one that is the question."""
        shots = Shots(pool, self.k, self.select, self.balanced, self.seed, self.overlap)
        shown, notes = demonstrate(examples, shots, embed=self.embed)
        known = fingerprint_of([[*row.texts, row.label, *row.answers] for row in pool])
        how = {"k": self.k, "select": self.select, "balanced": self.balanced, "seed": self.seed, "pool": known}
        return shown, notes, {"shots": {**how, "overlap": self.overlap}}


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A task by its name and version; a version changes when a number it gives can change."""

    name: str
    version: int = 1
    source: str = ""
    """The paper, and where it says how the task is scored."""
    harness: str = ""
    """Name and version of the task of lm-evaluation-harness 0.4.13 whose prompts and scores these are."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Measurement → metric in `evaluation/metrics.py`, the main one first."""
    request: ClassVar[Request]

    @abstractmethod
    def read(self, files: Files, shots: Shown | None = None) -> Rows:
        """The rows of the user's files. Raises DataError, and UsageError for demonstrations that have no place."""

    @abstractmethod
    def sample(self, number: int, item: Item, found: Sequence[Any]) -> Sample:
        """The scored row; `found` has what the model said to each of `item.asked`."""

    def settings(self) -> dict[str, Any]:
        """All that a number depends on beside the rows and the model."""
        return {"request": self.request, "harness": self.harness, "shots": None}

    def key(self, item: Item) -> Any:
        """The row as its data have it, whatever the prompt: two results on the same rows agree in it."""
        return item.row

    def chance(self, item: Item) -> float | None:
        """The probability of guessing the row's answer right, where answers are given to choose from."""
        return None


def made(
    number: int,
    item: Item,
    outcomes: Mapping[str, tuple[str, Any, Any]],
    logprobs: Iterable[float] = (),
    **details: Any,
) -> Sample:
    """A sample out of measurement → (metric, prediction, reference)."""
    texts = (text for asked in item.asked for text in ((asked,) if isinstance(asked, str) else asked))
    scored: dict[str, Outcome] = {name: outcome(*values) for name, values in outcomes.items()}
    return Sample(number, item.where, fingerprint(*texts), scored, tuple(logprobs), details)
