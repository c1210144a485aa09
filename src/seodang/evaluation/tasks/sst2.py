"""SST-2: is a sentence of a review negative or positive."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="sst2",
    version=1,
    source="Socher et al. 2013; Wang et al. 2019 (GLUE), table 1",
    harness="sst2 1.0",
    reads="sst2",
    template=Template("{text}\nQuestion: Is this sentence positive or negative?\nAnswer:", ("negative", "positive")),
)
