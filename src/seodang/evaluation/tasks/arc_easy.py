"""ARC, the easy set: science questions with three to five answers."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="arc-easy",
    version=1,
    source="Clark et al. 2018 (ARC)",
    harness="arc_easy 1.0",
    reads="arc-easy",
    template=Template("Question: {question}\nAnswer:"),
    metrics={"accuracy": "accuracy", "accuracy_norm": "accuracy"},
)
