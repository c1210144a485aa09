"""Intervals: by hand, the same from every call, and containing the truth as often as they say."""

from __future__ import annotations

import time

import numpy as np
import pytest

from seodang.errors import UsageError
from seodang.evaluation.intervals import bootstrap, drawn, interval, majority_baseline, measure, wilson
from seodang.evaluation.metrics import METRICS


def test_wilson_by_hand() -> None:
    """8 of 10, z = 1.96: middle (0.8 + 1.96²/20)/(1 + 1.96²/10) = 0.716739, half-width 0.226574."""
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.490162, abs=2e-5), pytest.approx(0.943318, abs=2e-5))
    assert wilson(0, 10) == (0.0, pytest.approx(1.96**2 / (10 + 1.96**2), abs=2e-5))
    assert wilson(10, 10)[1] == 1.0
    assert interval("accuracy", [1] * 8 + [0, 0], [1] * 10) == pytest.approx((low, high))
    wider = interval("accuracy", [1] * 8 + [0, 0], [1] * 10, 0.99)
    assert wider[0] < low and wider[1] > high


@pytest.mark.parametrize("name", ["f1", "macro_f1", "matthews", "pearson", "spearman", "accuracy"])
def test_a_resample_is_the_metric_of_the_rows_it_drew(name: str) -> None:
    rng = np.random.default_rng(3)
    actual = rng.integers(0, 2, 40)
    predicted = np.where(rng.random(40) < 0.7, actual, 1 - actual)
    if METRICS[name].kind == "score":
        predicted = np.round(predicted + rng.normal(size=40), 1)
    counts = next(drawn(40, 5, seed=1))
    values = METRICS[name].prepare(predicted.tolist(), actual.tolist())(counts)
    for row, value in zip(counts.astype(int), values, strict=True):
        places = np.repeat(np.arange(40), row)
        alone = METRICS[name].function(predicted[places].tolist(), actual[places].tolist())
        assert value == pytest.approx(alone, abs=1e-12)


def test_resamples_in_which_nothing_varies() -> None:
    """A draw of one row three times has no correlation: 0, not a number made of rounding."""
    for name in ("pearson", "spearman", "matthews"):
        of_counts = METRICS[name].prepare([1, 0, 1], [0, 0, 1])
        assert of_counts(np.array([[3.0, 0, 0], [0, 0, 3]])).tolist() == [0, 0]
    prepared = METRICS["pearson"].prepare([0.1, 0.7, 1.3], [1e5, 1e5 + 0.3, 1e5 + 0.1])
    assert prepared(np.array([[0.0, 3, 0]])).tolist() == [0]


def test_same_seed_same_interval() -> None:
    predicted, actual = [1, 0, 1, 1, 0] * 9, [1, 0, 0, 1, 1] * 9
    first = interval("f1", predicted, actual, seed=5)
    assert first == interval("f1", predicted, actual, seed=5) != interval("f1", predicted, actual, seed=6)
    low, high = first
    assert low < METRICS["f1"].function(predicted, actual) < high


@pytest.mark.parametrize("name", ["accuracy", "pearson", "f1"])
def test_intervals_contain_the_truth_as_often_as_they_say(name: str) -> None:
    """300 samples of 120 rows from a known distribution; 95 % intervals hold in 91 to 98 of 100."""
    rng, inside = np.random.default_rng(11), 0
    # P(right) = 0.8 whichever the class, classes equally likely: F1 = 2·0.4/(0.5 + 0.5); r = 0.6 by construction
    truth = {"accuracy": 0.8, "f1": 0.8, "pearson": 0.6}[name]
    for _ in range(300):
        if name == "pearson":
            actual = rng.normal(size=120)
            predicted = 0.6 * actual + 0.8 * rng.normal(size=120)
        else:
            actual = rng.integers(0, 2, 120)
            predicted = np.where(rng.random(120) < 0.8, actual, 1 - actual)
        low, high = interval(name, predicted.tolist(), actual.tolist(), resamples=400)
        inside += low <= truth <= high
    assert 273 <= inside <= 294


def test_fast_on_ten_thousand_rows() -> None:
    rng = np.random.default_rng(0)
    actual = rng.integers(0, 2, 10_000).tolist()
    predicted = rng.integers(0, 2, 10_000).tolist()
    start = time.process_time()
    interval("matthews", predicted, actual, resamples=1000)
    assert time.process_time() - start < 3  # 0.3 s on a laptop


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    predicted, actual = [1, 0, 1, 1, 0] * 9, [1, 0, 0, 1, 1] * 9
    whole = bootstrap(METRICS["f1"], predicted, actual, resamples=50)
    monkeypatch.setattr("seodang.evaluation.intervals._DRAWS_AT_ONCE", 100)
    assert bootstrap(METRICS["f1"], predicted, actual, resamples=50).tolist() == whole.tolist()


def test_majority_by_hand() -> None:
    references = [0, 1, 1, 0]
    assert majority_baseline("accuracy", references, [1, 1, 1, 0]) == 0.5
    assert majority_baseline("f1", references, [1, 1, 0]) == pytest.approx(2 * 2 / (4 + 2))
    assert majority_baseline("f1", references, [0, 0, 1]) == 0
    assert majority_baseline("macro_f1", references, [0, 0, 1]) == pytest.approx((2 * 2 / (4 + 2) + 0) / 2)
    assert majority_baseline("accuracy", [2, 0, 2]) == pytest.approx(2 / 3)
    assert majority_baseline("matthews", references) == 0
    assert majority_baseline("pearson", [1.0, 2.0], [0.5]) == 0
    assert majority_baseline("rouge1", ["one summary", "another"]) is None
    assert majority_baseline("exact_match", ["yes", "no"], ["yes", ["yes", "yeah"], "no"]) == 0.5


def test_all_of_it_together() -> None:
    found = measure("matthews", [1, 1], [0, 1]).to_dict()
    assert found["value"] == found["low"] == found["high"] == found["baseline"] == 0
    assert found["n"] == 2 and "0/0" in found["notes"][0]
    alone = measure("word_perplexity", [-2.0], [1])
    assert alone.baseline is None and alone.low == alone.high == alone.value and "one row" in alone.notes[0]
    with pytest.raises(UsageError, match="level"):
        interval("f1", [1], [1], 95)
