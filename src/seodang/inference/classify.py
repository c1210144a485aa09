"""What a fine-tuned model says of examples: the probability of every class or answer, or a score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from seodang.data.labelled import Labelled, TaskSpec
from seodang.data.labelled_rows import LabelledRows, labelled_batches
from seodang.data.task_settings import TaskSettings, encode_task, encoded_length
from seodang.errors import DataError, FitError, UsageError
from seodang.objectives.classify import task_outputs

BATCHES = 16
"""Batches that are read ahead and sorted by length: like lengths need little padding."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """label: number of the most probable class or answer; score: of a regression, and label is then None.
    probabilities: of every class of the task, or of every answer of the choice."""

    label: int | None
    score: float | None
    probabilities: list[float]


@dataclass(slots=True)
class Cuts:
    """Counts the examples that were cut to `length` tokens, and keeps where the first of them are."""

    rows: int = 0
    cut: int = 0
    first: tuple[str, ...] = ()
    length: int = 0

    def add(self, rows: LabelledRows, length: int) -> None:
        """Those of some more rows."""
        self.rows, self.cut, self.length = self.rows + len(rows), self.cut + len(rows.long), length
        self.first = (*self.first, *rows.long)[:3]

    @property
    def note(self) -> str:
        """What is to be said of them; "" where there are none."""
        shown = ", ".join(filter(None, self.first)) + (", …" if self.cut > len(self.first) else "")
        return f"{self.cut:,} of {self.rows:,} rows cut to {self.length:,} tokens: {shown}" if self.cut else ""


def task_settings(fine_tuned: dict[str, Any] | None, source: object = "the model") -> TaskSettings:
    """What a folder keeps of its task. Raises UsageError for a model that was fine-tuned for none."""
    if fine_tuned is None:
        raise UsageError(
            f"{source} is fine-tuned for no task",
            "it has no class head",
            "seodang finetune --model … --task … --data … --out …, or score answers as texts: seodang score",
        )
    return TaskSettings.from_dict(fine_tuned)


def classify(lm: Any, examples: Sequence[Labelled], *, batch_size: int = 32) -> list[Prediction]:
    """The model's prediction for each example, in their order; labels that they have are not looked at.

    lm: a LanguageModel. Neither the batch size nor the neighbours change a prediction. Raises UsageError for a model
    without a task, DataError (file:row) for examples that are not of its kind.
    """
    return [prediction for _, prediction in classified(lm, examples, batch_size=batch_size)]


def classified(
    lm: Any, examples: Iterable[Labelled], *, batch_size: int = 32, cuts: Cuts | None = None
) -> Iterator[tuple[Labelled, Prediction]]:
    """`classify`, example by example, of which a few batches at a time are held. `cuts` counts those that are cut."""
    settings = task_settings(lm.fine_tuned, getattr(lm.source, "name", lm.source))
    if settings.marks is None and lm.model.kind == "causal":
        examples = map(_require_one_text, examples)
    left = iter(examples)
    while ahead := list(islice(left, BATCHES * batch_size)):
        for example in ahead:
            check_example(example, settings)
        yield from zip(ahead, _classify(lm, settings, ahead, batch_size, cuts or Cuts()), strict=True)


def check_example(example: Labelled, settings: TaskSettings) -> None:
    """Raise DataError where an example has other parts than the task asks for, or an empty text. Another program's
    folder does not say whether its classes are of one text or of two."""
    spec = settings.spec
    wanted = {"classify": 1, "entail": 2, "similar": 2, "choice": 2}[spec.kind]
    where = example.where or "an example"
    if (spec.kind == "choice") != bool(example.answers):
        raise DataError(
            f"{where} has {len(example.answers)} answers",
            f"{spec.name} is {'a' if spec.kind == 'choice' else 'no'} multiple choice",
            "give the answers to choose from" if spec.kind == "choice" else "leave the answers out",
        )
    either = not settings.max_length and spec.kind == "classify" and len(example.texts) in (1, 2)
    if len(example.texts) != wanted and not either:
        raise DataError(
            f"{where} has {len(example.texts)} text{'s' if len(example.texts) != 1 else ''}",
            f"{spec.name} is a task of {'two texts' if wanted == 2 else 'one text'}",
            "give a second text" if wanted == 2 else "give one text alone",
        )
    if spec.kind != "choice" and not all(text.strip() for text in example.texts):  # nor is any learned from
        raise DataError(f"{where} has an empty text", "there is nothing to read", "write it, or leave the row out")


def _require_one_text(example: Labelled) -> Labelled:
    if len(example.texts) != 1 or example.answers or not example.texts[0].strip():
        raise DataError(
            f"{example.where or 'an example'} is not one text",
            "the model was fine-tuned elsewhere, and nothing says how it joins several",
            "join them as its authors did, and give one text",
        )
    return example


@torch.inference_mode()
def _classify(
    lm: Any, settings: TaskSettings, examples: list[Labelled], batch_size: int, cuts: Cuts
) -> list[Prediction]:
    spec = settings.spec
    n_segments = lm.model.config.n_segments
    try:
        rows = encode_task(examples, settings, lm.tokenizer, lm.context_length, n_segments=n_segments)
    except FitError as error:  # whose advice is for training
        parts = "answers" if spec.kind == "choice" else "texts"
        fix = f"shorten its {parts}, leave it out, or fine-tune with a longer --max-length"
        raise FitError(error.what, error.why, fix) from None
    cuts.add(rows, encoded_length(settings, lm.context_length))
    found: dict[int, Prediction] = {}
    for numbers, batch in labelled_batches(rows, batch_size):
        outputs = task_outputs(lm.model, batch.to(lm.device), spec.kind)[0].float().cpu()
        for number, values in zip(numbers, outputs, strict=True):
            n = len(examples[number].answers) or len(values)
            found[number] = _prediction(values[:n], spec)
    return [found[number] for number in range(len(examples))]


def _prediction(outputs: torch.Tensor, spec: TaskSpec) -> Prediction:
    if spec.regression:
        return Prediction(None, float(outputs[0]), [])
    probabilities = outputs.double().softmax(dim=0)
    return Prediction(int(outputs.argmax()), None, probabilities.tolist())
