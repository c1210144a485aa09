"""MultiNLI: does a sentence follow from another, contradict it, or neither."""

from __future__ import annotations

from dataclasses import replace

from seodang.data.labelled import Labelled
from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template


def with_stop(example: Labelled) -> Labelled:
    """The hypothesis with a full stop, where it has none."""
    premise, hypothesis = example.texts
    hypothesis = hypothesis.strip()
    return replace(example, texts=(premise, hypothesis if hypothesis.endswith(".") else f"{hypothesis}."))


TASK = Choice(
    name="mnli",
    version=1,
    source="Williams et al. 2018; Wang et al. 2019 (GLUE), table 1",
    harness="mnli 1.0",
    reads="mnli",
    template=Template(
        "{premise}\nQuestion: {hypothesis} True, False or Neither?\nAnswer:", ("True", "Neither", "False")
    ),
    adapt=with_stop,
)
