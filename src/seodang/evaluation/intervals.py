"""How sure a number is: intervals, and what a model that has learned nothing would score.

Shapes: N rows, R resamples.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from seodang.errors import UsageError
from seodang.evaluation.metrics import Metric, check_rows, find, with_scores

_DRAWS_AT_ONCE = 1 << 20
"""Rows drawn at a time, R · N: bounds the memory."""


@dataclass(frozen=True)
class Measurement:
    """A metric of N rows with its interval, the majority baseline, and notes on what was undefined."""

    metric: str
    value: float
    low: float
    high: float
    level: float
    baseline: float | None
    """What always saying the same scores; None where there is no such thing (`majority_baseline`)."""
    n: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "notes": list(self.notes)}


def measure(
    metric: str | Metric,
    predictions: Sequence[Any],
    references: Sequence[Any],
    *,
    train_references: Sequence[Any] | None = None,
    scores: Sequence[float] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Measurement:
    """A metric with everything that has to stand beside it. `scores`: of the rows, where they are known."""
    metric = find(metric) if isinstance(metric, str) else metric
    check_rows(metric, predictions, references)
    known = metric
    if metric.rows is not None:
        known = with_scores(metric, metric.rows(predictions, references) if scores is None else scores)
    value = known.function(predictions, references)
    low, high = interval(known, predictions, references, level, seed=seed)
    baseline = majority_baseline(metric, references, train_references)
    notes = metric.notes(predictions, references)
    if len(references) == 1 and not metric.proportion:
        notes.append("one row: it says nothing about the spread of others, and the interval has no width")
    return Measurement(metric.name, value, low, high, level, baseline, len(references), tuple(notes))


def interval(
    metric: str | Metric,
    predictions: Sequence[Any],
    references: Sequence[Any],
    level: float = 0.95,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """(low, high): Wilson's interval for a share of right rows, otherwise the percentile bootstrap over rows.

    The same seed and number of rows give the same draws, whatever the metric.
    """
    metric = find(metric) if isinstance(metric, str) else metric
    check_rows(metric, predictions, references)
    if not 0 < level < 1:
        raise UsageError(f"level = {level}", "it is a probability between 0 and 1", "use 0.95")
    if metric.proportion and metric.rows is not None:
        right = int(metric.rows(predictions, references).sum())
        return wilson(right, len(references), level)
    values = bootstrap(metric, predictions, references, resamples=resamples, seed=seed)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(low), float(high)


def wilson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion right / n (Wilson 1927; Brown, Cai & DasGupta 2001, eq. 4).

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, scale = right / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return (0.0 if right == 0 else middle - half), (1.0 if right == n else middle + half)


def bootstrap(
    metric: Metric, predictions: Sequence[Any], references: Sequence[Any], *, resamples: int = 2000, seed: int = 0
) -> np.ndarray:
    """The metric of R draws of N rows with replacement (Efron 1979; Efron & Tibshirani 1993, ch. 13); (R,)."""
    of_counts = metric.prepare(predictions, references)
    return np.concatenate([of_counts(counts) for counts in drawn(len(references), resamples, seed)])


def drawn(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of `n` rows is taken in each resample, a few resamples at a time: float arrays (r, n)."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // n)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        places = generator.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(places.ravel(), minlength=size * n).reshape(size, n).astype(float)


def majority_baseline(
    metric: str | Metric, references: Sequence[Any], train_references: Sequence[Any] | None = None
) -> float | None:
    """What a model scores that always says the same: the most frequent class or text, or the mean score.

    Of the training rows where they are given, otherwise of the references themselves; of several classes equally
    frequent, the lowest. None for log-probabilities, and for texts of which none comes twice.
    """
    metric = find(metric) if isinstance(metric, str) else metric
    if metric.kind == "logprob":
        return None
    known = references if train_references is None or not len(train_references) else train_references
    answer: Any
    if metric.kind == "score":
        answer = float(np.mean([float(value) for value in known]))
    elif metric.kind == "text":
        texts = [text if isinstance(text, str) else text[0] for text in known]
        answer = _most_frequent(texts)
        if texts.count(answer) == 1:
            return None
    else:
        answer = _most_frequent(known)
        if metric.kind == "probabilities":
            answer = [float(number == answer) for number in range(answer + 1)]
    return metric.function([answer] * len(references), references)


def _most_frequent(values: Sequence[Any]) -> Any:
    counts = Counter(values)
    most = max(counts.values())
    return min(value for value, times in counts.items() if times == most)
