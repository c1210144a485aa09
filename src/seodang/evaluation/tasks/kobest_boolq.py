"""KoBEST BoolQ: yes or no to a question about a paragraph."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="kobest-boolq",
    version=1,
    source="Kim et al. 2022 (KoBEST), table 6",
    harness="kobest_boolq 1.0",
    reads="kobest-boolq",
    template=Template("{premise} 질문: {hypothesis} 답변: ", ("아니오", "예")),
    metrics={"accuracy": "accuracy", "macro_f1": "macro_f1"},
)
