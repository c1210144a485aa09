"""ARC, the challenge set: what word overlap and retrieval answer wrongly."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="arc-challenge",
    version=1,
    source="Clark et al. 2018 (ARC)",
    harness="arc_challenge 1.0",
    reads="arc-challenge",
    template=Template("Question: {question}\nAnswer:"),
    metrics={"accuracy_norm": "accuracy", "accuracy": "accuracy"},
)
