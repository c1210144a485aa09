"""Text → words, one run of words in a line of a file; how often each occurs."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from seodang.text.counts import pruned

LINE = 1000
"""Words of a run, as in word2vec's program; no window reaches beyond it, nor beyond a text."""

MAX_WORDS = 4_000_000
"""Different words that are counted at once; when there are more, the rarest go."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words_of(text: str, *, lowercase: bool = True) -> list[str]:
    """The words of a text: what white space and punctuation leave, composed (NFC). Apostrophes inside stay.

    A Korean word is what stands between spaces (an eojeol), with its particles.
    """
    text = unicodedata.normalize("NFC", text)
    return _WORD.findall(text.lower() if lowercase else text)


def write_words(texts: Iterable[str], path: Path, *, lowercase: bool, jamo: bool) -> Counter[str]:
    """Write the words of `texts` to `path`, at most LINE in a line, and count them; with `jamo`, decomposed (NFD)."""
    counts: Counter[str] = Counter()
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        for text in texts:
            words = words_of(text, lowercase=lowercase)
            if jamo:
                words = [unicodedata.normalize("NFD", word) for word in words]
            counts.update(words)
            if len(counts) > MAX_WORDS:
                counts = pruned(counts, MAX_WORDS // 2)
            for start in range(0, len(words), LINE):
                stream.write(" ".join(words[start : start + LINE]) + "\n")
    return counts


def read_lines(path: Path) -> Iterator[list[str]]:
    """The lines of a file of words."""
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            yield line.split()


def vocabulary_of(counts: Counter[str], min_count: int) -> dict[str, int]:
    """Words that occur `min_count` times or more, the most frequent first, ties in the order of the alphabet."""
    kept = [(word, count) for word, count in counts.items() if count >= min_count]
    return dict(sorted(kept, key=lambda item: (-item[1], item[0])))
