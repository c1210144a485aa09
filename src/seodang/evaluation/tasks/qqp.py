"""QQP: do two questions ask the same."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="qqp",
    version=1,
    source="Wang et al. 2019 (GLUE), table 1",
    harness="qqp 2.0",
    reads="qqp",
    template=Template(
        "Question 1: {a}\nQuestion 2: {b}\nQuestion: Do both questions ask the same thing?\nAnswer:",
        ("no", "yes"),
    ),
    metrics={"accuracy": "accuracy", "f1": "f1"},
)
