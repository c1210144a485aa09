"""SNLI: does a caption follow from another, contradict it, or neither. Worded as MultiNLI."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="snli",
    version=1,
    source="Bowman et al. 2015 (SNLI)",
    reads="snli",
    template=Template(
        "{premise}\nQuestion: {hypothesis} True, False or Neither?\nAnswer:", ("True", "Neither", "False")
    ),
)
