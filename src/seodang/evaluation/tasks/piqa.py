"""PIQA: which of two ways reaches a goal."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="piqa",
    version=1,
    source="Bisk et al. 2020 (PIQA)",
    harness="piqa 1.0",
    reads="piqa",
    template=Template("Question: {question}\nAnswer:"),
    metrics={"accuracy": "accuracy", "accuracy_norm": "accuracy"},
)
