"""Summaries of Korean documents: ROUGE of characters and of words."""

from __future__ import annotations

from seodang.evaluation.writing import Writing
from seodang.prompting.template import Template

TASK = Writing(
    name="summaries-ko",
    source="Lin 2004 (ROUGE)",
    metrics={
        f"{name}{unit}": f"{name}{unit}" for unit in ("-characters", "") for name in ("rouge1", "rouge2", "rougeL")
    },
    template=Template("{text}\n요약:"),
    until=("\n\n",),
    max_new_tokens=128,
)
