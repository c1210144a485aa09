"""Chain of thought: words that ask for it, the answer at its end, and the vote of several samples."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

from seodang.errors import UsageError, suggest

Extract = Literal["number", "letter", "line"]

STEP_BY_STEP = {"en": "Let's think step by step.", "ko": "차근차근 생각해 봅시다."}
"""What stands behind the question (Kojima et al. 2022, sec. 3: reasoning extraction)."""

THEREFORE = {"en": "Therefore, the answer is", "ko": "따라서 답은"}
"""What stands behind the reasoning (Kojima et al. 2022, sec. 3: answer extraction)."""

CONCLUSION = {"en": "The answer is {answer}.", "ko": "답은 {answer}입니다."}
"""How a demonstration ends (Wei et al. 2022, app. G)."""

_MARK = re.compile(r"####|(?:answer|result)(?: is\b|[ ]?:)[ :]*|(?:정답|답|결과)(?:은|는|[ ]?:)[ :]*", re.IGNORECASE)
_SIGN = r"(?<![A-Za-z\d.])[-−]?(?:[$₩€£]\s?)?"
_NUMBER = re.compile(rf"{_SIGN}\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?(?!\d)|{_SIGN}\d+(?:\.\d+)?")
_LETTER = re.compile(r"[(\[]\s*([A-H])\s*[)\]]|(?<![^\W가-힣])([A-H])(?![^\W가-힣'’])")
_CIRCLED = str.maketrans("①②③④⑤", "ABCDE")


def language_of(text: str) -> str:
    """"ko" when there is Hangul in the text, or else "en"."""
    return "ko" if re.search(r"[가-힣]", text) else "en"


def worded(solution: str, language: str = "en") -> str:
    """A solution in GSM8K's form as a chain of thought in prose: without <<48/2=24>>, ending in "The answer is 72."

    >>> worded("48/2 = <<48/2=24>>24 clips.\\n#### 24")
    '48/2 = 24 clips. The answer is 24.'
    """
    body, mark, answer = re.sub(r"<<.*?>>", "", solution).partition("####")
    if not mark:
        return solution
    steps = " ".join(line.strip() for line in body.splitlines() if line.strip())
    return f"{steps} {CONCLUSION[language].format(answer=answer.strip())}".strip()


def extracted(text: str, extract: Extract = "number") -> str | None:
    """The answer at the end of a chain of thought; None when there is none.

    It is looked for behind the last "####", "the answer is" or "답은", and else in the whole text. number: "1,234.50" →
    "1234.5", the first one behind the mark or else the last one. letter: "(B)", "B.", "②" → "B", the same. line: the
    rest of the marked line, or else the last line, without its full stop.
    """
    if extract not in get_args(Extract):
        raise UsageError(f"extract = {extract!r}", "there is no such way", suggest(extract, get_args(Extract)))
    if extract == "letter":
        text = text.translate(_CIRCLED)
    text = unicodedata.normalize("NFKC", text)
    marks = list(_MARK.finditer(text))
    marked = text[marks[-1].end() :].strip().split("\n")[0] if marks else None
    if extract == "line":
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        line = marked if marked is not None else (lines[-1] if lines else "")
        return line.rstrip(" .。") or None
    pattern = _NUMBER if extract == "number" else _LETTER
    found = list(pattern.finditer(marked)) if marked is not None else []
    match = found[0] if found else next(reversed(list(pattern.finditer(text))), None)
    if match is None:
        return None
    return _decimal(match[0]) if extract == "number" else match[1] or match[2]


def _decimal(text: str) -> str:
    number = Decimal(re.sub(r"[^\d.]", "", text.replace("−", "-")))
    sign = "-" if text.lstrip()[0] in "-−" and number else ""
    shown = f"{number:f}"
    return sign + (shown.rstrip("0").rstrip(".") if "." in shown else str(int(number)))


@dataclass(frozen=True)
class Vote:
    """What several samples say together."""

    answer: str | None
    """The most frequent one; of equally frequent ones, that which was said first. None: no sample has an answer."""
    agreement: float
    """The share of all samples that say it, 0 to 1; samples without an answer count as dissent."""
    counts: dict[str, int]


def majority(answers: Sequence[str | None]) -> Vote:
    """Self-consistency: the answer that most samples end in (Wang et al. 2022, sec. 2: unweighted sum)."""
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return Vote(None, 0.0, {})
    answer, n = counts.most_common(1)[0]  # equal counts keep the order in which they came
    return Vote(answer, n / len(answers), dict(counts))


Generate = Callable[[list[str]], list[str]]
"""Prompts → what is written behind them."""


def think(prompts: Sequence[str], generate: Generate, conclude: Generate) -> tuple[list[str], list[str]]:
    """Zero-shot chain of thought: (reasoning, conclusion) of each prompt, in two steps (Kojima et al. 2022, fig. 2).

    The first call asks for the reasoning (`STEP_BY_STEP`), the second, behind it, for the answer (`THEREFORE`); the
    conclusion is that whole sentence, so that `extracted` finds the answer in it.
    """
    languages = [language_of(prompt) for prompt in prompts]
    asked = [f"{prompt} {STEP_BY_STEP[own]}" for prompt, own in zip(prompts, languages, strict=True)]
    thoughts = [thought.strip() for thought in generate(asked)]
    ends = [
        f"{question} {thought}\n{THEREFORE[own]}"
        for question, thought, own in zip(asked, thoughts, languages, strict=True)
    ]
    said = [text.strip().split("\n")[0] for text in conclude(ends)]
    return thoughts, [f"{THEREFORE[own]} {text}" for text, own in zip(said, languages, strict=True)]
