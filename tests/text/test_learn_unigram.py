"""The unigram language model's training against sums over all ways to cut a word, worked out one by one."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from seodang.text.learn_unigram import Lattice, learn_unigram, log_probabilities, losses_without
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer
from seodang.text.unigram import unigram_splitter


def cuts(word: str, pieces: dict[str, float]) -> Iterator[list[str]]:
    """Every way to cut a word into pieces."""
    if not word:
        yield []
    for end in range(1, len(word) + 1):
        if word[:end] in pieces:
            for rest in cuts(word[end:], pieces):
                yield [word[:end], *rest]


@pytest.mark.parametrize("seed", range(5))
def test_expectations_are_sums_over_all_cuts(seed: int) -> None:
    """P(X) is the sum over all cuts; a piece is counted as often as the cuts hold it, by their share."""
    generator = random.Random(seed)
    words = Counter({"".join(generator.choices("ab각", k=generator.randint(1, 8))): generator.randint(1, 9)
                     for _ in range(12)})  # fmt: skip
    names = ["a", "b", "각", "ab", "ba", "a각", "aab", "bab각", "aa"]
    raw = [generator.random() + 0.1 for _ in names]
    pieces = {name: value / sum(raw) for name, value in zip(names, raw, strict=True)}
    expected, likelihood, best = Counter[str](), 0.0, []
    for word, count in words.items():
        chances = [(math.prod(pieces[piece] for piece in cut), cut) for cut in cuts(word, pieces)]
        total = sum(chance for chance, _ in chances)
        likelihood += count * math.log(total)
        best.append(math.log(max(chances)[0]))
        for chance, cut in chances:
            for piece in cut:
                expected[piece] += count * chance / total
    lattice = Lattice(list(words), {name: id for id, name in enumerate(names)})
    scores = np.log([pieces[name] for name in names])
    counts, found = lattice.expected(scores, np.array(list(words.values()), dtype=float))
    assert found == pytest.approx(likelihood, rel=1e-12)
    assert counts == pytest.approx([expected[name] for name in names], rel=1e-12)
    assert lattice.best(scores) == pytest.approx(best, rel=1e-12)
    alive = np.array([len(name) < 3 for name in names])
    lattice.keep(alive)
    assert lattice.expected(log_probabilities(counts, alive), np.ones(len(words)))[0][~alive].sum() == 0


def test_every_step_raises_the_likelihood(lines: list[str]) -> None:
    words = Counter(" ".join(lines).split())
    names = sorted({word[a:b] for word in words for a in range(len(word)) for b in range(a + 1, len(word) + 1)})[:3000]
    lattice = Lattice(list(words), {name: id for id, name in enumerate(names)})
    weights = np.array(list(words.values()), dtype=float)
    scores, likelihoods = np.full(len(names), -math.log(len(names))), []
    for _ in range(6):
        counts, likelihood = lattice.expected(scores, weights)
        likelihoods.append(likelihood)
        scores = np.log(np.maximum(counts, 1e-12) / counts.sum())
    assert likelihoods == sorted(likelihoods) and likelihoods[-1] > likelihoods[0] + 10


def test_what_a_piece_is_worth() -> None:
    """`ab` 4 times at 1/2, or else a and b at 1/4 and 1/8: 4 · log(1/2 ÷ 1/32)."""
    scores = np.log([0.5, 0.25, 0.125])
    spelled = Lattice(["ab"], {"ab": 0, "a": 1, "b": 2}, whole=False).best(scores)
    assert losses_without(np.array([4.0]), scores[:1], spelled) == pytest.approx([4 * math.log(16)])


def test_probabilities_by_hand() -> None:
    scores = log_probabilities(np.array([6.0, 2.0, 5.0, 0.0]), np.array([True, True, False, True]))
    assert np.exp(scores) == pytest.approx([6 / 8.5, 2 / 8.5, 0, 0.5 / 8.5])


def test_words_that_occur_often_become_pieces() -> None:
    words = Counter({"▁서당": 50, "▁서당에서": 30, "▁글": 20, "▁서": 1, "당": 1, "에": 1})
    learned = dict(learn_unigram(words, 10))
    assert {"▁서당", "▁서당에서", "▁글"} & set(learned) >= {"▁서당", "▁글"} and not words
    assert math.fsum(math.exp(score) for score in learned.values()) == pytest.approx(1, abs=1e-4)
    assert {"▁", "서", "당", "에", "글"} <= set(learned)
    assert len(learn_unigram(Counter({"abcdefgh": 9, "xyz": 1}), 8)) <= 8  # three quarters of it characters at most


def test_pieces_keep_to_one_script_and_one_word(lines: list[str]) -> None:
    split = [piece for piece, _ in unigram_splitter()("나는 iPhone15를  샀다.\n\n'끝'")]
    assert split == ["나는", "▁iPhone", "15", "를", "▁", "▁샀다", ".", "\n\n", "'", "끝", "'"]
    tokenizer = train_tokenizer(lines, "unigram", 500)
    pieces = [tokenizer.token_of(id) for id in range(261, tokenizer.vocab_size)]
    assert all("▁" not in piece[1:] for piece in pieces) and any(len(piece) > 3 for piece in pieces)


def test_rare_characters_are_bytes(learned: Tokenizer) -> None:
    tokenizer = train_tokenizer(["글을 배운다 " * 20 + "龍"], "unigram", 269)
    spelled = [tokenizer.token_of(id) for id in tokenizer.encode("龍🙂")]
    assert spelled == ["▁", *(f"<0x{byte:02X}>" for byte in "龍🙂".encode())]
    assert tokenizer.unk_id not in tokenizer.encode("龍🙂") and tokenizer.decode(tokenizer.encode("龍🙂")) == "龍🙂"
