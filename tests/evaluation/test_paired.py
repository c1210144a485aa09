"""Paired tests: by hand, against brute force, and right under the null as often as they say."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

from seodang.errors import UsageError
from seodang.evaluation.metrics import METRICS
from seodang.evaluation.paired import (
    binomial_half,
    bootstrap_differences,
    bootstrap_p,
    holm,
    mcnemar,
    paired_difference,
    row_swap,
    sign_flip,
)


def test_mcnemar_by_hand() -> None:
    """One better and five worse of six that differ: 2 · (1 + 6)/2⁶. Rows that both have right or wrong say nothing."""
    first, second = [1] * 5 + [0] + [1] * 40 + [0] * 9, [0] * 5 + [1] + [1] * 40 + [0] * 9
    assert mcnemar(first, second) == mcnemar(second, first) == 14 / 64
    assert mcnemar([1, 0], [1, 0]) == 1
    assert binomial_half(0, 10) == 2 / 2**10
    assert binomial_half(3, 6) == 1
    assert binomial_half(4000, 10_000) == pytest.approx(3.2e-91, rel=0.05)  # floats alone would give 0 · ∞


def test_sign_flips_by_hand() -> None:
    """Gaps 1, 2, 3: of 2³ sums ±6, ±4, ±2, 0, 0 two reach 6. Gaps 1, −2, 3 sum to 2: six of eight reach it."""
    assert sign_flip([0, 0, 0], [1, 2, 3]) == 2 / 8
    assert sign_flip([0, 2, 0], [1, 0, 3]) == 6 / 8
    assert sign_flip([1, 2], [1, 2]) == 1
    assert sign_flip([5, 0, 0, 0], [5, 1, 2, 3]) == 2 / 8  # a row without a gap has no sign


def test_sign_flips_exact_and_drawn_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=12), rng.normal(0.5, size=12)
    gaps = second - first
    every = [abs(np.dot(signs, gaps)) for signs in itertools.product((1, -1), repeat=12)]
    exact = np.mean([value >= abs(gaps.sum()) - 1e-12 for value in every])
    assert sign_flip(first, second) == pytest.approx(exact)
    monkeypatch.setattr("seodang.evaluation.paired._EXACT_ROWS", 0)
    assert sign_flip(first, second, resamples=20_000) == pytest.approx(exact, abs=0.015)


def test_sign_flips_of_rights_and_wrongs_are_mcnemars() -> None:
    """On 0 and 1 with ten rows that differ both are the same binomial."""
    first, second = np.array([1] * 8 + [0] * 2 + [1] * 5), np.array([0] * 8 + [1] * 2 + [1] * 5)
    assert sign_flip(first, second) == pytest.approx(mcnemar(first, second))


def test_exchanged_rows_by_hand() -> None:
    """Rows 2 and 3 differ. F1 of class 1: 2·1/(1+2) and 2·2/(3+2); row 2 exchanged 2·2/2·2 and 2·1/(2+2); so |gaps| are
    0.8 − 0.667, 1 − 0.5 and again each: all four reach the smallest."""
    actual = [1, 1, 0]
    first, second = ([1, 0, 0], actual), ([1, 1, 1], actual)
    assert row_swap("f1", first, second) == 1
    assert row_swap("f1", ([1, 1, 0], actual), ([1, 0, 1], actual)) == 2 / 4
    assert row_swap("pearson", first, first) == 1


def test_exchanged_rows_of_a_mean_are_flipped_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [["a b", "c d", "e", "f g h"], ["a", "c d x", "e y", "g h"], ["a b c", "c d", "e", "f h"]]
    first, second = (texts[0], texts[2]), (texts[1], texts[2])
    scores = [METRICS["token_f1"].rows(*pairs) for pairs in (first, second)]
    assert row_swap("token_f1", first, second) == sign_flip(*scores)
    monkeypatch.setattr("seodang.evaluation.paired._EXACT_ROWS", 0)
    assert row_swap("token_f1", first, second) == pytest.approx(sign_flip(*scores), abs=0.05)


def test_both_systems_get_the_same_draws() -> None:
    """Of two systems that differ by a constant, every draw differs by it."""
    first = ["a", "b", "c"], [["a"], ["x"], ["c"]]
    assert bootstrap_differences("exact_match", first, first, resamples=20).tolist() == [0] * 20
    logprobs = [-1.0, -2.0, -5.0], [1, 1, 2]
    better = [value + n for value, n in zip(*logprobs, strict=True)], logprobs[1]
    draws = bootstrap_differences("bits_per_byte", logprobs, better, resamples=20)
    assert draws == pytest.approx(np.full(20, -1 / math.log(2)))


def test_what_both_find_impossible_does_not_differ() -> None:
    never, also = ([-math.inf, -1.0, -2.0], [1, 1, 1]), ([-math.inf, -1.5, -2.0], [1, 1, 1])
    found = paired_difference("token_perplexity", never, also)
    assert (found.difference, found.p) == (0, 1)
    assert paired_difference("token_perplexity", never, ([-1.0] * 3, [1] * 3)).difference == -math.inf


def test_bootstrap_p_by_hand() -> None:
    assert bootstrap_p(np.array([1.0] * 97 + [-1.0, 0.0])) == 2 * (2 + 1) / 100
    assert bootstrap_p(np.zeros(10)) == 1


def test_the_test_fits_the_metric() -> None:
    actual = [1, 1, 1, 1, 1, 1, 0, 0]
    first, second = ([0] * 8, actual), ([1, 1, 1, 1, 1, 1, 0, 0], actual)
    found = paired_difference("accuracy", first, second)
    assert (found.test, found.better, found.worse, found.p) == ("mcnemar", 6, 0, 2 / 2**6)
    assert found.difference == 0.75 and found.low < 0.75 < found.high
    assert paired_difference("accuracy", second, first).difference == -0.75
    assert paired_difference("macro_f1", first, second).test == "row-swap"
    texts = ["a b", "c d"], ["a b c", "c e"]
    found = paired_difference("token_f1", texts, (["a b c", "c d"], texts[1]))
    assert (found.test, found.better, found.worse, found.p) == ("sign-flip", 1, 0, 1)
    assert paired_difference("f1", second, second).p == 1
    with pytest.raises(UsageError, match="8 rows and 1 rows"):
        paired_difference("accuracy", first, ([1], [1]))


def test_holm_by_hand() -> None:
    """Smallest times 3, next times 2, last times 1; never below one that was smaller."""
    assert holm([0.02, 0.01, 0.5]) == pytest.approx([0.04, 0.03, 0.5])
    assert holm([0.04, 0.03, 0.03]) == pytest.approx([0.09, 0.09, 0.09])
    assert holm([0.6]) == [0.6] and holm([]) == []


@pytest.mark.parametrize("test", ["mcnemar", "sign-flip", "row-swap", "bootstrap"])
def test_under_the_null_small_ps_are_as_rare_as_they_say(test: str) -> None:
    """600 pairs of equally good systems: P(p ≤ 0.1) is 0.1, give or take; never above where the test is exact."""
    rng, ps = np.random.default_rng(4), []
    for seed in range(600):
        if test == "sign-flip":
            ps.append(sign_flip(rng.gamma(1, size=30), rng.gamma(1, size=30), resamples=199, seed=seed))
            continue
        actual = rng.integers(0, 2, 100)
        first, second = (np.where(rng.random(100) < 0.7, actual, 1 - actual) for _ in range(2))
        pairs = [(side.tolist(), actual.tolist()) for side in (first, second)]
        if test == "mcnemar":
            ps.append(mcnemar(first == actual, second == actual))
        elif test == "row-swap":
            ps.append(row_swap("f1", *pairs, resamples=199, seed=seed))
        else:
            ps.append(bootstrap_p(bootstrap_differences(METRICS["f1"], *pairs, resamples=199, seed=seed)))
    small = np.mean(np.array(ps) <= 0.1)
    low, high = {"mcnemar": (0.03, 0.1), "bootstrap": (0.06, 0.14)}.get(test, (0.07, 0.13))
    assert low <= small <= high


@pytest.mark.slow
def test_equals_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for k, n in ((0, 3), (3, 6), (40, 100), (4000, 10_000)):
        assert binomial_half(k, n) == pytest.approx(stats.binomtest(k, n).pvalue, rel=1e-9)
    rng = np.random.default_rng(7)
    first, second = rng.normal(size=11), rng.normal(0.4, size=11)

    def gap(x, y, axis):
        return np.mean(y - x, axis=axis)

    expected = stats.permutation_test((first, second), gap, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(first, second) == pytest.approx(expected.pvalue)


def test_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=200)
    assert sign_flip(first, first + rng.normal(0.3, 1, 200)) < 0.01


def test_fast_on_ten_thousand_rows() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 10_000))
    start = time.process_time()
    sign_flip(first, second, resamples=1999)
    mcnemar(first > 0, second > 0)
    assert time.process_time() - start < 3  # 0.2 s on a laptop
