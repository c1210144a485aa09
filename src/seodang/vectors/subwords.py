"""fastText's subwords: the n-grams of a word between `<` and `>`, hashed into buckets.

Shapes: K buckets that training touched, D numbers in a vector.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np


def ngrams(word: str, min_n: int, max_n: int) -> list[str]:
    """Character n-grams of `<word>`, `min_n` to `max_n` long (Bojanowski et al. 2017, sec. 3.2), where they start
    first and the short ones of a start first; `<` and `>` alone are none."""
    marked = f"<{word}>"
    found = []
    for start in range(len(marked)):
        for n in range(min_n, min(max_n, len(marked) - start) + 1):
            if n > 1 or 0 < start < len(marked) - 1:
                found.append(marked[start : start + n])
    return found


def bucket(ngram: str, buckets: int) -> int:
    """FNV-1a of the UTF-8 bytes, modulo `buckets`. Bytes count as signed, as in fastText's program."""
    value = 2166136261
    for byte in ngram.encode("utf-8"):
        value ^= byte if byte < 128 else byte | 0xFFFFFF00
        value = value * 16777619 & 0xFFFFFFFF
    return value % buckets


@dataclass(frozen=True)
class Subwords:
    """What makes a vector for a word that was not in the text."""

    min_n: int
    max_n: int
    buckets: int
    jamo: bool
    ids: np.ndarray
    """(K,) int64, ascending: the buckets that n-grams of the vocabulary fall into."""
    vectors: np.ndarray
    """(K, D) float32"""

    def spelling(self, word: str) -> str:
        """The characters whose n-grams are cut: composed, or Hangul taken apart into jamo."""
        return unicodedata.normalize("NFD" if self.jamo else "NFC", word)

    def vector(self, word: str) -> np.ndarray:
        """(D,): the mean of the word's n-gram vectors; an n-gram that training never saw counts as zero.

        The paper adds them up, fastText's program takes the mean; the direction is the same.
        """
        wanted = np.array([bucket(ngram, self.buckets) for ngram in
                           ngrams(self.spelling(word), self.min_n, self.max_n)], dtype=np.int64)
        if not len(wanted) or not len(self.ids):
            return np.zeros(self.vectors.shape[1], dtype=np.float32)
        places = np.searchsorted(self.ids, wanted).clip(max=len(self.ids) - 1)
        known = places[self.ids[places] == wanted]
        return self.vectors[known].sum(0, dtype=np.float32) / np.float32(len(wanted))
