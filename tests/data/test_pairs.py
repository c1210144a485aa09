"""Pairs of spans: what is cut where, which label it has, and that nothing but the text tells the label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seodang.data.pairs import join_pair, next_sentence, sentence_order, split_text, truncate_pair
from tests.data.test_noising import ENDS, TEXT, Scripted, generator


def test_a_text_is_cut_where_a_sentence_begins() -> None:
    seen = {tuple(len(part) for part in split_text(TEXT, ENDS, generator(seed))) for seed in range(40)}
    assert seen == {(3, 6), (7, 2)}
    plain = np.array([30, 31, 32, 33])
    assert {len(split_text(plain, ENDS, generator(seed))[0]) for seed in range(60)} == {1, 2, 3}
    first, second = split_text(TEXT, ENDS, generator(0))
    assert [*first, *second] == TEXT.tolist()


def test_a_pair_by_hand() -> None:
    ids, segments = join_pair(np.array([7, 8]), np.array([9]), 1, 2)
    assert ids.tolist() == [1, 7, 8, 2, 9, 2] and segments.tolist() == [0, 0, 0, 0, 1, 1]


def test_half_of_the_pairs_follow_each_other() -> None:
    asked: list[int] = []

    def elsewhere(length: int) -> Any:
        asked.append(length)
        return np.full(length, 99)

    pairs = [next_sentence(TEXT, ENDS, elsewhere, generator(seed)) for seed in range(2000)]
    labels = [label for _, _, label in pairs]
    assert abs(np.mean(labels) - 0.5) < 4 * 0.5 / 2000**0.5 and len(asked) == sum(labels)
    for first, second, label in pairs:
        assert len(first) + len(second) == len(TEXT)  # the length does not give the label away
        if label:
            assert (second == 99).all()
        else:
            assert [*first, *second] == TEXT.tolist()


def test_half_of_the_orders_are_swapped() -> None:
    pairs = [sentence_order(TEXT, ENDS, generator(seed)) for seed in range(2000)]
    assert abs(np.mean([label for _, _, label in pairs]) - 0.5) < 4 * 0.5 / 2000**0.5
    for first, second, label in pairs:
        assert [*second, *first] == TEXT.tolist() if label else [*first, *second] == TEXT.tolist()


def test_truncation_by_hand() -> None:
    """5 and 3 tokens to 4: front of A, back of A, back of B (as long as A), front of A."""
    first, second = np.arange(5), np.arange(10, 13)
    rng: Any = Scripted(random=[[0.1, 0.9, 0.9, 0.1]])
    a, b = truncate_pair(first, second, 4, rng)
    assert a.tolist() == [2, 3] and b.tolist() == [10, 11]
    a, b = truncate_pair(first, second, 8, generator(0))
    assert len(a) == 5 and len(b) == 3


@pytest.mark.parametrize("seed", range(20))
def test_truncation_keeps_contiguous_parts(seed: int) -> None:
    rng = generator(seed)
    first, second = np.arange(rng.integers(0, 30)), 100 + np.arange(rng.integers(0, 30))
    a, b = truncate_pair(first, second, 12, rng)
    assert len(a) + len(b) == min(12, len(first) + len(second))
    assert (np.diff(a) == 1).all() and (np.diff(b) == 1).all()
    assert set(a) <= set(first) and set(b) <= set(second)
