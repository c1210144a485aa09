"""NSMC: is a Korean film review negative or positive."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="nsmc",
    version=1,
    source="Park 2016 (NSMC)",
    reads="nsmc",
    template=Template("리뷰: {text}\n감정:", ("부정", "긍정")),
)
