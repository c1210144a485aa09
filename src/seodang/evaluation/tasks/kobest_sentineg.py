"""KoBEST SentiNeg: is a review, often one with a negation, negative or positive."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="kobest-sentineg",
    version=1,
    source="Kim et al. 2022 (KoBEST), table 6",
    harness="kobest_sentineg 1.0",
    reads="kobest-sentineg",
    template=Template("문장: {text} 긍부정:", ("부정", "긍정")),
    metrics={"accuracy": "accuracy", "macro_f1": "macro_f1"},
)
