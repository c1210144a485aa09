"""`evaluate`: a model's answers to a task's rows, scored, with everything that made them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from seodang.data.labelled import Labelled, TaskSpec
from seodang.data.tasks import Columns, read_task
from seodang.data.tasks.published import ALIASES, GENERIC, TASKS, task_name
from seodang.errors import DataError, FitError, UsageError
from seodang.evaluation import tasks
from seodang.evaluation.choosing import Choice
from seodang.evaluation.classified import results_of
from seodang.evaluation.results import Results, Sample, TaskResult, fingerprint, fingerprint_of, summarize
from seodang.evaluation.task import Files, Item, Rows, Shown, Task
from seodang.evaluation.writing import Writing
from seodang.inference.classify import Cuts, Prediction, classified
from seodang.inference.language_model import LanguageModel
from seodang.inference.requests import continuations, generations, rolling
from seodang.prompting.asking import embedder, fitted
from seodang.prompting.template import Template

AT_ONCE = {"continuation": 256, "rolling": 16, "generate": 64}
"""Rows that are asked about together: their shared beginnings are computed once. Never changes a score."""
INTERRUPTED = "interrupted"
"""The setting of results that are of the first rows alone."""
INTERRUPTED_NOTE = "interrupted: the scores are of the first {:,} rows"


def evaluate(
    lm: LanguageModel,
    task: Task | str,
    files: Files,
    *,
    columns: Columns | None = None,
    limit: int | None = None,
    shots: Shown | None = None,
    prompted: bool = False,
    level: float = 0.95,
    batch_size: int = 16,
    progress: Callable[[int], None] = lambda n: None,
    keep: bool = False,
) -> TaskResult:
    """The scores of `lm` on the first `limit` rows of `files`, with 95 % intervals and the majority's score.

    task: a name (`tasks.names`), the path of a FILE.py, or a task. columns: those of a table, where they have other
    names. shots: demonstrations before every question.
    prompted: asks the language model where a fine-tuned one would answer its own task with its class head.
    batch_size: of what is generated. progress: is told how many rows are done. Rows are read and asked as they come;
    what stays of each is its sample. keep: Ctrl-C ends the evaluation with the scores of the rows that are done, marked
    as such; otherwise it is raised.
    Raises DataError for bad files and for a demonstration that is also a row to be asked, UsageError for a task that
    cannot be asked so.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit = {limit}", "at least one row must be evaluated", "set --limit 1 or more")
    spec = own_task(lm, task)
    if spec is not None and not prompted and shots is None:
        columns = columns or getattr(task, "columns", None)
        return by_head(
            lm, spec, files, columns=columns, limit=limit, level=level, batch_size=batch_size, progress=progress,
            keep=keep,
        )  # fmt: skip
    task = tasks.find(task) if isinstance(task, str) else task
    task = with_columns(task, columns) if columns else task
    if shots is not None:
        shots = replace(shots, fit=partial(_fitting, lm), embed=embedder(lm), limit=limit)
    rows = task.read(files, shots)
    if spec is not None:
        rows.notes.append("asked in words: the class head answers without --prompted, --template and --shots")
    samples: list[Sample] = []
    keys: list[str] = []
    chances: list[float | None] = []
    n_cut = n_short = n_dropped = 0
    for items in _chunks(islice(rows.items, limit), AT_ONCE[task.request]):
        try:
            found = ask(lm, task, items, batch_size=batch_size)
        except KeyboardInterrupt:
            if not keep or not samples:
                raise
            rows.settings[INTERRUPTED] = True
            rows.notes.append(INTERRUPTED_NOTE.format(len(samples)))
            break
        n_cut += sum(any(getattr(one, "n_cut", 0) for one in row) for row in found)
        n_short += sum(item.n_dropped > 0 for item in items)
        n_dropped += sum(item.n_dropped for item in items)
        for item, row in zip(items, found, strict=True):
            samples.append(task.sample(len(samples), item, row))
            keys.append(fingerprint_of(task.key(item)))
            chances.append(task.chance(item))
        progress(len(samples))
    if isinstance(task, Writing) and (length := longest_answer(lm, task)) < task.max_new_tokens:
        rows.notes.append(f"answers had {length} tokens at most: the context holds {lm.context_length}")
        rows.settings["max_new_tokens"] = length
    if n_dropped:
        rows.notes.append(f"the context is full: {n_dropped:,} demonstrations were dropped, in {n_short:,} rows")
    if not samples:
        raise DataError("no rows to evaluate", "the files hold none", "check --data")
    return _result(task, rows, samples, keys, chances, n_cut, level)


def ask(lm: LanguageModel, task: Task, items: Sequence[Item], *, batch_size: int = 16) -> list[list[Any]]:
    """What the model says to everything that is asked about each item."""
    flat = [asked for item in items for asked in item.asked]
    found: Sequence[Any]
    if task.request == "continuation":
        found = continuations(lm, flat, names=[item.where for item in items for _ in item.asked])
    elif task.request == "rolling":
        found = rolling(lm, flat)
    else:
        assert isinstance(task, Writing)
        length = longest_answer(lm, task)
        found = generations(lm, flat, task.until, length, batch_size=batch_size, temperature=0.0)
    answers = iter(found)
    return [list(islice(answers, len(item.asked))) for item in items]


def _fitting(
    lm: LanguageModel, template: Template, example: Labelled, shown: Sequence[Labelled], reserve: int
) -> list[Labelled]:
    """The demonstrations that fit; none before a question that is too long by itself and will be cut."""
    try:
        return fitted(lm, template, [example], [shown], reserve=min(reserve, lm.context_length // 2))[0][0]
    except FitError:
        return []


def with_columns(task: Task, columns: Columns) -> Task:
    """The task, read from other columns. Raises UsageError for one that has no columns of a table."""
    if not isinstance(task, Choice):
        raise UsageError(f"columns for {task.name}", "it reads its rows as they are", "leave --columns away")
    return replace(task, columns=columns)


def own_task(lm: LanguageModel, task: Task | str) -> TaskSpec | None:
    """What a model was fine-tuned for, where that is the task that is asked."""
    if lm.task is None:
        return None
    name = task if isinstance(task, str) else getattr(task, "reads", task.name)
    same = isinstance(task, str) and not task.endswith(".py") and name in (*TASKS, *GENERIC, *ALIASES)
    return lm.task if lm.task.name == (task_name(name) if same else name) else None


def by_head(
    lm: LanguageModel,
    spec: TaskSpec,
    files: Files,
    *,
    columns: Columns | None = None,
    limit: int | None = None,
    level: float = 0.95,
    batch_size: int = 16,
    progress: Callable[[int], None] = lambda n: None,
    keep: bool = False,
) -> TaskResult:
    """The scores of a fine-tuned model's class head on its own task, by the task's metrics; see `evaluate`."""
    data = read_task(spec.name, list(files), columns=columns, labels=spec.labels, labelled=True)
    examples = data.examples[:limit]
    found: list[Prediction] = []
    cuts = Cuts()
    try:
        for _, prediction in classified(lm, examples, batch_size=batch_size, cuts=cuts):
            found.append(prediction)
            progress(len(found))
    except KeyboardInterrupt:
        if not keep or not found:
            raise
    whole = results_of(spec, examples[: len(found)], found, model="", tokenizer="", level=level).tasks[spec.name]
    said = (*data.notes, *filter(None, [cuts.note]))
    if len(found) == len(examples):
        return replace(whole, notes=said)
    notes = (*said, INTERRUPTED_NOTE.format(len(found)))
    return replace(whole, notes=notes, settings={**whole.settings, INTERRUPTED: True})


def longest_answer(lm: LanguageModel, task: Writing) -> int:
    """Tokens that an answer may have: the task's, or half of a context that is too small for these."""
    return min(task.max_new_tokens, max(1, lm.context_length // 2))


def results(model: str, lm: LanguageModel, found: Iterable[TaskResult], seconds: float) -> Results:
    """The results of one model on some tasks, with the machine they were computed on."""
    named = {one.task: one for one in found}
    n = sum(one.n for one in named.values())
    weight = lm.model.output_weight
    machine = {
        "device": str(lm.device), "dtype": str(weight.dtype).removeprefix("torch."), "seconds": round(seconds, 3),
        "rows_per_second": round(n / seconds, 3) if seconds else None,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip
    return Results(model, lm.tokenizer.fingerprint(), named, machine)


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _result(
    task: Task, rows: Rows, samples: list[Sample], keys: list[str], chances: list[float | None], n_cut: int,
    level: float,
) -> TaskResult:  # fmt: skip
    settings = {**task.settings(), **rows.settings}
    known = [chance for chance in chances if chance is not None]
    if known:
        settings["chance"] = sum(known) / len(known)
    notes = [*rows.notes]
    if n_cut:
        notes.append(f"{n_cut:,} rows do not fit the context and lost the beginning of their prompt")
    metrics = dict(task.metrics)
    return summarize(
        task.name, task.version, samples, metrics, settings=settings, rows=fingerprint(*keys), notes=notes, level=level
    )

