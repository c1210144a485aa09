"""From log-probabilities, or from a generated text, to an answer. Plain numbers in, plain numbers out.

A answers of one question; each has log P of its continuation, in nats, and that continuation's length.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal, Protocol

from seodang.errors import UsageError

Scoring = Literal["sum", "token", "byte", "null"]

CONTENT_FREE = ("N/A", "[MASK]", "")
"""Texts that say nothing, whose answers are averaged (Zhao et al. 2021, sec. 5)."""


_LETTER = tuple(map(re.compile, (
    r"(?i:answer|option|정답|답)(?i: is|은|는)?\s*:?\s*[(\[]?([A-Z])(?![A-Za-z\d'’])",
    r"[(\[]([A-Z])[)\]]|^\s*([A-Z])(?:[.):,]|\s*$)",
    r"(?<!\w)([A-Z])(?![A-Za-z\d'’])(?!\s+[a-z])",
)))  # fmt: skip
"""Ways to name an answer by its letter, the plainest first; an article ("A dog") is none."""


class Likelihood(Protocol):
    """What is known of a continuation; `inference.requests.Continuation` is one."""

    @property
    def logprob(self) -> float:
        """log P(continuation | context), natural."""

    @property
    def n_tokens(self) -> int:
        """Tokens of the continuation."""

    @property
    def n_bytes(self) -> int:
        """UTF-8 bytes of the continuation."""


def scores(
    found: Sequence[Likelihood], scoring: Scoring = "sum", null: Sequence[Likelihood] | None = None
) -> list[float]:
    """The score of each of A answers; the highest is the prediction.

    sum: log P(answer | context). token, byte: that for each token (GPT-3's way) or byte of the answer, so that long
    ones are not at a disadvantage. null: log P(answer | context) − log P(answer | null prompt), the pointwise mutual
    information; `null` is what each answer has behind a prompt without the example, such as "Answer:" (Brown et al.
    2020, sec. 2.4). Raises UsageError for null without it.
    """
    if scoring == "sum":
        return [one.logprob for one in found]
    if scoring == "token":
        return [one.logprob / max(1, one.n_tokens) for one in found]
    if scoring == "byte":
        return [one.logprob / max(1, one.n_bytes) for one in found]
    if null is None:
        raise UsageError("scoring 'null' without a null prompt", "there is nothing to compare with", "pass null=")
    return [one.logprob - other.logprob for one, other in zip(found, null, strict=True)]


def probabilities(scores: Sequence[float]) -> list[float]:
    """softmax over the scores of A answers."""
    best = max(scores)
    if best == -math.inf:
        return [1 / len(scores)] * len(scores)
    shares = [math.exp(score - best) for score in scores]
    total = math.fsum(shares)
    return [share / total for share in shares]


def calibrated(found: Sequence[float], content_free: Sequence[Sequence[float]]) -> list[float]:
    """Contextual calibration: W·p with W = diag(p_cf)⁻¹ and b = 0, made to sum to 1 (Zhao et al. 2021, sec. 5).

    found: p, probabilities of A answers; content_free: the same after prompts that say nothing (`CONTENT_FREE`), whose
    mean is p_cf. The paper takes softmax(W·p), which has the same greatest entry.
    """
    mean = [math.fsum(column) / len(content_free) for column in zip(*content_free, strict=True)]
    weighted = [p / max(bias, 1e-12) for p, bias in zip(found, mean, strict=True)]
    total = math.fsum(weighted)
    return [value / total for value in weighted] if total else list(found)


def best(values: Sequence[float]) -> int:
    """The place of the highest value; of equal ones the first."""
    return max(range(len(values)), key=lambda place: values[place])


def expectation(found: Sequence[float], answers: Sequence[str]) -> float:
    """Σ p·value over answers that are numbers: the predicted score. Raises UsageError for other answers."""
    try:
        return math.fsum(p * float(answer) for p, answer in zip(found, answers, strict=True))
    except ValueError:
        raise UsageError(
            f"the answers {', '.join(answers)} for scores", "a score is a number", 'write answers such as "0", "1"'
        ) from None


def matched(text: str, answers: Sequence[str]) -> int | None:
    """Which answer a generated text gives: the one that it names first, of several there the longest; None: none.

    Case and width do not count, but for letters (A, B, …), where "a" is a word: there what is called the answer comes
    first, then what stands in brackets or alone. A name within a word is none ("impositive"), but an answer in Hangul
    may be followed by an ending ("긍정입니다").
    """
    if answers and all(re.fullmatch("[A-Z]", answer) for answer in answers):
        text = unicodedata.normalize("NFKC", text)
        letters = (next(filter(None, found.groups())) for way in _LETTER for found in way.finditer(text))
        return next((answers.index(letter) for letter in letters if letter in answers), None)
    text = folded(text)
    places = []
    for number, answer in enumerate(map(folded, answers)):
        before = r"(?<!\w)" if answer[:1].isalnum() else ""
        after = r"(?!\w)" if answer[-1:].isalnum() and not _is_hangul(answer[-1]) else ""
        # a Latin name may have a Hangul particle behind it ("positive입니다")
        after = after.replace(r"\w", r"[^\W가-힣]")
        found = re.search(before + re.escape(answer) + after, text) if answer else None
        if found:
            places.append((found.start(), -len(answer), number))
    return min(places)[2] if places else None


def folded(text: str) -> str:
    """A text in one case and width, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _is_hangul(character: str) -> bool:
    return "가" <= character <= "힣"
