"""Labelled examples through a fine-tuned model: the task's metrics with intervals, and what became of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seodang.data.labelled import Labelled, TaskSpec
from seodang.evaluation.metrics import find
from seodang.evaluation.results import (
    Outcome,
    Results,
    Sample,
    fingerprint,
    fingerprint_of_examples,
    outcome,
    summarize,
)
from seodang.inference.classify import Prediction


@dataclass(frozen=True)
class ClassCount:
    """One class, or one number of a choice's answers: examples that have it, were given it, were given it rightly."""

    name: str
    examples: int
    predicted: int
    right: int


def results_of(
    spec: TaskSpec,
    examples: Sequence[Labelled],
    predictions: Sequence[Prediction],
    *,
    model: str,
    tokenizer: str,
    train_labels: Sequence[int | float] = (),
    machine: dict[str, Any] | None = None,
    level: float = 0.95,
) -> Results:
    """The task's metrics of labelled examples, with intervals and the majority baseline of `train_labels`, in the form
    that `seodang compare` reads. Raises UsageError where no example has a label."""
    samples = []
    for row, (example, prediction) in enumerate(zip(examples, predictions, strict=True)):
        if example.label is None:
            continue
        said = {"class": prediction.label, "score": prediction.score, "probabilities": prediction.probabilities}
        outcomes: dict[str, Outcome] = {
            name: outcome(name, said[find(name).kind], example.label) for name in spec.metrics
        }
        details = {} if spec.regression else {"probabilities": [round(p, 6) for p in prediction.probabilities]}
        prompt = fingerprint(*example.texts, *example.answers)
        samples.append(Sample(row, example.where, prompt, outcomes, details=details))
    settings = {"way": "fine-tuned", "kind": spec.kind, "labels": list(spec.labels), "regression": spec.regression}
    labelled = (example for example in examples if example.label is not None)
    task = summarize(
        spec.name, 1, samples, spec.metrics, settings=settings, rows=fingerprint_of_examples(labelled),
        train_references=list(train_labels), level=level,
    )  # fmt: skip
    return Results(model, tokenizer, {spec.name: task}, machine or {})


def class_counts(
    spec: TaskSpec, examples: Sequence[Labelled], predictions: Sequence[Prediction]
) -> list[ClassCount]:
    """Of every class in the task's order; of a choice, of every answer's number. None of a regression."""
    if spec.regression:
        return []
    pairs = [(e.label, p.label) for e, p in zip(examples, predictions, strict=True) if e.label is not None]
    there, given = Counter(label for label, _ in pairs), Counter(label for _, label in pairs)
    right = Counter(label for label, answer in pairs if label == answer)
    n_answers = max((len(example.answers) for example in examples), default=0)
    names = spec.labels or tuple(str(number + 1) for number in range(n_answers))
    return [ClassCount(name, there[i], given[i], right[i]) for i, name in enumerate(names)]
