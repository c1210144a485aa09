"""Metrics: values worked out by hand, agreed values where there is none, and equality with the usual libraries."""

from __future__ import annotations

import math
import random
import unicodedata

import numpy as np
import pytest

from seodang.errors import UsageError
from seodang.evaluation.intervals import majority_baseline
from seodang.evaluation.metrics import METRICS, find
from seodang.evaluation.text_match import exact_match, normalize, overlap_f1

# six rows: 2 true positives, 1 false positive, 1 false negative, 2 true negatives
PREDICTED = [1, 1, 1, 0, 0, 0]
ACTUAL = [1, 1, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 4 / 6),
        ("f1", 2 * 2 / (3 + 3)),
        ("macro_f1", 2 / 3),
        ("matthews", (2 * 2 - 1 * 1) / math.sqrt(3 * 3 * 3 * 3)),
    ],
)
def test_two_classes_by_hand(name: str, expected: float) -> None:
    assert METRICS[name].function(PREDICTED, ACTUAL) == pytest.approx(expected)


def test_three_classes_by_hand() -> None:
    """Classes a, b, c; F1: a 2·1/(1+2), b 2·1/(3+1), c 2·1/(1+2). R_3 = (3·5 − 7)/√((25 − 11)(25 − 9))."""
    predicted, actual = ["a", "b", "b", "b", "c"], ["a", "a", "b", "c", "c"]
    assert METRICS["macro_f1"].function(predicted, actual) == pytest.approx((2 / 3 + 1 / 2 + 2 / 3) / 3)
    assert METRICS["matthews"].function(predicted, actual) == pytest.approx((15 - 7) / math.sqrt(14 * 16))


def test_klues_f1s_by_hand() -> None:
    """Class 0 is "no relation": of classes 1 and 2 one is right, three are predicted, two are true."""
    assert METRICS["micro_f1"].function([1, 2, 2, 0, 0], [1, 0, 0, 2, 0]) == pytest.approx(2 * 1 / (3 + 2))
    assert METRICS["micro_f1"].function([0, 0], [0, 0]) == 0
    assert METRICS["f1_from_3"].function([2.9, 3.0, 4.5], [3.1, 5.0, 0.0]) == pytest.approx(2 * 1 / (2 + 2))


def test_correlations_by_hand() -> None:
    """Deviations −1, 0, 1 and −2, −1, 3: r = 5/√(2·14). Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: ρ = 4.5/√(4.5·5)."""
    assert METRICS["pearson"].function([1, 2, 3], [0, 1, 5]) == pytest.approx(5 / math.sqrt(28))
    assert METRICS["spearman"].function([1, 2, 3], [0, 1, 5]) == pytest.approx(1.0)
    assert METRICS["spearman"].function([7, 9, 9, 100], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert METRICS["spearman"].function([3, 2, 1], [0, 1, 5]) == pytest.approx(-1.0)


def test_small_spreads_on_large_numbers() -> None:
    """A correlation does not depend on where zero is."""
    x = [1e6 + value for value in (1, 2, 3)]
    assert METRICS["pearson"].function(x, [0, 1, 5]) == pytest.approx(5 / math.sqrt(28), abs=1e-9)


@pytest.mark.parametrize("name", ["matthews", "pearson", "spearman"])
@pytest.mark.parametrize(
    ("predictions", "said"), [([1, 1, 1], "all predictions are"), ([0, 1, 1], ""), ([None] * 3, "all predictions are")]
)
def test_constant_predictions_count_as_nothing(name: str, predictions: list, said: str) -> None:
    if name != "matthews" and predictions[0] is None:
        with pytest.raises(UsageError, match="prediction 0: None"):
            METRICS[name].function(predictions, [0, 1, 1])
        return
    value = METRICS[name].function(predictions, [0, 1, 1])
    notes = METRICS[name].notes(predictions, [0, 1, 1])
    assert (value == 0 and said in notes[0]) if said else (value == pytest.approx(1) and not notes)


def test_f1_without_the_positive_class() -> None:
    assert METRICS["f1"].function([0, 0], [0, 0]) == 0
    assert "neither predicted nor true" in METRICS["f1"].notes([0, 0], [0, 0])[0]
    assert METRICS["f1"].notes([1, 0], [0, 0]) == []
    with pytest.raises(UsageError, match="class 2"):
        METRICS["f1"].function([2], [0])


def test_no_answer_is_a_wrong_answer() -> None:
    """None is no class of its own in an average of F1s: a 2·1/(1+2), b 2·1/(1+1)."""
    assert METRICS["accuracy"].function([None, "b", "a"], ["a", "b", "a"]) == pytest.approx(2 / 3)
    assert METRICS["macro_f1"].function([None, "b", "a"], ["a", "b", "a"]) == pytest.approx((2 / 3 + 1) / 2)
    assert METRICS["f1"].function([None, 1], [1, 1]) == pytest.approx(2 / 3)
    assert METRICS["exact_match"].function([None], ["a"]) == 0


def test_bad_calls() -> None:
    with pytest.raises(UsageError, match="2 predictions for 1"):
        METRICS["accuracy"].function([1, 0], [1])
    with pytest.raises(UsageError, match="no rows"):
        METRICS["accuracy"].function([], [])
    with pytest.raises(UsageError, match="macro_f1"):
        find("macrof1")


def test_normalisation_of_squad_and_korquad() -> None:
    assert normalize("The  Cat, an animal!") == "cat animal"
    assert normalize("《서당》의 훈장(訓長) a", korean=True) == "서당 의 훈장 訓長 a"
    assert exact_match("The cat.", "cat") == 1
    assert exact_match("a cat", "서당 a cat") == 0
    assert exact_match(unicodedata.normalize("NFD", "서당"), "서당") == 1


def test_answers_by_hand() -> None:
    f1 = METRICS["token_f1"].function
    assert f1(["the black cat sat"], ["a cat"]) == pytest.approx(2 * 1 / (3 + 1))
    assert f1(["서당은"], ["서당"]) == pytest.approx(2 * 2 / (3 + 2))  # by words it would be 0
    assert METRICS["character_f1"].function(["1989년"], ["1989"]) == pytest.approx(2 * 4 / (5 + 4))
    assert f1(["1989년"], ["1989"]) == 0  # a reference without Hangul is compared by words
    assert f1(["cat"], [["dog", "cat"]]) == 1  # the best of several right answers
    assert f1(["the"], ["a"]) == 1 and f1([""], ["cat"]) == 0
    assert overlap_f1("aab", "abb") == pytest.approx(2 * 2 / 6)


def test_perplexities_by_hand() -> None:
    """log P −2 of 1 word and −4 of 2: exp(6/3); rows are weighed by their length, not averaged."""
    assert METRICS["word_perplexity"].function([-2.0, -4.0], [1, 2]) == pytest.approx(math.exp(2))
    assert METRICS["bits_per_byte"].function([-8 * math.log(2)], [4]) == pytest.approx(2)
    assert METRICS["token_perplexity"].function([-1e6], [1]) == math.inf
    assert not METRICS["byte_perplexity"].higher_is_better
    with pytest.raises(UsageError, match="row 1 has 0 units"):
        METRICS["token_perplexity"].function([-1.0, 0.0], [1, 0])


def test_area_under_precision_recall_by_hand() -> None:
    """Class 1: scores .9 (true), .8, .3 (true). Points (recall, precision): (0, 1), (½, 1), (½, ½), (1, ⅔):
    ½·1 + ½·(½ + ⅔)/2 = 19/24. Class 0 mirrors it: .7, .2 (true), .1: (0, 1), (0, 0), (1, ½), (1, ⅓): ¼."""
    area = METRICS["auprc"].function
    assert area([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3]], [1, 0, 1]) == pytest.approx((19 / 24 + 1 / 4) / 2)
    assert area([[0.6, 0.4], [0.3, 0.7]], [0, 1]) == 1
    assert area([[0.5, 0.5], [0.5, 0.5]], [0, 1]) == pytest.approx(3 / 4)  # one threshold: (0, 1) to (1, ½)
    assert majority_baseline("auprc", [2, 2, 0, 2]) == pytest.approx((7 / 8 + 5 / 8) / 2)
    assert area([None, [0.0, 1.0]], [0, 1]) == pytest.approx((3 / 4 + 1) / 2)


# ---- equality with scikit-learn and scipy ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_equals_sklearn_and_scipy(seed: int) -> None:
    metrics, stats = pytest.importorskip("sklearn.metrics"), pytest.importorskip("scipy.stats")
    rng = random.Random(seed)
    n, k = rng.randint(2, 200), rng.randint(2, 8)
    actual = [rng.randrange(k) for _ in range(n)]
    predicted = [a if rng.random() < 0.6 else rng.randrange(k) for a in actual]
    two = [min(a, 1) for a in predicted], [min(a, 1) for a in actual]
    expected = {
        "accuracy": metrics.accuracy_score(actual, predicted),
        "macro_f1": metrics.f1_score(actual, predicted, average="macro", zero_division=0.0),
        "matthews": metrics.matthews_corrcoef(actual, predicted),
        "micro_f1": metrics.f1_score(actual, predicted, average="micro", labels=list(range(1, k)), zero_division=0.0),
    }
    for name, value in expected.items():
        assert METRICS[name].function(predicted, actual) == pytest.approx(value, abs=1e-12), name
    assert METRICS["f1"].function(*two) == pytest.approx(metrics.f1_score(two[1], two[0], zero_division=0.0))
    scores = np.round(np.random.default_rng(seed).dirichlet(np.ones(k), size=n), 1)  # with ties
    curves = [metrics.precision_recall_curve([a == c for a in actual], scores[:, c])[:2] for c in sorted(set(actual))]
    areas = [metrics.auc(recall, precision) for precision, recall in curves]
    assert METRICS["auprc"].function(scores.tolist(), actual) == pytest.approx(np.mean(areas), abs=1e-12)
    x = np.random.default_rng(seed).normal(size=n)
    y = x + np.random.default_rng(seed + 1).normal(size=n)
    tied = np.round(2 * x)
    for one, other in ((x, y), (tied, y), (y, tied)):
        assert METRICS["pearson"].function(one, other) == pytest.approx(stats.pearsonr(one, other).statistic, abs=1e-12)
        expected_rank = stats.spearmanr(one, other).statistic
        assert METRICS["spearman"].function(one, other) == pytest.approx(expected_rank, abs=1e-12)
