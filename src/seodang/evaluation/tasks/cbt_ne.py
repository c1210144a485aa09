"""Children's Book Test, named entities."""

from __future__ import annotations

from seodang.evaluation.tasks.cbt import Cloze, pairs

TASK = Cloze(
    name="cbt-ne",
    source="Hill et al. 2016 (CBT); Radford et al. 2019 (GPT-2), sec. 3.2 and table 3",
    reads="cbt",
    pairs=pairs,
)
