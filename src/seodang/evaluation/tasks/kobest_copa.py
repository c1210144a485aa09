"""KoBEST COPA: the cause or the effect of an event."""

from __future__ import annotations

from dataclasses import replace

from seodang.data.labelled import Labelled
from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

CONNECTORS = {"원인": "왜냐하면", "결과": "그래서"}


def with_connector(example: Labelled) -> Labelled:
    """"Because" or "therefore" in place of the question for a cause or an effect."""
    premise, question = example.texts
    return replace(example, texts=(premise, CONNECTORS.get(question.strip(), question)))


TASK = Choice(
    name="kobest-copa",
    version=1,
    source="Kim et al. 2022 (KoBEST), table 6",
    harness="kobest_copa 1.0",
    reads="kobest-copa",
    template=Template("{context}  {question}"),
    metrics={"accuracy": "accuracy", "macro_f1": "macro_f1"},
    adapt=with_connector,
)
