"""Story Cloze: which of two sentences ends a story of four."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="storycloze",
    version=1,
    source="Mostafazadeh et al. 2016 (Story Cloze)",
    reads="storycloze",
    template=Template("{context}"),
)
