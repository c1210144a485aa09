"""Is the generated answer the right one? SQuAD's exact match and F1, and KorQuAD's for Korean.

Which rules hold is decided by the reference's script: Hangul in it means KorQuAD's (no articles to drop, F1 over
characters, since 서당은 and 서당 are one word apart and one character apart), otherwise SQuAD's (F1 over words).
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff]")
_MARKS = str.maketrans("", "", string.punctuation)
_KOREAN_BRACKETS = str.maketrans(dict.fromkeys("'\"《》<>〈〉()‘’", " "))


def has_hangul(text: str) -> bool:
    """Whether any letter of `text` is Korean: a syllable or a jamo."""
    return _HANGUL.search(text) is not None


def normalize(text: str, *, korean: bool = False) -> str:
    """NFC, lower case, no punctuation, single spaces; English without a, an, the.

    Rajpurkar et al. 2016 (SQuAD), sec. 6.1 and its script; `korean`: Lim et al. 2019 (KorQuAD 1.0), whose script turns
    quotation marks and brackets into spaces and keeps all words.
    """
    text = unicodedata.normalize("NFC", text).lower()
    if korean:
        text = text.translate(_KOREAN_BRACKETS)
    text = text.translate(_MARKS)
    return " ".join((text if korean else _ARTICLES.sub(" ", text)).split())


def overlap_f1(predicted: Sequence[str], actual: Sequence[str]) -> float:
    """F1 of two bags of tokens, 2·common / (predicted + actual); without any token 1 if both are empty, else 0."""
    if not predicted or not actual:
        return float(not predicted and not actual)
    common = (Counter(predicted) & Counter(actual)).total()
    return 2 * common / (len(predicted) + len(actual))


def exact_match(prediction: str, reference: str) -> float:
    """1 if both are the same once normalised, otherwise 0."""
    korean = has_hangul(reference)
    return float(normalize(prediction, korean=korean) == normalize(reference, korean=korean))


def token_f1(prediction: str, reference: str) -> float:
    """SQuAD's F1 over words; for a reference in Hangul KorQuAD's over characters."""
    if has_hangul(reference):
        return character_f1(prediction, reference)
    return overlap_f1(normalize(prediction).split(), normalize(reference).split())


def character_f1(prediction: str, reference: str) -> float:
    """KorQuAD's F1: over characters, spaces aside, whatever the script (Lim et al. 2019, sec. 4)."""
    predicted, actual = (normalize(text, korean=True).replace(" ", "") for text in (prediction, reference))
    return overlap_f1(predicted, actual)
