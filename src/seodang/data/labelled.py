"""Labelled data: one example, what the task is, and both as read from files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from seodang.errors import DataError, suggest

Kind = Literal["classify", "entail", "similar", "choice"]
"""The four input transformations of GPT-1 (Radford et al. 2018, fig. 1); see `data/transformations.py`."""

UNLABELLED = -100
"""Stands for a missing class in `Batch.labels`; a missing score is NaN."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One example.

    texts    (text,) to classify; (premise, hypothesis); two texts that are compared; (context, question) of a
             multiple choice, of which either may be ""
    label    number of the class or of the right answer, counted from 0; a score, of a regression; None: unlabelled
    answers  of a multiple choice
    where    file:row
    """

    texts: tuple[str, ...]
    label: int | float | None
    answers: tuple[str, ...] = ()
    where: str = ""


@dataclass(frozen=True)
class TaskSpec:
    """What a task asks. Stored in the model's `seodang.json` under "task".

    name        published name ("sst2", "kobest-boolq", …) or classify, entail, similar, choice, regress
    kind        which transformation makes input of an example
    labels      names of the classes, in order; () for choice and regression
    regression  the label is a score
    metrics     names in `evaluation/metrics.py`, the main one first
    language    "en", "ko", or "" where it is not known
    source      paper, and its table where it has one for the task
    """

    name: str
    kind: Kind
    labels: tuple[str, ...] = ()
    regression: bool = False
    metrics: tuple[str, ...] = ("accuracy",)
    language: str = ""
    source: str = ""

    @property
    def n_outputs(self) -> int:
        """Numbers a head gives for each example, or for each answer of a choice."""
        return len(self.labels) if self.labels and not self.regression else 1

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "labels": list(self.labels), "metrics": list(self.metrics)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> TaskSpec:
        """Back from JSON. Raises DataError for an unknown key or kind, and for a missing name."""
        known = {entry.name for entry in fields(TaskSpec)}
        strange = [key for key in values if key not in known]
        missing = [key for key in ("name", "kind") if key not in values]
        if strange or missing or values["kind"] not in get_args(Kind):
            what = f"has the unknown key {strange[0]!r}" if strange else f"has no {' and no '.join(missing)}"
            if not strange and not missing:
                what = f"is of the unknown kind {values['kind']!r}"
            raise DataError(
                f"the description of a task {what}",
                suggest(strange[0], known) if strange else f"kinds are {', '.join(get_args(Kind))}",
                "take the seodang.json that was written with the model",
            )
        lists = {key: tuple(values[key]) for key in ("labels", "metrics") if key in values}
        return TaskSpec(**{**values, **lists})


@dataclass(frozen=True)
class TaskData:
    """A task's examples in the order of the files, and remarks for the user: what was left out and why."""

    spec: TaskSpec
    examples: list[Labelled]
    notes: list[str] = field(default_factory=list)

    def label_counts(self) -> dict[str, int]:
        """Examples of each class by name, in the spec's order; of a choice, of each answer's number from 1.

        Empty for a regression. Unlabelled examples are counted under "(none)".
        """
        if self.spec.regression:
            return {}
        counts = Counter(example.label for example in self.examples)
        unlabelled = counts.pop(None, 0)
        named = {name: counts.get(i, 0) for i, name in enumerate(self.spec.labels)}
        if not named:
            named = {str(int(label) + 1): counts[label] for label in sorted(counts)}  # type: ignore[type-var, arg-type]
        return {**named, **({"(none)": unlabelled} if unlabelled else {})}


def class_weights(labels: Sequence[int | float | None], n_classes: int) -> list[float]:
    """w_c = N / (C · n_c), inverse to how often class c occurs: every class then weighs the same in a mean loss.

    N labelled examples, C classes that occur, n_c examples of class c; 0 for a class without examples. Unlabelled
    ones do not count. The sum of the weights over all examples is N.
    """
    counts = Counter(int(label) for label in labels if label is not None)
    total = sum(counts.values())
    return [total / (len(counts) * counts[c]) if counts[c] else 0.0 for c in range(n_classes)]
