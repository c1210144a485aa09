"""Byte-pair encoding as the paper tells it, in plain Python: what `tokenizer trace` shows and the tests trust.

Sennrich, Haddow & Birch 2016, "Neural Machine Translation of Rare Words with Subword Units", section 3.2 and
algorithm 1, with two differences. Words end where they end: by default without a marker, or, with `word_end`, with
`</w>` as part of the last character (GPT-1), not as a symbol of its own. And equal counts are decided by a rule, the
`tokenizers` library's: the pair whose left entry is older wins, then the one whose right entry is older. Single
symbols are oldest, plain before marked, each by code point; joined entries follow in the order they were learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WORD_END = "</w>"


@dataclass(frozen=True, slots=True)
class Merge:
    """One learned merge: the two symbols and how often they stood side by side."""

    left: str
    right: str
    count: int


def symbols_of(word: str, word_end: bool = False) -> list[str]:
    """A word's characters; with `word_end` the last one carries `</w>`."""
    return [*word[:-1], word[-1] + WORD_END] if word_end and word else list(word)


def learn_bpe(
    word_counts: Mapping[str, int], n_merges: int, *, word_end: bool = False, min_count: int = 1
) -> list[Merge]:
    """The first `n_merges` merges of words with counts, fewer when no pair occurs `min_count` times any more."""
    words = [(symbols_of(word, word_end), count) for word, count in word_counts.items()]
    alphabet = {symbol for symbols, _ in words for symbol in symbols}
    age = {symbol: i for i, symbol in enumerate(sorted(alphabet, key=lambda symbol: (len(symbol), symbol)))}
    merges: list[Merge] = []
    for _ in range(n_merges):
        pairs: Counter[tuple[str, str]] = Counter()
        for symbols, count in words:
            for pair in zip(symbols, symbols[1:], strict=False):
                pairs[pair] += count
        if not pairs:
            break
        left, right = min(pairs, key=lambda pair: (-pairs[pair], age[pair[0]], age[pair[1]]))
        count = pairs[left, right]
        if count < min_count:
            break
        merges.append(Merge(left, right, count))
        age.setdefault(left + right, len(age))
        words = [(join(symbols, left, right), n) for symbols, n in words]
    return merges


def join(symbols: Sequence[str], left: str, right: str) -> list[str]:
    """`symbols` with every `left`, `right` made one, from the left."""
    joined: list[str] = []
    at = 0
    while at < len(symbols):
        pair = tuple(symbols[at : at + 2]) == (left, right)
        joined.append(left + right if pair else symbols[at])
        at += 2 if pair else 1
    return joined


def encode_word(word: str, merges: Sequence[Merge], *, word_end: bool = False) -> list[str]:
    """A word's symbols after the merges, in the order they were learned. Unseen characters stay as they are."""
    symbols = symbols_of(word, word_end)
    for merge in merges:
        symbols = join(symbols, merge.left, merge.right)
    return symbols
