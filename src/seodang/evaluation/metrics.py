"""Metrics: what is counted, as a function of the rows' predictions and references.

Shapes: N rows, R resamples, K classes. A metric is prepared once from its N rows and is then a function of how often
each row is taken, counts (R, N) → values (R,): all ones give the metric itself, a bootstrap's draws give its spread.

A prediction of None (no answer could be read) is wrong everywhere. The reference of a text is one text or several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from seodang.errors import UsageError, suggest
from seodang.evaluation import rouge, text_match

Array = np.ndarray
OfCounts = Callable[[Array], Array]
Kind = Literal["class", "probabilities", "score", "text", "logprob"]


@dataclass(frozen=True)
class Metric:
    """A named metric. `prepare` reads N rows and returns the metric as a function of counts (R, N) → (R,)."""

    name: str
    kind: Kind
    """What is predicted: the number of a class, the probability of each, a real-valued score, a text, or a natural
    log-probability."""
    prepare: Callable[[Sequence[Any], Sequence[Any]], OfCounts] = field(repr=False)
    rows: Callable[[Sequence[Any], Sequence[Any]], Array] | None = field(default=None, repr=False)
    """Scores of the rows (N,), where the metric is their mean; None where it is not a mean (F1, correlations)."""
    proportion: bool = False
    """The rows' scores are 0 or 1."""
    undefined: Callable[[Sequence[Any], Sequence[Any]], list[str]] = field(default=lambda *_: [], repr=False)
    higher_is_better: bool = True

    def function(self, predictions: Sequence[Any], references: Sequence[Any]) -> float:
        """The metric of N predictions against N references. Raises UsageError when there are none or N differs."""
        check_rows(self, predictions, references)
        return float(self.prepare(predictions, references)(np.ones((1, len(references))))[0])

    def notes(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[str]:
        """Where the formula has no value (0/0) and one was agreed on: what was missing, and what was given."""
        return self.undefined(predictions, references)


def check_rows(metric: Metric, predictions: Sequence[Any], references: Sequence[Any]) -> None:
    """Raise UsageError unless there are as many predictions as references, and at least one."""
    if len(predictions) != len(references):
        raise UsageError(
            f"{metric.name}: {len(predictions)} predictions for {len(references)} references",
            "each row needs one of each",
            "give both in the same order, with None where there is no prediction",
        )
    if not len(references):
        raise UsageError(f"{metric.name} of no rows", "there is nothing to count", "give at least one row")


def find(name: str) -> Metric:
    """The metric of that name. Raises UsageError with the nearest names."""
    if name not in METRICS:
        raise UsageError(f"unknown metric {name!r}", "there is no such metric", suggest(name, METRICS))
    return METRICS[name]


def mean_of(rows: Callable[[Sequence[Any], Sequence[Any]], Array]) -> Callable[..., OfCounts]:
    """`prepare` of a metric that is the mean of its rows' scores."""

    def prepare(predictions: Sequence[Any], references: Sequence[Any]) -> OfCounts:
        scores = rows(predictions, references)
        return lambda counts: counts @ scores / counts.sum(axis=1)

    return prepare


def with_scores(metric: Metric, scores: Sequence[float] | Array) -> Metric:
    """The same metric of rows whose scores (N,) are known: ROUGE is not counted again for each use."""

    def rows(predictions: Sequence[Any], references: Sequence[Any]) -> Array:
        return np.asarray(scores, dtype=float)

    return replace(metric, rows=rows, prepare=mean_of(rows))


# ---- classes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tally:
    """Per class, as float arrays (R, K): how often it was predicted rightly, predicted, and true."""

    right: Array
    predicted: Array
    actual: Array


def correct(predictions: Sequence[Any], references: Sequence[Any]) -> Array:
    """1 where the prediction is the reference, otherwise 0; (N,)."""
    pairs = zip(predictions, references, strict=True)
    return np.array([float(prediction is not None and prediction == reference) for prediction, reference in pairs])


def f1(tally: Tally) -> Array:
    """F1 of each class, 2·right / (predicted + actual) (van Rijsbergen 1979, ch. 7), and 0 for 0/0; (R, K)."""
    total = tally.predicted + tally.actual
    return np.divide(2 * tally.right, total, out=np.zeros_like(total), where=total > 0)


def macro_f1(tally: Tally) -> Array:
    """Mean F1 of the classes that are predicted or true: the "averaged F1" of Opitz & Burst 2019; (R,)."""
    seen = (tally.predicted + tally.actual) > 0
    return f1(tally).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)


def micro_f1(tally: Tally) -> Array:
    """F1 of all classes together, 2·Σ right / Σ (predicted + actual), and 0 for 0/0; (R,)."""
    total = (tally.predicted + tally.actual).sum(axis=1)
    return np.divide(2 * tally.right.sum(axis=1), total, out=np.zeros_like(total), where=total > 0)


def matthews(tally: Tally) -> Array:
    """Matthews' correlation for K classes (Gorodkin 2004, R_K; for two: Matthews 1975); 0 for 0/0; (R,)."""
    n = tally.actual.sum(axis=1)
    covariance = tally.right.sum(axis=1) * n - (tally.predicted * tally.actual).sum(axis=1)
    spread = (n**2 - (tally.predicted**2).sum(axis=1)) * (n**2 - (tally.actual**2).sum(axis=1))
    return np.divide(covariance, np.sqrt(spread), out=np.zeros_like(covariance), where=spread > 0)


def _tallied(
    formula: Callable[[Tally], Array], classes_of: Callable[[Sequence[Any], Sequence[Any]], list[Any]]
) -> Callable[..., OfCounts]:
    def prepare(predictions: Sequence[Any], references: Sequence[Any]) -> OfCounts:
        number = {name: place for place, name in enumerate(classes_of(predictions, references))}
        predicted, actual = (
            np.array([[number.get(name, -1)] for name in names]) == np.arange(len(number))
            for names in (predictions, references)
        )
        columns = [part.astype(float) for part in (predicted & actual, predicted, actual)]
        return lambda counts: formula(Tally(*(counts @ part for part in columns)))

    return prepare


def _classes(predictions: Sequence[Any], references: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(name for name in (*references, *predictions) if name is not None))


def _classes_and_none(predictions: Sequence[Any], references: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys((*references, *predictions)))


def _classes_but_0(predictions: Sequence[Any], references: Sequence[Any]) -> list[Any]:
    return [name for name in _classes(predictions, references) if name != 0]


def _positive(predictions: Sequence[Any], references: Sequence[Any]) -> list[Any]:
    """The one class that binary F1 looks at."""
    strange = [name for name in _classes(predictions, references) if name not in (0, 1)]
    if strange:
        raise UsageError(
            f"f1 of the class {strange[0]!r}", "f1 is about class 1 against class 0", "use macro_f1 for several classes"
        )
    return [1]


def _no_positive(predictions: Sequence[Any], references: Sequence[Any]) -> list[str]:
    if any(name == 1 for name in (*predictions, *references)):
        return []
    return ["class 1 is neither predicted nor true: F1 is 0/0 and counted as 0"]


def _constant(predictions: Sequence[Any], references: Sequence[Any]) -> list[str]:
    sides = (("predictions", predictions), ("references", references))
    same = [name for name, values in sides if all(value == values[0] for value in values)]
    return [f"all {' and all '.join(same)} are the same: the correlation is 0/0 and counted as 0"] if same else []


# ---- probabilities of classes ----------------------------------------------------------------------------------


def precision_recall_area(predictions: Sequence[Any], references: Sequence[Any]) -> OfCounts:
    """Area under a class's precision-recall curve, from (0, 1) over all thresholds by straight lines; the mean of the
    classes that are true of a row (KLUE's relations: Park et al. 2021, sec. 3.5)."""
    curves = []
    for name in sorted(set(references)):
        scores = np.array([row[name] if row is not None and name < len(row) else 0.0 for row in predictions])
        order = np.argsort(-scores, kind="stable")
        ends = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)  # equal scores pass together
        curves.append((order, ends, np.array([float(reference == name) for reference in references])[order]))

    def value(counts: Array) -> Array:
        area, seen = np.zeros(len(counts)), np.zeros(len(counts))
        for order, ends, true in curves:
            taken = counts[:, order]
            found, passed = (np.cumsum(part, axis=1)[:, ends] for part in (taken * true, taken))
            precision = np.divide(found, passed, out=np.ones_like(found), where=passed > 0)
            recall = found / np.maximum(found[:, -1:], 1)
            width = np.diff(recall, axis=1, prepend=0.0)
            before = np.concatenate([np.ones((len(counts), 1)), precision[:, :-1]], axis=1)
            area += (width * (precision + before) / 2).sum(axis=1)
            seen += found[:, -1] > 0
        return area / seen

    return value


# ---- scores ----------------------------------------------------------------------------------------------------


def _numbers(values: Sequence[Any], what: str) -> Array:
    """Real numbers (N,) with mean 0 and largest magnitude 1, which changes no correlation; zeros if all are equal."""
    numbers = np.array([np.nan if value is None else value for value in values], dtype=float)
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise UsageError(
            f"{what} {row}: {values[row]}", "a correlation needs a finite number in each row", "leave such rows out"
        )
    if np.ptp(numbers) == 0:
        return np.zeros_like(numbers)
    numbers = numbers - numbers.mean()
    return numbers / np.abs(numbers).max()


def correlation(x: Array, y: Array, counts: Array) -> Array:
    """Pearson's r (R,) of x and y, (N,) or (R, N), whose rows are taken counts (R, N) times; 0 if one is constant.

    r = Σ (x − x̄)(y − ȳ) / √(Σ (x − x̄)² Σ (y − ȳ)²) (Pearson 1895).
    """
    n = counts.sum(axis=1)

    def mean(values: Array) -> Array:
        total = counts @ values if values.ndim == 1 else np.einsum("rn,rn->r", counts, values)
        return np.asarray(total / n)

    x_mean, y_mean = mean(x), mean(y)
    x_spread, y_spread = mean(x * x), mean(y * y)
    x_variance, y_variance = x_spread - x_mean**2, y_spread - y_mean**2
    varies = (x_variance > 1e-14 * x_spread) & (y_variance > 1e-14 * y_spread)  # less is rounding alone
    scale = np.sqrt(np.where(varies, x_variance * y_variance, 1.0))
    return np.where(varies, np.clip((mean(x * y) - x_mean * y_mean) / scale, -1.0, 1.0), 0.0)


def _pearson(predictions: Sequence[Any], references: Sequence[Any]) -> OfCounts:
    x, y = _numbers(predictions, "prediction"), _numbers(references, "reference")
    return lambda counts: correlation(x, y, counts)


def _ranked(values: Array) -> OfCounts:
    """Ranks from 1, ties averaged, of `values` (N,) taken counts (R, N) times, as a function of counts; (R, N)."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=np.nan) != 0)
    group = np.empty(len(values), dtype=np.int64)
    group[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(values)))

    def ranks(counts: Array) -> Array:
        sizes = np.add.reduceat(counts[:, order], starts, axis=1)
        return (np.cumsum(sizes, axis=1) - (sizes - 1) / 2)[:, group]

    return ranks


def _spearman(predictions: Sequence[Any], references: Sequence[Any]) -> OfCounts:
    x, y = _ranked(_numbers(predictions, "prediction")), _ranked(_numbers(references, "reference"))

    def value(counts: Array) -> Array:
        middle = (counts.sum(axis=1, keepdims=True) + 1) / 2
        return correlation(x(counts) - middle, y(counts) - middle, counts)

    return value


def _f1_from_3(predictions: Sequence[Any], references: Sequence[Any]) -> OfCounts:
    """F1 of "alike", which is what scores of 3 and more mean (Park et al. 2021, sec. 3.2)."""
    for values, what in ((predictions, "prediction"), (references, "reference")):
        _numbers(values, what)
    return METRICS["f1"].prepare(*([int(value >= 3) for value in values] for values in (predictions, references)))


# ---- texts -----------------------------------------------------------------------------------------------------


def best_of_references(score: Callable[[str, str], float]) -> Callable[[Sequence[Any], Sequence[Any]], Array]:
    """Scores of rows (N,): of several right answers the one that fits best counts, as SQuAD and ROUGE have it."""

    def rows(predictions: Sequence[Any], references: Sequence[Any]) -> Array:
        scores = []
        for prediction, reference in zip(predictions, references, strict=True):
            answers = [reference] if isinstance(reference, str) else reference
            scores.append(0.0 if prediction is None else max(score(prediction, answer) for answer in answers))
        return np.array(scores, dtype=float)

    return rows


def _text_metric(name: str, score: Callable[[str, str], float], proportion: bool = False) -> Metric:
    rows = best_of_references(score)
    return Metric(name, "text", mean_of(rows), rows, proportion)


def _rouge_score(prediction: str, reference: str, measure: str, unit: rouge.Unit) -> float:
    return rouge.rouge(prediction, reference, unit=unit, measures=(measure,))[measure].f1


def _rouge_metrics() -> list[Metric]:
    """rouge1 … of words, and rouge1-characters, rouge1-morphemes …"""
    return [
        _text_metric(
            measure if unit == "words" else f"{measure}-{unit}", partial(_rouge_score, measure=measure, unit=unit)
        )
        for unit in rouge.UNITS
        for measure in rouge.MEASURES
    ]


# ---- log-probabilities -----------------------------------------------------------------------------------------


def _per_unit(formula: Callable[[Array], Array]) -> Callable[..., OfCounts]:
    """Of Σ logprob / Σ units over the rows, whose references are their numbers of tokens, words or bytes."""

    def prepare(predictions: Sequence[Any], references: Sequence[Any]) -> OfCounts:
        logprobs = np.array([-np.inf if value is None else value for value in predictions], dtype=float)
        units = np.asarray(references, dtype=float)
        if not (units > 0).all():
            row = int(np.flatnonzero(~(units > 0))[0])
            raise UsageError(f"row {row} has {units[row]:g} units", "nothing is divided by 0", "leave empty rows out")
        impossible = np.isinf(logprobs)  # 0 · ∞ is no number: a row that is not drawn must not count
        finite = np.where(impossible, 0.0, logprobs)
        return lambda counts: formula(
            np.where(counts @ impossible > 0, -np.inf, counts @ finite) / (counts @ units)
        )

    return prepare


def perplexity(logprob_per_unit: Array) -> Array:
    """exp(−Σ log P / N) (Jelinek et al. 1977); inf where it is too large for a number."""
    with np.errstate(over="ignore"):
        return np.exp(-logprob_per_unit)


def bits(logprob_per_unit: Array) -> Array:
    """−Σ log₂ P / N, of natural logarithms (Shannon 1951)."""
    return -logprob_per_unit / np.log(2)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "class", mean_of(correct), correct, proportion=True),
        Metric("f1", "class", _tallied(lambda tally: f1(tally)[:, 0], _positive), undefined=_no_positive),
        Metric("macro_f1", "class", _tallied(macro_f1, _classes)),
        Metric("micro_f1", "class", _tallied(micro_f1, _classes_but_0)),
        Metric("matthews", "class", _tallied(matthews, _classes_and_none), undefined=_constant),
        Metric("auprc", "probabilities", precision_recall_area),
        Metric("pearson", "score", _pearson, undefined=_constant),
        Metric("spearman", "score", _spearman, undefined=_constant),
        Metric("f1_from_3", "score", _f1_from_3),
        _text_metric("exact_match", text_match.exact_match, proportion=True),
        _text_metric("token_f1", text_match.token_f1),
        _text_metric("character_f1", text_match.character_f1),
        *_rouge_metrics(),
        *(
            Metric(f"{unit}_perplexity", "logprob", _per_unit(perplexity), higher_is_better=False)
            for unit in ("token", "word", "byte")
        ),
        Metric("bits_per_byte", "logprob", _per_unit(bits), higher_is_better=False),
    )
}
"""Every metric by name. `f1` is that of class 1, `micro_f1` that of all but class 0; rouge1, rouge2, rougeL and
rougeLsum are F1s of words. Perplexities and bits take log-probabilities as predictions and numbers of units as
references."""
