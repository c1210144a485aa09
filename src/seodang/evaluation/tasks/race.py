"""RACE: a question about a passage. lm-evaluation-harness shows the passage's other questions as well, solved."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="race",
    version=1,
    source="Lai et al. 2017 (RACE)",
    harness="race 3.0, of passages with one question",
    reads="race",
    template=Template("Article: {context}\n\n{question}"),
)
