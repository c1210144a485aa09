"""KoBEST WiC: has a word the same sense in two sentences."""

from __future__ import annotations

import re
from dataclasses import replace

from seodang.data.labelled import Labelled
from seodang.evaluation.choosing import Choice
from seodang.prompting.template import Template


def with_word(example: Labelled) -> Labelled:
    """The word that both sentences have in brackets, as a third text."""
    found = re.search(r"\[(.+?)\]", example.texts[0])
    return replace(example, texts=(*example.texts[:2], found[1] if found else ""))


TASK = Choice(
    name="kobest-wic",
    version=1,
    source="Kim et al. 2022 (KoBEST), table 6",
    harness="kobest_wic 1.0",
    reads="kobest-wic",
    template=Template(
        "문장1: {a} 문장2: {b} 두 문장에서 {word}가 같은 뜻으로 쓰였나?",
        ("아니오", "예"),
    ),
    metrics={"accuracy": "accuracy", "macro_f1": "macro_f1"},
    adapt=with_word,
)
