"""CommonsenseQA: the answers in the question, their letters scored."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="commonsenseqa",
    version=1,
    source="Talmor et al. 2019 (CommonsenseQA)",
    harness="commonsense_qa",
    reads="commonsenseqa",
    template=Template("Question: {question}\n{choices}\nAnswer:", answers=("A", "B", "C", "D", "E")),
)
