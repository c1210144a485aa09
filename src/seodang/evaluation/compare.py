"""Results of several models side by side, with a paired test of each against the first; unlike ones are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from seodang.errors import UsageError
from seodang.evaluation.intervals import Measurement
from seodang.evaluation.paired import Difference, Pairs, holm, paired_difference
from seodang.evaluation.results import Results, Sample, TaskResult, scores_of

_NEVER = ("n", "rows", "metric")
"""What must be the same whatever is compared: without it there are no pairs of rows."""


@dataclass(frozen=True)
class Compared:
    """One measurement of one task by M models."""

    task: str
    measurement: str
    values: list[Measurement]
    """Of each model, M."""
    differences: list[Difference]
    """Of each but the first, minus the first; M − 1."""
    corrected: list[float]
    """Their p, corrected for the number of tests in the whole comparison (Holm); M − 1."""


@dataclass(frozen=True)
class Comparison:
    """Everything that M models have in common."""

    models: list[str]
    rows: list[Compared]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def compare_results(
    results: Sequence[Results], names: Sequence[str] | None = None, allow: Sequence[str] = ()
) -> Comparison:
    """Each task that all have, each measurement. `names` stand for the models, by default their own; `allow` names
    settings that may differ because they are what is compared ("shots", "template", "prompts" …; "settings": all).

    Raises UsageError for fewer than two, for no task in common, and for unlike settings, naming each.
    """
    names = list(names or (entry.model for entry in results))
    if len(results) < 2:
        raise UsageError(f"a comparison of {len(results)}", "there must be something to compare", "give two or more")
    common = [task for task in results[0].tasks if all(task in entry.tasks for entry in results)]
    if not common:
        each = "; ".join(f"{name}: {', '.join(entry.tasks)}" for name, entry in zip(names, results, strict=True))
        raise UsageError("these results have no task in common", each, "evaluate both on one task")
    notes = [
        f"{name} alone has {', '.join(more)}"
        for name, entry in zip(names, results, strict=True)
        if (more := [task for task in entry.tasks if task not in common])
    ]
    types = [entry.machine.get("dtype") for entry in results]
    if len({*types} - {None}) > 1:
        each = "; ".join(f"{name}: {dtype}" for name, dtype in zip(names, types, strict=True))
        notes.append(f"computed in different types, of which small differences may come: {each}")
    for task in common:
        said = [entry.tasks[task].notes for entry in results]
        if len(set(said)) > 1:
            notes += [f"{name}, {task}: {note}" for name, some in zip(names, said, strict=True) for note in some]
        for (name, one), (other_name, other) in combinations(zip(names, results, strict=True), 2):
            refuse_unlike(task, one.tasks[task], other.tasks[task], (name, other_name), allow)
    found = [
        (task, measurement, [entry.tasks[task] for entry in results])
        for task in common
        for measurement in results[0].tasks[task].measurements
        if all(measurement in entry.tasks[task].measurements for entry in results)
    ]
    for task, measurement, tasks in list(found):
        if any(_pairs(measurement, entry)[1] != _pairs(measurement, tasks[0])[1] for entry in tasks):
            found.remove((task, measurement, tasks))  # tokens: what they are depends on the tokenizer
            notes.append(f"{task}: {measurement} is left out, for each model counts in other units")
    tested = [_differences(measurement, tasks) for _, measurement, tasks in found]
    corrected = iter(holm([difference.p for differences in tested for difference in differences]))
    rows = [
        Compared(
            task,
            measurement,
            [entry.measurements[measurement] for entry in tasks],
            differences,
            [next(corrected) for _ in differences],
        )
        for (task, measurement, tasks), differences in zip(found, tested, strict=True)
    ]
    return Comparison(names, rows, notes)


def refuse_unlike(
    name: str, first: TaskResult, second: TaskResult, whose: tuple[str, str], allow: Sequence[str] = ()
) -> None:
    """Raise UsageError unless two results of a task come from the same rows, prompts and settings, but for `allow`."""
    found = {
        key: said
        for key, said in unlike(first, second)
        if key in _NEVER or not {key.split(".")[0], "settings"} & set(allow)
    }
    if not found:
        return
    wished = [key.split(".")[0] for key in found if key not in _NEVER]
    asked = "".join(f" --allow {key}" for key in dict.fromkeys(wished)) if len(wished) < 4 else " --allow settings"
    raise UsageError(
        f"{name}: {whose[0]} and {whose[1]} cannot be compared",
        "; ".join(found.values()),
        "evaluate both with the same settings on the same rows"
        + (f"; if that is what you compare:{asked}" if len(wished) == len(found) else ""),
    )


def unlike(first: TaskResult, second: TaskResult) -> Iterator[tuple[str, str]]:
    """(its name, what it is in both) of each thing in which two results of a task differ. The tokenizers may."""
    if first.version != second.version:
        yield "version", f"version of the task: {first.version} and {second.version}"
    yield from _unlike_settings(first.settings, second.settings)
    if first.n != second.n:
        yield "n", f"number of rows: {first.n:,} and {second.n:,}"
    elif first.rows != second.rows:
        yield "rows", f"rows: other examples{_first_other(first.samples, second.samples, 'where')}"
    elif first.prompts != second.prompts:
        yield "prompts", f"prompts: other texts{_first_other(first.samples, second.samples, 'prompt')}"
    for measurement in first.measurements.keys() & second.measurements.keys():
        one, other = first.measurements[measurement].metric, second.measurements[measurement].metric
        if one != other:
            yield "metric", f"metric of {measurement}: {one} and {other}"


def _unlike_settings(
    first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    for key in [*first, *(key for key in second if key not in first)]:
        one, other, name = first.get(key), second.get(key), f"{prefix}{key}"
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _unlike_settings(one, other, f"{name}.")
        elif one != other:
            yield name, f"{name}: {_short(one)} and {_short(other)}"


def _short(value: Any, length: int = 40) -> str:
    text = "(none)" if value is None else repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def _first_other(first: Sequence[Sample], second: Sequence[Sample], key: str) -> str:
    for one, other in zip(first, second, strict=False):
        if getattr(one, key) != getattr(other, key):
            also = f" and {other.where}" if other.where != one.where else ""
            return f", first in row {one.row} ({one.where}{also})"
    return ""


def _differences(measurement: str, tasks: Sequence[TaskResult]) -> list[Difference]:
    """Of each result but the first, minus the first."""
    metric = tasks[0].measurements[measurement].metric
    pairs = [_pairs(measurement, task) for task in tasks]
    scores = [scores_of([sample.outcomes[measurement] for sample in task.samples]) for task in tasks]
    found = []
    for other, known in zip(pairs[1:], scores[1:], strict=True):
        both = None if known is None or scores[0] is None else (scores[0], known)
        found.append(paired_difference(metric, pairs[0], other, scores=both))
    return found


def _pairs(measurement: str, task: TaskResult) -> Pairs:
    outcomes = [sample.outcomes[measurement] for sample in task.samples]
    return [entry.prediction for entry in outcomes], [entry.reference for entry in outcomes]
