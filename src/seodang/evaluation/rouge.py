"""ROUGE that counts Korean: n-grams and longest common subsequences of words, characters or morphemes (Lin 2004).

Google's rouge-score drops every letter but a to z and so gives Korean 0. Here a word is a run of letters and digits of
any script (an eojeol, in Korean), which on English without accents is the same; stemming is not offered. A character is
a letter or digit, spaces aside. Morphemes are Kiwi's (extra `korean`): 서당에서 and 서당은 then share 서당.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from seodang.errors import SeodangError, UsageError, suggest

Unit = Literal["words", "characters", "morphemes"]
UNITS: tuple[Unit, ...] = ("words", "characters", "morphemes")
MEASURES = ("rouge1", "rouge2", "rougeL", "rougeLsum")

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class RougeScore:
    """Share of the prediction's units that are in the reference, of the reference's in the prediction, and their F1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 when both are."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def units_of(text: str, unit: Unit = "words") -> list[str]:
    """`text` as lower-case words, characters or morphemes, NFC, without punctuation and spaces.

    Raises UsageError for an unknown unit and SeodangError when morphemes are asked for without kiwipiepy.
    """
    if unit not in UNITS:
        raise UsageError(f"unknown unit {unit!r}", "ROUGE counts units of a text", suggest(unit, UNITS))
    text = unicodedata.normalize("NFC", text)
    if unit == "morphemes":
        return [form.lower() for form in _morphemes(text) if _WORD.search(form)]
    words = _WORD.findall(text.lower())
    return words if unit == "words" else list("".join(words))


@functools.cache
def _kiwi() -> Any:
    try:
        from kiwipiepy import Kiwi
    except ImportError:
        raise SeodangError(
            "ROUGE of morphemes",
            "the library kiwipiepy, which takes Korean words apart, is not installed",
            "pip install 'seodang[korean]', or count characters or words",
        ) from None
    return Kiwi()


def _morphemes(text: str) -> Iterable[str]:
    return (token.form for token in _kiwi().tokenize(text))


def ngram_counts(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each n-gram occurs."""
    return Counter(zip(*(tokens[start:] for start in range(n)), strict=False))


def rouge_n(predicted: Sequence[str], actual: Sequence[str], n: int) -> RougeScore:
    """Common n-grams, each as often as in both (Lin 2004, sec. 2, eq. 1; precision as in ROUGE-1.5.5)."""
    ours, theirs = ngram_counts(predicted, n), ngram_counts(actual, n)
    return _share((ours & theirs).total(), ours.total(), theirs.total(), list(predicted) == list(actual))


def _share(common: int, predicted: int, actual: int, same: bool) -> RougeScore:
    """`same`: what texts get in which there is nothing to count. rouge-score gives 0 to identical short texts, too."""
    if not predicted and not actual:
        return RougeScore(float(same), float(same))
    return RougeScore(common / max(predicted, 1), common / max(actual, 1))


def _lcs_rows(first: Sequence[str], second: Sequence[str]) -> list[int]:
    """Row i of the table of longest common subsequences of first[:i] and second, as bits: bit j is 0 where the length
    grows from second[:j] to second[:j + 1] (Hyyrö 2004): a row costs a few operations on one long integer."""
    full = (1 << len(second)) - 1
    places: dict[str, int] = {}
    for place, token in enumerate(second):
        places[token] = places.get(token, 0) | 1 << place
    rows = [full]
    for token in first:
        matches = rows[-1] & places.get(token, 0)
        rows.append(((rows[-1] + matches) | (rows[-1] - matches)) & full)
    return rows


def lcs_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    return len(second) - _lcs_rows(first, second)[-1].bit_count()


def lcs_places(first: Sequence[str], second: Sequence[str]) -> set[int]:
    """Where in `first` one longest common subsequence lies: that which ROUGE-1.5.5 finds, going back from the ends."""
    rows = _lcs_rows(first, second)

    def length(i: int, j: int) -> int:
        return j - (rows[i] & ((1 << j) - 1)).bit_count()

    i, j, found = len(first), len(second), set()
    while i and j:
        if first[i - 1] == second[j - 1]:
            i, j = i - 1, j - 1
            found.add(i)
        elif length(i, j - 1) > length(i - 1, j):
            j -= 1
        else:
            i -= 1
    return found


def rouge_l(predicted: Sequence[str], actual: Sequence[str]) -> RougeScore:
    """Longest common subsequence of the whole texts (Lin 2004, sec. 3.1, eq. 2–4 with β = 1)."""
    common = lcs_length(predicted, actual)
    return _share(common, len(predicted), len(actual), list(predicted) == list(actual))


def rouge_lsum(predicted: Sequence[Sequence[str]], actual: Sequence[Sequence[str]]) -> RougeScore:
    """Union of each reference sentence's subsequences in all predicted ones (Lin 2004, sec. 3.2, eq. 5–7).

    As in ROUGE-1.5.5, a token counts at most as often as it occurs in both texts.
    """
    ours = Counter(token for sentence in predicted for token in sentence)
    theirs = Counter(token for sentence in actual for token in sentence)
    common: Counter[str] = Counter()
    for sentence in actual:
        places = set().union(*(lcs_places(sentence, other) for other in predicted))
        common.update(sentence[place] for place in places)
    hits = sum(min(times, ours[token], theirs[token]) for token, times in common.items())
    return _share(hits, ours.total(), theirs.total(), ours == theirs)


def rouge(
    prediction: str, reference: str, *, unit: Unit = "words", measures: Sequence[str] = ("rouge1", "rouge2", "rougeL")
) -> dict[str, RougeScore]:
    """ROUGE of one text against one reference; rougeLsum takes each line for a sentence.

    Where neither text has an n-gram, equal texts score 1 and others 0; where one has none, 0.
    """
    for measure in measures:
        if measure not in MEASURES:
            raise UsageError(f"unknown measure {measure!r}", "ROUGE has no such", suggest(measure, MEASURES))
    texts = prediction, reference
    ours, theirs = (units_of(text, unit) for text in texts)
    if not ours and not theirs:  # nothing to count: empty, or punctuation alone
        same = float(prediction.strip() == reference.strip())
        return dict.fromkeys(measures, RougeScore(same, same))
    found = {}
    for measure in measures:
        if measure == "rougeLsum":
            found[measure] = rouge_lsum(*([units_of(line, unit) for line in text.splitlines()] for text in texts))
        elif measure == "rougeL":
            found[measure] = rouge_l(ours, theirs)
        else:
            found[measure] = rouge_n(ours, theirs, int(measure[-1]))
    return found


class MeanRouge:
    """Mean ROUGE of a stream of texts; keeps sums alone. Of several references the one with the best F1 counts."""

    def __init__(self, unit: Unit = "words", measures: Sequence[str] = ("rouge1", "rouge2", "rougeL")) -> None:
        self.unit, self.measures, self.n = unit, tuple(measures), 0
        self._sums = {measure: [0.0, 0.0, 0.0] for measure in self.measures}

    def add(self, prediction: str, references: str | Sequence[str]) -> None:
        """Count one more row."""
        answers = [references] if isinstance(references, str) else references
        scores = [rouge(prediction, answer, unit=self.unit, measures=self.measures) for answer in answers]
        for measure in self.measures:
            best = max((score[measure] for score in scores), key=lambda score: score.f1)
            for place, value in enumerate((best.precision, best.recall, best.f1)):
                self._sums[measure][place] += value
        self.n += 1

    def result(self) -> dict[str, dict[str, float]]:
        """Per measure the means of precision, recall and F1 over the rows. Raises UsageError when there were none."""
        if not self.n:
            raise UsageError("ROUGE of no texts", "nothing was added", "add at least one prediction and its reference")
        names = ("precision", "recall", "f1")
        return {
            measure: {name: total / self.n for name, total in zip(names, sums, strict=True)}
            for measure, sums in self._sums.items()
        }
