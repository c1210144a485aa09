"""RTE: does one sentence follow from another."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="rte",
    version=1,
    source="Wang et al. 2019 (GLUE), table 1",
    harness="rte 1.0",
    reads="rte",
    template=Template("{premise}\nQuestion: {hypothesis} True or False?\nAnswer:", ("True", "False")),
)
