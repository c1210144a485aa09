"""CoLA: is a sentence acceptable."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="cola",
    version=1,
    source="Warstadt et al. 2019; Wang et al. 2019 (GLUE), table 1",
    harness="cola 1.0",
    reads="cola",
    template=Template("{text}\nQuestion: Does this sentence make sense?\nAnswer:", ("no", "yes")),
    metrics={"matthews": "matthews", "accuracy": "accuracy"},
)
