"""Tasks that are answered in the model's own words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from seodang.data.labelled import Labelled
from seodang.data.readers import read_rows
from seodang.data.text_pairs import pair_texts
from seodang.evaluation.results import Sample
from seodang.evaluation.task import Files, Item, Rows, Shown, Task, made
from seodang.prompting.template import Template, context_of

Extract = Callable[[str], str | None]


def whole(text: str) -> str | None:
    """All of a text but the white space around it."""
    return text.strip()


@dataclass(frozen=True, kw_only=True)
class Writing(Task):
    """Prompts and the answers that are right for them: rows of two texts (`data/text_pairs.py` has their names).

    until: strings before which a text ends. extract: measurement → what it compares, out of a generated text; None when
    there is nothing of the kind in it. reference: what is right, out of the row's answer.
    """

    request = "generate"
    metrics: Mapping[str, str] = field(
        default_factory=lambda: {"exact_match": "exact_match", "token_f1": "token_f1"}
    )
    template: Template = field(default_factory=lambda: Template("{text}", between="\n"))
    until: tuple[str, ...] = ()
    max_new_tokens: int = 256
    extract: Mapping[str, Extract] = field(default_factory=dict)
    reference: Callable[[str], Any] = whole

    def read(self, files: Files, shots: Shown | None = None) -> Rows:
        if shots is None:
            return Rows(self._item(example, (), None) for example in self._examples(files))
        examples = list(islice(self._examples(files), shots.limit))
        shown, notes, how = shots.choose(list(self._examples(shots.files)), examples)
        return Rows((self._item(*row, shots) for row in zip(examples, shown, strict=True)), notes, how)

    def _examples(self, files: Files) -> Iterator[Labelled]:
        for prompt, answer, where in pair_texts(read_rows(files)):
            yield Labelled((prompt,), 0, (answer,), where)

    def _item(self, example: Labelled, shown: Sequence[Labelled], shots: Shown | None) -> Item:
        kept = shown if shots is None else shots.fitting(self.template, example, shown, self.max_new_tokens)
        prompt = context_of(self.template, example, kept)
        return Item(example.where, (prompt,), example, len(shown) - len(kept))

    def sample(self, number: int, item: Item, found: Sequence[Any]) -> Sample:
        (one,), (answer,) = found, item.row.answers
        reference = self.reference(answer)
        outcomes = {
            name: (metric, self.extract.get(name, whole)(one.text), reference) for name, metric in self.metrics.items()
        }
        details = {"question": item.asked[0][-2000:], "generated": one.text, "finish_reason": one.finish_reason}
        return made(number, item, outcomes, answer=answer, **details)

    def settings(self) -> dict[str, Any]:
        ends = {"until": list(self.until), "max_new_tokens": self.max_new_tokens}
        return {**super().settings(), "template": self.template.to_dict(), **ends}

    def key(self, item: Item) -> Any:
        return [*item.row.texts, *item.row.answers]
