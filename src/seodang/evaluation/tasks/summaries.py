"""Summaries of English documents: rows of a document and its summary."""

from __future__ import annotations

from seodang.evaluation.writing import Writing
from seodang.prompting.template import Template

TASK = Writing(
    name="summaries",
    source="Radford et al. 2019 (GPT-2), sec. 3.6: TL;DR:; Lin 2004 (ROUGE)",
    metrics={name: name for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")},
    template=Template("{text}\nTL;DR:"),
    until=("\n\n",),
    max_new_tokens=100,
)
