"""Is one system better than another on the same rows, or was it chance?

Shapes: N rows, R resamples. Which test: McNemar's for right or wrong, sign flips for real-valued scores of rows, the
paired bootstrap for metrics that are no mean of rows (F1, correlations, perplexities). All are two-sided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from seodang.errors import UsageError
from seodang.evaluation.intervals import drawn
from seodang.evaluation.metrics import Metric, check_rows, find

Pairs = tuple[Sequence[Any], Sequence[Any]]
"""Predictions and references of one system."""

Scores = Sequence[float] | np.ndarray
"""Of the rows, (N,)."""

_EXACT_ROWS = 14
"""Up to so many rows that differ, all 2^N signs are tried."""
_AT_ONCE = 1 << 22


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
    """mcnemar, sign-flip or bootstrap"""
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
    better, worse = _wins(np.asarray(first, dtype=float), np.asarray(second, dtype=float))
    return binomial_half(min(better, worse), better + worse)


def binomial_half(k: int, n: int) -> float:
    """min(1, 2 · P(X ≤ k)) of X ~ Binomial(n, ½), in whole numbers."""
    term = total = 1
    for i in range(k):
        term = term * (n - i) // (i + 1)
        total += term
    return min(1.0, 2 * total / (1 << n))


def sign_flip(first: Scores, second: Scores, *, resamples: int = 9999, seed: int = 0) -> float:
    """p of Fisher's randomisation test on paired scores (Fisher 1935, § 21; for language systems: Yeh 2000).

    Were the systems equally good, each row's difference could as well have the other sign. The share of sign patterns
    whose sum is as far from 0 as ours: of all of them where few rows differ, else of R random ones and our own.
    """
    gaps = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    gaps = gaps[gaps != 0]
    total = gaps.sum()
    reach = abs(total) - 1e-9 * np.abs(gaps).sum()  # sums that are equal but for rounding count
    if len(gaps) <= _EXACT_ROWS:
        patterns = np.arange(1 << len(gaps))[:, None] >> np.arange(len(gaps)) & 1
        return float(np.mean(np.abs(total - 2 * (patterns @ gaps)) >= reach))
    generator, reached = np.random.default_rng(seed), 1
    at_once = max(1, _AT_ONCE // len(gaps))
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        flipped = np.unpackbits(generator.integers(0, 256, (size, -(-len(gaps) // 8)), dtype=np.uint8), axis=1)
        sums = total - 2 * (flipped[:, : len(gaps)].astype(float) @ gaps)
        reached += int(np.count_nonzero(np.abs(sums) >= reach))
    return reached / (resamples + 1)


def bootstrap_differences(
    metric: str | Metric, first: Pairs, second: Pairs, *, resamples: int = 2000, seed: int = 0
) -> np.ndarray:
    """The metric's difference in R draws of the same rows for both (Koehn 2004, sec. 5); (R,)."""
    metric = find(metric) if isinstance(metric, str) else metric
    one, other = metric.prepare(*first), metric.prepare(*second)
    draws = drawn(len(first[1]), resamples, seed)
    return np.concatenate([other(counts) - one(counts) for counts in draws])


def bootstrap_p(differences: np.ndarray) -> float:
    """Twice the share of draws on the rarer side of 0, one more counted there (Efron & Tibshirani 1993, sec. 15.4)."""
    rarer = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return min(1.0, 2 * (rarer + 1) / (len(differences) + 1))


def paired_difference(
    metric: str | Metric, first: Pairs, second: Pairs, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Difference:
    """Second minus first in a metric, with its interval and the p of the test that fits the metric.

    Raises UsageError when the numbers of rows differ.
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
    draws = bootstrap_differences(metric, first, second, resamples=resamples, seed=seed)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    difference = metric.function(*second) - metric.function(*first)
    if metric.rows is None:
        return Difference(difference, float(low), float(high), bootstrap_p(draws), "bootstrap", 0, 0)
    scores = metric.rows(*first), metric.rows(*second)
    p, test = (mcnemar(*scores), "mcnemar") if metric.proportion else (sign_flip(*scores, seed=seed), "sign-flip")
    return Difference(difference, float(low), float(high), p, test, *_wins(*scores))


def _wins(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """Rows on which the second scores higher, and lower."""
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
