"""One number for many tasks, as GLUE, GPT-1, KLUE and KoBEST make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from seodang.errors import UsageError, suggest

Score = tuple[str, str]
"""Task and metric."""


@dataclass(frozen=True)
class Average:
    """A mean over parts, and which of them were there."""

    name: str
    value: float
    parts: dict[str, float]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        total = len(self.parts) + len(self.missing)
        which = f"all {total} tasks" if not self.missing else f"{len(self.parts)} of {total} tasks"
        without = f"; without {', '.join(self.missing)}" if self.missing else ""
        return f"{self.name} average {self.value:.4f} ({which}{without})"


def _of(task: str, *metrics: str) -> tuple[Score, ...]:
    return tuple((task, metric) for metric in metrics)


_MNLI = tuple((task, "accuracy") for task in ("mnli", "mnli-matched", "mnli-mismatched"))

PARTS: dict[str, dict[str, tuple[Score, ...]]] = {
    # Wang et al. 2019, sec. 3 and its leaderboard: a task's metrics are averaged first
    "glue": {
        "cola": _of("cola", "matthews"),
        "sst2": _of("sst2", "accuracy"),
        "mrpc": _of("mrpc", "f1", "accuracy"),
        "stsb": _of("stsb", "pearson", "spearman"),
        "qqp": _of("qqp", "f1", "accuracy"),
        "mnli": _MNLI,
        "qnli": _of("qnli", "accuracy"),
        "rte": _of("rte", "accuracy"),
        "wnli": _of("wnli", "accuracy"),
    },
    # Radford et al. 2018, table 5: "a unweighted average of all the results"
    "gpt1": {
        "cola": _of("cola", "matthews"),
        "sst2": _of("sst2", "accuracy"),
        "mrpc": _of("mrpc", "f1"),
        "stsb": _of("stsb", "pearson"),
        "qqp": _of("qqp", "f1"),
        "mnli": _MNLI,
        "qnli": _of("qnli", "accuracy"),
        "rte": _of("rte", "accuracy"),
    },
    # Park et al. 2021, table 1 names the metrics; its other four tasks are no classification of texts
    "klue": {
        "klue-ynat": _of("klue-ynat", "macro_f1"),
        "klue-sts": _of("klue-sts", "pearson", "f1_from_3"),
        "klue-nli": _of("klue-nli", "accuracy"),
        "klue-re": _of("klue-re", "micro_f1", "auprc"),
    },
    # Kim et al. 2022 score every task by its macro F1
    "kobest": {
        task: _of(task, "macro_f1")
        for task in ("kobest-boolq", "kobest-copa", "kobest-wic", "kobest-hellaswag", "kobest-sentineg")
    },
}


def average(name: str, scores: Mapping[str, Mapping[str, float]]) -> Average:
    """The mean over the parts of a benchmark, each the mean of its metrics. `scores`: task → metric → value.

    A part of which nothing was measured is missing, and the result says so. Raises UsageError for an unknown name, when
    all parts are missing, and when a task lacks one of its metrics: half a part is another number.
    """
    if name not in PARTS:
        raise UsageError(f"unknown average {name!r}", "there is no such", suggest(name, PARTS))
    parts = {}
    for part, wanted in PARTS[name].items():
        present = [(task, metric) for task, metric in wanted if task in scores]
        for task, metric in present:
            if metric not in scores[task]:
                had = ", ".join(scores[task]) or "none"
                raise UsageError(
                    f"the {name} average needs {metric} of {task}", f"its metrics are {had}", "measure that one, too"
                )
        if present:
            parts[part] = fmean(scores[task][metric] for task, metric in present)
    if not parts:
        raise UsageError(f"the {name} average of no task", f"it is over {', '.join(PARTS[name])}", "measure some")
    return Average(name, fmean(parts.values()), parts, tuple(part for part in PARTS[name] if part not in parts))


def averages(name: str, models: Sequence[Mapping[str, Mapping[str, float]]]) -> list[Average]:
    """`average` of each of some models, over the parts that all of them have: of others it would be another number."""
    alone = [average(name, scores) for scores in models]
    shared = set.intersection(*(set(one.parts) for one in alone))
    if not shared:
        has = "; ".join(", ".join(one.parts) for one in alone)
        raise UsageError(f"no task of the {name} average is there for all", f"they have {has}", "measure the same ones")
    return [
        average(name, {task: scores[task] for part in shared for task, _ in PARTS[name][part] if task in scores})
        for scores in models
    ]
