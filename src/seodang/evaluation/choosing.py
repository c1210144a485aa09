"""Tasks whose answers are given: the most probable one is the prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from seodang.data.labelled import Labelled, TaskData
from seodang.data.tasks import Columns, read_task
from seodang.data.tasks.published import TASKS
from seodang.errors import UsageError
from seodang.evaluation.metrics import find
from seodang.evaluation.results import Sample, fields_of
from seodang.evaluation.task import Files, Item, Rows, Shown, Task, made
from seodang.prompting.template import Template, answers_of, in_order, pairs_of
from seodang.prompting.wording import default_template

NORMALISED = "_norm"
"""Ends the name of a measurement whose prediction is the answer with the highest log P per character (lm-evaluation-
harness's acc_norm, lm_eval/api/task.py; Brown et al. 2020, sec. 2.4, divide by tokens)."""


def same(example: Labelled) -> Labelled:
    """An example as it is."""
    return example


@dataclass(frozen=True, kw_only=True)
class Choice(Task):
    """Multiple choice, and classification by words that stand for the labels (Brown et al. 2020, sec. 2.4).

    reads: the name under which `read_task` knows the files. template: None is the usual one for the kind of task.
    adapt: what the template needs that the file does not have. pairs: (context, continuation) of each answer, in place
    of a template.
    """

    request = "continuation"
    reads: str
    template: Template | None = None
    metrics: Mapping[str, str] = field(default_factory=lambda: {"accuracy": "accuracy"})
    adapt: Callable[[Labelled], Labelled] = same
    pairs: Callable[[Labelled], list[tuple[str, str]]] | None = None
    columns: Columns | None = None

    def examples(self, files: Files, labels: Sequence[str] | None = None) -> TaskData:
        """The labelled examples of the files, every one with its label; labels: the names they must have."""
        if labels is None and self.reads in TASKS:  # rows of one class alone can be evaluated
            labels = TASKS[self.reads].labels
        return read_task(self.reads, list(files), columns=self.columns, labels=labels, labelled=True)

    def worded(self, data: TaskData) -> Template:
        """The template, of these examples where the task has none of its own."""
        return self.template or default_template(data.spec, data.examples[:100])

    def read(self, files: Files, shots: Shown | None = None) -> Rows:
        data = self.examples(files)
        if shots is not None:
            data = replace(data, examples=data.examples[: shots.limit])
        examples = [self.adapt(example) for example in data.examples]
        template = self.worded(data)
        if self.pairs is None:
            template = in_order(template, data.spec)
        rows = Rows(iter(()), list(data.notes), {"template": template.to_dict()} if self.pairs is None else {})
        shown: Sequence[Sequence[Labelled]] = [()] * len(examples)
        if shots is not None:
            if self.pairs is not None:
                raise UsageError(f"demonstrations for {self.name}", "its prompts have no place for them", "leave them")
            pool = self.examples(shots.files, data.spec.labels).examples
            chosen, notes, how = shots.choose(pool, data.examples)
            shown = [[self.adapt(one) for one in row] for row in chosen]
            rows.notes += notes
            rows.settings |= how
        rows.items = (
            self._item(template, example, raw, before, shots)
            for example, raw, before in zip(examples, data.examples, shown, strict=True)
        )
        return rows

    def _item(
        self, template: Template, example: Labelled, raw: Labelled, shown: Sequence[Labelled], shots: Shown | None
    ) -> Item:
        kept = shown if shots is None else shots.fitting(template, example, shown)
        pairs = self.pairs(example) if self.pairs is not None else pairs_of(template, example, kept)
        return Item(example.where, tuple(pairs), (example, template, raw), len(shown) - len(kept))

    def sample(self, number: int, item: Item, found: Sequence[Any]) -> Sample:
        example, template, _ = item.row
        words = example.answers if self.pairs is not None else answers_of(template, example)
        logprobs = [one.logprob for one in found]
        per_character = [value / max(1, len(word)) for value, word in zip(logprobs, words, strict=True)]
        outcomes: dict[str, tuple[str, Any, Any]] = {}
        for name, metric in self.metrics.items():
            scores = per_character if name.endswith(NORMALISED) else logprobs
            said = shares(scores) if find(metric).kind == "probabilities" else best(scores)
            outcomes[name] = (metric, said, example.label)
        question = item.asked[0][0][-2000:]
        return made(number, item, outcomes, logprobs, question=question, answers=list(words))

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "scoring": "sum"}

    def key(self, item: Item) -> Any:
        return fields_of(item.row[2])

    def chance(self, item: Item) -> float:
        return 1 / len(item.asked)


def shares(logprobs: Sequence[float]) -> list[float]:
    """The probabilities of the answers, if one of them must be given."""
    highest = max(logprobs)
    weights = [math.exp(value - highest) if value > -math.inf else 0.0 for value in logprobs]
    return [weight / sum(weights) for weight in weights] if sum(weights) else [1 / len(weights)] * len(weights)


def best(scores: Sequence[float]) -> int:
    """The place of the highest score, the first of equal ones."""
    return max(range(len(scores)), key=scores.__getitem__)
