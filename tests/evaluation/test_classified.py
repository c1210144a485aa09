"""Scores of a fine-tuned model's predictions, counted by hand."""

from __future__ import annotations

import math

import pytest

from seodang.data.labelled import Labelled, TaskSpec
from seodang.errors import UsageError
from seodang.evaluation.classified import ClassCount, class_counts, results_of
from seodang.inference.classify import Prediction

SPEC = TaskSpec("mood", "classify", ("bad", "good", "odd"), metrics=("accuracy", "macro_f1"))


def said(label: int) -> Prediction:
    return Prediction(label, None, [0.1, 0.2, 0.7])


EXAMPLES = [Labelled((str(i),), label) for i, label in enumerate((0, 1, 1, None, 1))]
PREDICTIONS = [said(label) for label in (0, 1, 0, 2, 1)]


def test_metrics_of_the_labelled_rows_beside_the_majority_of_the_training_rows() -> None:
    found = results_of(SPEC, EXAMPLES, PREDICTIONS, model="m", tokenizer="t", train_labels=[0, 0, 1])
    accuracy = found.tasks["mood"].measurements["accuracy"]
    assert (accuracy.value, accuracy.baseline, accuracy.n) == (0.75, 0.25, 4)
    assert 0.3 < accuracy.low < 0.75 < accuracy.high < 1
    # class 0: right 1 of 2 predicted and 1 true, F1 2/3; class 1: 2 of 2 and 3, F1 4/5
    assert found.tasks["mood"].measurements["macro_f1"].value == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert [sample.row for sample in found.tasks["mood"].samples] == [0, 1, 2, 4]
    assert found.tasks["mood"].settings["way"] == "fine-tuned"


def test_what_became_of_each_class() -> None:
    assert class_counts(SPEC, EXAMPLES, PREDICTIONS) == [
        ClassCount("bad", 1, 2, 1), ClassCount("good", 3, 2, 2), ClassCount("odd", 0, 0, 0)]  # fmt: skip
    choice = TaskSpec("choice", "choice")
    asked = [Labelled(("a", ""), 1, ("x", "y")), Labelled(("b", ""), 2, ("x", "y", "z"))]
    assert class_counts(choice, asked, [said(1), said(0)]) == [
        ClassCount("1", 0, 1, 0), ClassCount("2", 1, 1, 1), ClassCount("3", 1, 0, 0)]  # fmt: skip


def test_scores() -> None:
    spec = TaskSpec("sts", "similar", regression=True, metrics=("pearson",))
    examples = [Labelled(("a", "b"), value) for value in (1.0, 2.0, 4.0)]
    predictions = [Prediction(None, value, []) for value in (2.0, 3.0, 5.0)]
    found = results_of(spec, examples, predictions, model="m", tokenizer="t").tasks["sts"].measurements["pearson"]
    assert found.value == pytest.approx(1.0) and not math.isnan(found.low)
    assert class_counts(spec, examples, predictions) == []


def test_nothing_to_score() -> None:
    with pytest.raises(UsageError, match="no rows"):
        results_of(SPEC, [Labelled(("a",), None)], [said(0)], model="m", tokenizer="t")
