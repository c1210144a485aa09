"""Word counts → a unigram language model's pieces and their log probabilities (Kudo 2018, sec. 3.2).

The most frequent substrings are the seeds. Expectation maximisation fits their probabilities; then the pieces whose
absence would cost the likelihood least are dropped, and so on until the vocabulary has the size that is wanted.
Written here because the trainer in `tokenizers` sums in the order of a randomly seeded hash table, so that no two runs
give the same vocabulary. Here the same counts give the same pieces and scores.

W words, N nodes (the borders between characters of all words), E edges (a piece between two nodes), V seeds.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from seodang.text.counts import pruned

LONGEST = 16
"""Characters of a piece."""

SHRINK = 0.8
"""Share of the pieces that each round keeps (the paper's η)."""

SEEDS_PER_PIECE = 16
_STEPS = 2  # of expectation maximisation in a round
_BYTES_PER_SEED = 150

Floats = NDArray[np.float64]


class Lattice:
    """Every way to cut each of some words into pieces, all words at once.

    starts, ends, pieces  (E,) int32: an edge's nodes and its piece, sorted by the end's place in its word
    first, last           (W,) int32: nodes at the beginning and end of each word
    """

    def __init__(self, words: Sequence[str], ids: Mapping[str, int], *, whole: bool = True) -> None:
        """`whole=False` leaves out the piece that is a whole word: how else could it be spelled?"""
        starts, ends, pieces, places = array("i"), array("i"), array("i"), array("i")
        node = 0
        for word in words:
            size = len(word)
            for start in range(size):
                for end in range(start + 1, min(start + LONGEST, size) + 1):
                    id = ids.get(word[start:end])
                    if id is not None and (whole or end - start < size):
                        starts.append(node + start)
                        ends.append(node + end)
                        pieces.append(id)
                        places.append(end)
            node += size + 1
        sizes = np.array([len(word) + 1 for word in words], dtype=np.int32)
        self.last = np.cumsum(sizes, dtype=np.int32) - 1
        self.first = self.last + 1 - sizes
        place = np.frombuffer(places, dtype=np.int32)
        order = np.lexsort((np.frombuffer(ends, dtype=np.int32), place))
        self.places = place[order]
        self.starts = np.frombuffer(starts, dtype=np.int32)[order]
        self.ends = np.frombuffer(ends, dtype=np.int32)[order]
        self.pieces = np.frombuffer(pieces, dtype=np.int32)[order]

    def keep(self, alive: NDArray[np.bool_]) -> None:
        """Drop the edges whose piece is not `alive` (V,)."""
        kept = alive[self.pieces]
        self.places, self.starts, self.ends, self.pieces = (
            edges[kept] for edges in (self.places, self.starts, self.ends, self.pieces)
        )

    def _levels(self) -> list[slice]:
        """The edges that end one character into their words, two characters, …"""
        bounds = np.searchsorted(self.places, np.arange(1, (self.places[-1] if len(self.places) else 0) + 2)).tolist()
        return [slice(low, high) for low, high in zip(bounds, bounds[1:], strict=False) if low < high]

    def _forward(self, scores: Floats, *, best: bool) -> tuple[Floats, Floats]:
        """(N,) log of the sum (or `best`: the greatest) of the probabilities of the ways from a word's beginning to
        each node; (E,) the edge's share in the sum at its end."""
        reached = np.full(int(self.last[-1]) + 1, -np.inf)
        reached[self.first] = 0
        shares = np.empty(0 if best else len(self.ends))
        for level in self._levels():
            values, nodes = reached[self.starts[level]] + scores[self.pieces[level]], self.ends[level]
            groups = np.flatnonzero(np.r_[True, nodes[1:] != nodes[:-1]])
            top = np.maximum.reduceat(values, groups)
            if not best:
                sizes = np.diff(np.r_[groups, len(values)])
                values = np.exp(values - np.repeat(top, sizes))
                total = np.add.reduceat(values, groups)
                shares[level] = values / np.repeat(total, sizes)
                top += np.log(total)
            reached[nodes[groups]] = top
        return reached, shares

    def best(self, scores: Floats) -> Floats:
        """(W,) log probability of the best way to cut each word (Viterbi)."""
        return self._forward(scores, best=True)[0][self.last]

    def expected(self, scores: Floats, weights: Floats) -> tuple[Floats, float]:
        """(V,) how often each piece is expected in the words, which occur `weights` (W,) times; their log likelihood.

        The shares are passed back from the ends of the words to their beginnings (forward-backward).
        """
        reached, shares = self._forward(scores, best=False)
        passing = np.zeros_like(reached)
        passing[self.last] = weights
        for level in reversed(self._levels()):
            shares[level] *= passing[self.ends[level]]
            np.add.at(passing, self.starts[level], shares[level])
        counts = np.bincount(self.pieces, shares, minlength=len(scores)).astype(np.float64)
        return counts, float(weights @ reached[self.last])


def learn_unigram(
    words: Counter[str], room: int, min_count: int = 2, max_ram: int = 1_500_000_000
) -> list[tuple[str, float]]:
    """At most `room` pieces and their natural log probabilities, the most probable first.

    The most frequent characters are pieces, in at most three quarters of `room`; what holds another is cut there.
    `words` is emptied.
    """
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    ranked = sorted(characters, key=lambda character: (-characters[character], character))
    alphabet = set(ranked[: max(1, room * 3 // 4)])
    known: Counter[str] = Counter()
    while words:
        word, count = words.popitem()
        for run in "".join(character if character in alphabet else "\0" for character in word).split("\0"):
            if run:
                known[run] += count
    pieces, frequencies = _seeds(known, room, min_count, max_ram // 8 // _BYTES_PER_SEED)
    scores = _fit(known, pieces, frequencies, room)
    scored = zip(pieces, scores.tolist(), strict=True)
    learned = [(piece, round(score, 6)) for piece, score in scored if score > -np.inf]
    return sorted(learned, key=lambda entry: (-entry[1], entry[0]))


def _seeds(words: Counter[str], room: int, min_count: int, most: int) -> tuple[list[str], Floats]:
    """All characters, and the substrings with the greatest count times length; and how often each occurs."""
    most = max(most, 4 * SEEDS_PER_PIECE * 1000)
    single: Counter[str] = Counter()
    longer: Counter[str] = Counter()
    for word, count in words.items():
        for start in range(len(word)):
            single[word[start]] += count
            for end in range(start + 2, min(start + LONGEST, len(word)) + 1):
                longer[word[start:end]] += count
        if len(longer) > most:
            longer = pruned(longer, most // 2)
    ranked = sorted((-count * len(piece), piece) for piece, count in longer.items() if count >= min_count)
    chosen = [*sorted(single), *(piece for _, piece in ranked[: SEEDS_PER_PIECE * room])]
    return chosen, np.array([single.get(piece) or longer[piece] for piece in chosen], dtype=np.float64)


def _fit(words: Counter[str], pieces: list[str], counts: Floats, room: int) -> Floats:
    """(V,) log probabilities of the pieces that stay, at most `room`; −inf for the others."""
    ids = {piece: id for id, piece in enumerate(pieces)}
    lattice, spellings = Lattice(list(words), ids), Lattice(pieces, ids, whole=False)
    weights = np.fromiter(words.values(), np.float64, len(words))
    singles = np.array([len(piece) == 1 for piece in pieces])
    alive = np.ones(len(pieces), dtype=bool)
    while True:
        for _ in range(_STEPS):
            counts, _ = lattice.expected(log_probabilities(counts, alive), weights)
        scores = log_probabilities(counts, alive)
        n_alive = int(alive.sum())
        if n_alive <= room:
            return scores
        losses = np.full(len(pieces), -np.inf)
        losses[alive] = losses_without(counts, scores, spellings.best(scores))[alive]
        losses[singles] = np.inf
        kept = np.argsort(-losses, kind="stable")[: max(room, int(SHRINK * n_alive))]
        alive[:] = False
        alive[kept] = True
        lattice.keep(alive)
        spellings.keep(alive)


def log_probabilities(counts: Floats, alive: NDArray[np.bool_]) -> Floats:
    """log(cᵢ / Σ c) of the pieces that are `alive`, −inf of the others; half an occurrence is the least."""
    least = np.where(alive, np.maximum(counts, 0.5), 0.0)
    with np.errstate(divide="ignore"):
        return np.log(least / least.sum())


def losses_without(counts: Floats, scores: Floats, spelled: Floats) -> Floats:
    """By how much the log likelihood falls when a piece is spelled by others instead: cᵢ · (log pᵢ − log p(others))."""
    with np.errstate(invalid="ignore"):
        return counts * (scores - spelled)
