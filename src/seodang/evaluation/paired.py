"""Is one system better than another on the same rows, or was it chance?

Shapes: N rows, R resamples. Which test: McNemar's for right or wrong, sign flips for real-valued scores of rows,
exchanged rows for metrics that are no mean of rows (F1, correlations, perplexities). All are two-sided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from seodang.errors import UsageError
from seodang.evaluation.intervals import drawn
from seodang.evaluation.metrics import Metric, OfCounts, check_rows, find, with_scores

Pairs = tuple[Sequence[Any], Sequence[Any]]
"""Predictions and references of one system."""

Scores = Sequence[float] | np.ndarray
"""Of the rows, (N,)."""

_EXACT_ROWS = 12
"""Up to so many rows that differ, all 2^N signs are tried."""
_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Difference:
    """Of a metric between two systems, second minus first."""

    difference: float
    low: float
    high: float
    """Interval of the difference: the paired bootstrap's."""
    p: float
    """Probability of a difference this large or larger, either way, if the systems were equally good."""
    test: str
    """mcnemar, sign-flip or row-swap"""
    better: int
    """Rows on which the second scores higher; 0 where rows have no score of their own."""
    worse: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def mcnemar(first: Scores, second: Scores) -> float:
    """p of McNemar's test on rows scored 0 or 1, exact (McNemar 1947; for classifiers: Dietterich 1998, sec. 3.1).

    Of the rows that one system alone has right, each system's number is Binomial(n, ½) if they are equally good.
    """
    better, worse = _wins(first, second)
    return binomial_half(min(better, worse), better + worse)


def binomial_half(k: int, n: int) -> float:
    """min(1, 2 · P(X ≤ k)) of X ~ Binomial(n, ½), in whole numbers."""
    term = total = 1
    for i in range(k):
        term = term * (n - i) // (i + 1)
        total += term
    return min(1.0, 2 * total / (1 << n))


def sign_flip(first: Scores, second: Scores, *, resamples: int = 9999, seed: int = 0) -> float:
    """p of Fisher's randomisation test on paired scores (Fisher 1935, § 21).

    Were the systems equally good, each row's difference could as well have the other sign. The share of sign patterns
    whose sum is as far from 0 as ours: of all of them where few rows differ, else of R random ones and our own.
    """
    gaps = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    gaps = gaps[gaps != 0]
    total, size = gaps.sum(), np.abs(gaps).sum()
    return _share_reached(lambda flips: np.abs(total - 2 * (flips @ gaps)), len(gaps), size, resamples, seed)


def row_swap(metric: str | Metric, first: Pairs, second: Pairs, *, resamples: int = 1999, seed: int = 0) -> float:
    """p of approximate randomisation for any metric (Noreen 1989; for language systems: Yeh 2000, sec. 3.2).

    Were the systems equally good, each row could as well have come from the other one: the share of exchanges after
    which the metric differs as much as ours. For a mean of rows it is `sign_flip`.
    """
    metric = find(metric) if isinstance(metric, str) else metric
    n = len(first[1])
    of_counts = metric.prepare([*first[0], *second[0]], [*first[1], *second[1]])
    rows = zip(*first, *second, strict=True)
    unlike = np.flatnonzero([one != two or right != true for one, right, two, true in rows])

    def gap(flips: np.ndarray) -> np.ndarray:
        swapped = np.zeros((len(flips), n))
        swapped[:, unlike] = flips
        kept = 1 - swapped
        return np.abs(_gap(of_counts(np.hstack([kept, swapped])), of_counts(np.hstack([swapped, kept]))))

    return _share_reached(gap, len(unlike), 1.0, resamples, seed)


def _share_reached(
    statistic: Callable[[np.ndarray], np.ndarray], n: int, size: float, resamples: int, seed: int
) -> float:
    """Share of patterns of flips (r, n), 0 or 1, whose statistic (r,) reaches that of no flips; `size`: its scale."""
    ours = statistic(np.zeros((1, n)))[0] - 1e-9 * size  # what is equal but for rounding counts
    if n <= _EXACT_ROWS:
        patterns = (np.arange(1 << n)[:, None] >> np.arange(n) & 1).astype(float)
        return float(np.mean(statistic(patterns) >= ours))
    generator, reached = np.random.default_rng(seed), 1
    at_once = max(1, _AT_ONCE // n)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        bits = np.unpackbits(generator.integers(0, 256, (rows, -(-n // 8)), dtype=np.uint8), axis=1)
        reached += int(np.count_nonzero(statistic(bits[:, :n].astype(float)) >= ours))
    return reached / (resamples + 1)


def bootstrap_differences(
    metric: str | Metric, first: Pairs, second: Pairs, *, resamples: int = 2000, seed: int = 0
) -> np.ndarray:
    """The metric's difference in R draws of the same rows for both (Koehn 2004, sec. 5); (R,)."""
    metric = find(metric) if isinstance(metric, str) else metric
    return _drawn_gaps(metric.prepare(*first), metric.prepare(*second), len(first[1]), resamples, seed)


def _drawn_gaps(one: OfCounts, other: OfCounts, n: int, resamples: int, seed: int) -> np.ndarray:
    return np.concatenate([_gap(one(counts), other(counts)) for counts in drawn(n, resamples, seed)])


def _gap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Second minus first; two infinite perplexities do not differ."""
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(second - first, nan=0.0, posinf=np.inf, neginf=-np.inf)


def bootstrap_p(differences: np.ndarray) -> float:
    """Twice the share of draws on the rarer side of 0, one more counted there (Efron & Tibshirani 1993, sec. 15.4)."""
    rarer = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return min(1.0, 2 * (rarer + 1) / (len(differences) + 1))


def paired_difference(
    metric: str | Metric,
    first: Pairs,
    second: Pairs,
    *,
    scores: tuple[Scores, Scores] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Second minus first in a metric, with its interval and the p of the test that fits the metric.

    `scores`: of the rows of both, where they are known. Raises UsageError when the numbers of rows differ.
    """
    metric = find(metric) if isinstance(metric, str) else metric
    for pairs in (first, second):
        check_rows(metric, *pairs)
    if len(first[1]) != len(second[1]):
        raise UsageError(
            f"{metric.name}: {len(first[1])} rows and {len(second[1])} rows",
            "a paired test needs the same rows from both",
            "evaluate both on the same rows",
        )
    if metric.rows is None:
        one, other = metric.prepare(*first), metric.prepare(*second)
        p, test, wins = row_swap(metric, first, second, seed=seed), "row-swap", (0, 0)
    else:
        scores = (metric.rows(*first), metric.rows(*second)) if scores is None else scores
        one, other = (with_scores(metric, side).prepare(*first) for side in scores)
        p, test = (mcnemar(*scores), "mcnemar") if metric.proportion else (sign_flip(*scores, seed=seed), "sign-flip")
        wins = _wins(*scores)
    everything = np.ones((1, len(first[1])))
    draws = _drawn_gaps(one, other, len(first[1]), resamples, seed)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Difference(float(_gap(one(everything), other(everything))[0]), float(low), float(high), p, test, *wins)


def _wins(first: Scores, second: Scores) -> tuple[int, int]:
    """Rows on which the second scores higher, and lower."""
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    return int(np.count_nonzero(second > first)), int(np.count_nonzero(second < first))


def holm(p_values: Sequence[float]) -> list[float]:
    """p of several tests, corrected so that one wrong alarm among all is as rare as in one test (Holm 1979).

    Ordered, p_(i) becomes the largest of (m − j + 1) · p_(j) for j ≤ i, at most 1.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, largest = [math.nan] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
