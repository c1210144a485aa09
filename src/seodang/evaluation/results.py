"""What an evaluation leaves on the disk: numbers with everything that made them, and one line for each row.

FILE.json holds the tasks' measurements, settings and hashes; FILE.samples.jsonl one row for each example: where it
stands, what was predicted, what was right, its score, the log-probabilities. Both are written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

import seodang
from seodang.data.labelled import Labelled
from seodang.errors import DataError, UsageError
from seodang.evaluation.intervals import Measurement, measure
from seodang.evaluation.metrics import find
from seodang.files import atomic_file, atomic_write, sha256_file

FORMAT = 1
"""Number of this layout; a later one is refused by name."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one measurement sees of one row."""

    prediction: Any
    """Number of the class or answer, a score, a text, or a log-probability; None: no answer could be read."""
    reference: Any
    """Of the same kind; several texts where several are right; the number of units of a log-probability."""
    score: float | None = None
    """The row's score, where the metric is a mean of such scores."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a task."""

    row: int
    """Place within the task, from 0."""
    where: str
    """file:row"""
    prompt: str
    """`fingerprint` of all texts that the model was given."""
    outcomes: Mapping[str, Outcome]
    """By the measurement's name."""
    logprobs: tuple[float, ...] = ()
    """Natural, of each answer."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else is worth reading: the prompt's text, what was generated, tokens and bytes of answers."""


@dataclass(frozen=True)
class TaskResult:
    """One task: its numbers, and what they depend on."""

    task: str
    version: int
    n: int
    measurements: dict[str, Measurement]
    settings: dict[str, Any]
    """Template, shots, seed, normalisation …: what two results must share to be compared."""
    rows: str
    """`fingerprint` of the examples, whatever the prompt."""
    prompts: str
    """`fingerprint` of the samples' prompts."""
    notes: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Results:
    """Of one model on some tasks."""

    model: str
    tokenizer: str
    """The tokenizer's fingerprint; may differ between models that are compared."""
    tasks: dict[str, TaskResult]
    machine: dict[str, Any] = field(default_factory=dict)
    """What changes no number: dtype, batch size, seconds, rows per second, time of day."""


def fingerprint(*texts: str) -> str:
    """SHA-256 of texts, in hex; ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def fingerprint_of(value: Any) -> str:
    """`fingerprint` of anything that JSON holds, such as a template's or an example's fields."""
    return fingerprint(json.dumps(_plain(value), ensure_ascii=False, sort_keys=True))


def fingerprint_of_examples(examples: Iterable[Labelled]) -> str:
    """`TaskResult.rows` of labelled examples: the same for models that were prompted and for fine-tuned ones."""
    return fingerprint(*(fingerprint_of(fields_of(example)) for example in examples))


def fields_of(example: Labelled) -> dict[str, Any]:
    """What an example says, wherever it stands."""
    return {"texts": example.texts, "label": example.label, "answers": example.answers}


def outcome(metric: str, prediction: Any, reference: Any) -> Outcome:
    """An outcome with the row's score, where the metric has one."""
    rows = find(metric).rows
    return Outcome(prediction, reference, None if rows is None else float(rows([prediction], [reference])[0]))


def summarize(
    task: str,
    version: int,
    samples: Iterable[Sample],
    metrics: Mapping[str, str] | Sequence[str],
    *,
    settings: Mapping[str, Any],
    rows: str,
    train_references: Sequence[Any] | None = None,
    notes: Sequence[str] = (),
    level: float = 0.95,
    seed: int = 0,
) -> TaskResult:
    """The measurements of a task's samples. `metrics`: measurement → metric, or metrics that name themselves.

    Raises UsageError when there are no samples, and for an unknown metric.
    """
    samples = tuple(samples)
    named = metrics if isinstance(metrics, Mapping) else {name: name for name in metrics}
    measurements = {}
    for name, metric in named.items():
        outcomes = [sample.outcomes[name] for sample in samples]
        pairs = [entry.prediction for entry in outcomes], [entry.reference for entry in outcomes]
        measurements[name] = measure(
            metric, *pairs, train_references=train_references, scores=scores_of(outcomes), level=level, seed=seed
        )
    prompts = fingerprint(*(sample.prompt for sample in samples))
    return TaskResult(
        task, version, len(samples), measurements, _plain(settings), rows, prompts, tuple(notes), samples
    )


def scores_of(outcomes: Sequence[Outcome]) -> list[float] | None:
    """Of the rows, where every one has a score."""
    scores = [entry.score for entry in outcomes if entry.score is not None]
    return scores if len(scores) == len(outcomes) else None


# ---- on the disk -----------------------------------------------------------------------------------------------


def samples_path(path: Path | str) -> Path:
    """Where the rows of the results in `path` lie."""
    return Path(path).with_suffix(".samples.jsonl")


def save_results(results: Results, path: Path | str) -> None:
    """Write FILE.json and FILE.samples.jsonl; the second is there whenever the first is."""
    path = Path(path)
    if path.suffix != ".json":
        raise UsageError(f"results into {path}", "they are a JSON file", f"write them to {path}.json")
    with atomic_file(samples_path(path)) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        for name, task in results.tasks.items():
            for sample in task.samples:
                row = {"task": name, **_plain(asdict(sample))}
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    document = {
        "format": FORMAT,
        "seodang": seodang.__version__,
        "model": results.model,
        "tokenizer": results.tokenizer,
        "tasks": {name: _task_to_dict(task) for name, task in results.tasks.items()},
        "machine": _plain(results.machine),
        "samples": {"file": samples_path(path).name, "sha256": sha256_file(samples_path(path))},
    }
    atomic_write(path, json.dumps(document, ensure_ascii=False, indent=1) + "\n")


def load_results(path: Path | str, *, samples: bool = True) -> Results:
    """Read what `save_results` wrote. Raises DataError for a file that is no such thing, or not whole."""
    path = Path(path)
    fix = "give the FILE.json that seodang evaluate wrote"
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read", error.strerror or str(error), fix) from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON", str(error), fix) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else None
        why = f"its format is {found!r}, and this version reads {FORMAT}"
        raise DataError(f"{path} holds no results of an evaluation", why, fix)
    try:
        tasks = {name: _task_from_dict(entry) for name, entry in document["tasks"].items()}
        if samples:
            tasks = _with_samples(samples_path(path), document["samples"]["sha256"], tasks)
        return Results(document["model"], document["tokenizer"], tasks, document["machine"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path} is damaged", f"{type(error).__name__}: {error}", "evaluate again") from None


def gather_results(folder: Path | str) -> Results:
    """All results that lie below a folder, of one model on many tasks or of one fine-tuned model for each.

    Raises DataError where there are none, for a task that is there twice, and as `load_results` does.
    """
    tasks: dict[str, TaskResult] = {}
    found: list[Results] = []
    where: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob("*.json")):
        if not samples_path(path).is_file():  # a model's config, a run's settings …
            continue
        found.append(load_results(path))
        for name, task in found[-1].tasks.items():
            if name in tasks:
                raise DataError(f"{name} is there twice", f"{where[name]} and {path}", "keep one of them in the folder")
            tasks[name], where[name] = task, path
    if not found:
        why = "no FILE.json of `seodang evaluate --out` lies below it"
        raise DataError(f"{folder} holds no results", why, 'give results; a model needs --task and --data, or --prompt')
    types = {one.machine.get("dtype") for one in found}
    return Results(str(folder), found[0].tokenizer, tasks, {"dtype": types.pop()} if len(types) == 1 else {})


def _with_samples(path: Path, sha256: str, tasks: dict[str, TaskResult]) -> dict[str, TaskResult]:
    if not path.is_file():
        raise DataError(f"{path} is missing", "the rows of the results lie there", "put it there again")
    if sha256_file(path) != sha256:
        raise DataError(f"{path} is damaged", "it does not have the SHA-256 it was written with", "evaluate again")
    rows: dict[str, list[Sample]] = {name: [] for name in tasks}
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            entry = json.loads(line)
            rows[entry.pop("task")].append(_sample_from_dict(entry))
    return {name: TaskResult(**{**_fields(task), "samples": tuple(rows[name])}) for name, task in tasks.items()}


def _sample_from_dict(entry: dict[str, Any]) -> Sample:
    outcomes = {name: Outcome(**values) for name, values in entry.pop("outcomes").items()}
    logprobs = tuple(-math.inf if value is None else value for value in entry.pop("logprobs"))
    return Sample(**entry, outcomes=outcomes, logprobs=logprobs)



def _task_to_dict(task: TaskResult) -> dict[str, Any]:
    values = _fields(task)
    del values["samples"]
    values["measurements"] = {name: entry.to_dict() for name, entry in task.measurements.items()}
    return _plain(values)


def _task_from_dict(values: dict[str, Any]) -> TaskResult:
    measurements = {}
    for name, entry in values["measurements"].items():  # a perplexity may have been infinite
        numbers = {key: math.inf if entry[key] is None else entry[key] for key in ("value", "low", "high")}
        measurements[name] = Measurement(**{**entry, **numbers, "notes": tuple(entry["notes"])})
    return TaskResult(**{**values, "measurements": measurements, "notes": tuple(values["notes"])})


def _fields(thing: Any) -> dict[str, Any]:
    return {entry.name: getattr(thing, entry.name) for entry in fields(thing)}


def _plain(value: Any) -> Any:
    """As JSON has it: numpy's numbers as numbers, tuples as lists; inf and nan, which it lacks, as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
