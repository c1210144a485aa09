"""MRPC: do two sentences mean the same."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="mrpc",
    version=1,
    source="Dolan & Brockett 2005; Wang et al. 2019 (GLUE), table 1",
    harness="mrpc 1.0",
    reads="mrpc",
    template=Template(
        "Sentence 1: {a}\nSentence 2: {b}\nQuestion: Do both sentences mean the same thing?\nAnswer:",
        ("no", "yes"),
    ),
    metrics={"accuracy": "accuracy", "f1": "f1"},
)
