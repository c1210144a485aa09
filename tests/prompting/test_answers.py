"""From log-probabilities to answers, by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from seodang.errors import UsageError
from seodang.prompting.answers import best, calibrated, expectation, matched, probabilities, scores


@dataclass(frozen=True)
class Found:
    logprob: float
    n_tokens: int
    n_bytes: int


TWO = [Found(-2.0, 1, 4), Found(-3.0, 3, 6)]


def test_scores_by_hand():
    assert scores(TWO) == [-2.0, -3.0]
    assert scores(TWO, "token") == [-2.0, -1.0]
    assert scores(TWO, "byte") == [-0.5, -0.5]
    assert scores(TWO, "null", [Found(-1.0, 1, 4), Found(-5.0, 3, 6)]) == [-1.0, 2.0]
    with pytest.raises(UsageError, match="null prompt"):
        scores(TWO, "null")


def test_probabilities_by_hand():
    assert probabilities([math.log(1), math.log(3)]) == pytest.approx([0.25, 0.75])
    assert probabilities([-1000.0, -1000.0 + math.log(4)]) == pytest.approx([0.2, 0.8])
    assert probabilities([-math.inf, -math.inf]) == [0.5, 0.5]


def test_calibration_by_hand():
    """Zhao et al. 2021, sec. 5: W = diag(p_cf)⁻¹. A model that says "positive" with 0.8 to nothing at all."""
    nothing = [[0.1, 0.9], [0.3, 0.7]]  # mean 0.2, 0.8
    assert calibrated([0.2, 0.8], nothing) == pytest.approx([0.5, 0.5])
    # 0.3 / 0.2 = 1.5 and 0.7 / 0.8 = 0.875: the prediction turns
    assert calibrated([0.3, 0.7], nothing) == pytest.approx([1.5 / 2.375, 0.875 / 2.375])
    assert best(calibrated([0.3, 0.7], nothing)) == 0 and best([0.3, 0.7]) == 1
    assert calibrated([0.5, 0.5], [[1.0, 0.0]])[1] == pytest.approx(1.0)


def test_the_first_of_equal_ones_is_best():
    assert best([0.2, 0.4, 0.4]) == 1


def test_expected_score():
    assert expectation([0.5, 0.25, 0.25], ["0", "1", "3"]) == 1.0
    with pytest.raises(UsageError, match="few, many"):
        expectation([0.5, 0.5], ["few", "many"])


@pytest.mark.parametrize(
    ("text", "answers", "number"),
    [
        ("Positive.", ("negative", "positive"), 1),
        ("It is negative, not positive", ("negative", "positive"), 0),
        ("not equivalent", ("equivalent", "not equivalent"), 1),  # it begins earlier
        ("yes and no", ("yes and", "yes and no"), 1),  # of two at one place the longer
        ("impositive", ("negative", "positive"), None),
        ("positively", ("negative", "positive"), None),
        ("positive입니다", ("negative", "positive"), 1),
        ("긍정입니다.", ("부정", "긍정"), 1),
        ("비긍정", ("부정", "긍정"), None),
        ("ＹＥＳ", ("no", "yes"), 1),
        ("12", ("1", "2"), None),
        ("2 stars", ("1", "2"), 1),
        ("", ("1", "2"), None),
        ("so  be\nit", ("so be it", "no"), 0),
        ("It is a question about B, so the answer is B.", ("A", "B", "C"), 1),
        ("A dog would bark; (C)", ("A", "B", "C"), 2),
        ("B) a cat, not A", ("A", "B"), 1),
        ("c", ("A", "B", "C"), None),
        ("정답은 C입니다", ("A", "B", "C"), 2),
    ],
)
def test_the_answer_that_a_text_names(text, answers, number):
    assert matched(text, answers) == number
