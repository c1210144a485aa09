"""HellaSwag: how a scene goes on."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="hellaswag",
    version=1,
    source="Zellers et al. 2019 (HellaSwag)",
    harness="hellaswag 1.0",
    reads="hellaswag",
    template=Template("{context}"),
    metrics={"accuracy_norm": "accuracy", "accuracy": "accuracy"},
)
