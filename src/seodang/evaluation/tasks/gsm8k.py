"""GSM8K: sums in words. Strict: the number behind ####; flexible: the last number of the text."""

from __future__ import annotations

import re

from seodang.evaluation.writing import Writing
from seodang.prompting.template import Template


def strict(text: str) -> str | None:
    """The number behind the first ####."""
    found = re.search(r"#### (-?[0-9.,]+)", text)
    return None if found is None else number(found[1])


def flexible(text: str) -> str | None:
    """The last number of a text."""
    found = re.findall(r"-?[$0-9.,]{2,}|-?[0-9]+", text)
    return number(found[-1]) if found else None


def number(text: str) -> str:
    """A number without thousands separators, dollar signs, and a full stop behind it."""
    return re.sub(r"[,$]", "", text.rpartition("#### ")[2].strip()).removesuffix(".").lower()


TASK = Writing(
    name="gsm8k",
    source="Cobbe et al. 2021 (GSM8K)",
    harness="gsm8k 3.0, whose five demonstrations are --shots and -k 5 here",
    metrics={"strict": "accuracy", "flexible": "accuracy"},
    template=Template("Question: {text}\nAnswer:"),
    until=("Question:", "</s>", "<|im_end|>"),
    extract={"strict": strict, "flexible": flexible},
    reference=number,
)
