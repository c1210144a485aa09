"""QNLI: does a sentence answer a question."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="qnli",
    version=1,
    source="Wang et al. 2019 (GLUE), table 1",
    harness="qnli 1.0",
    reads="qnli",
    template=Template(
        "{premise}\n{hypothesis}\nQuestion: Does this response answer the question?\nAnswer:", ("yes", "no")
    ),
)
