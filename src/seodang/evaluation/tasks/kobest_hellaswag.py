"""KoBEST HellaSwag: how a scene goes on."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="kobest-hellaswag",
    version=1,
    source="Kim et al. 2022 (KoBEST), table 6",
    harness="kobest_hellaswag 1.0",
    reads="kobest-hellaswag",
    template=Template("문장: {context}"),
    metrics={"accuracy": "accuracy", "accuracy_norm": "accuracy", "macro_f1": "macro_f1"},
)
