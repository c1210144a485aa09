"""WinoGrande by partial evaluation: P of what follows the name, with each of the two in the blank."""

from __future__ import annotations

from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template

TASK = Choice(
    name="winogrande",
    version=1,
    source="Sakaguchi et al. 2020 (WinoGrande); Trinh & Le 2018, sec. 3.1: partial scoring",
    harness="winogrande 1.0",
    reads="winogrande",
    template=Template("{before}{answer}", continuation="{after}"),
)
