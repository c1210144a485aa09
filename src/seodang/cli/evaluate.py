"""`seodang evaluate`: a model on a task, with an interval and the scores of those who know nothing beside it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from seodang.cli.answering import ModelOptions, Paths, demonstrations
from seodang.cli.frame import parse, print_result, say
from seodang.errors import DataError, UsageError

if TYPE_CHECKING:
    from seodang.evaluation.results import TaskResult
    from seodang.evaluation.task import Task


@dataclass(kw_only=True)
class EvaluateConfig(ModelOptions):
    """Evaluate a model on the rows of a file: multiple choice, labels in words, perplexity, generated answers."""

    task: str
    """A built-in task (--task list names them), classify, entail, similar or choice for your own rows, or a FILE.py."""
    data: Paths = ()
    """File, folder or pattern of the task's rows; may be given several times."""
    limit: int | None = None
    """Only the first rows."""
    shots: Paths = ()
    """File of demonstrations, in the task's own layout; none of them may be a row that is asked."""
    k: Annotated[int | None, tyro.conf.arg(aliases=["-k"])] = None
    """Demonstrations before every question; 4 where --shots has them."""
    select: Literal["fixed", "random", "nearest"] = "fixed"
    """The first k of --shots, k at random for each row, or those whose vectors by the model itself are nearest."""
    seed: int = 0
    """Of random demonstrations."""
    balanced: bool = False
    """The labels of the demonstrations in turn."""
    overlap: Literal["refuse", "skip"] = "refuse"
    """What happens to a demonstration that is the row itself: an error, or the next one in its place."""
    template: Path | None = None
    """TOML file with other words: question, answers, description (docs/prompting.md)."""
    columns: tuple[str, ...] = ()
    """Columns of your own rows that are not found by their names: text=review, answers=a+b+c."""
    prompted: bool = False
    """Ask a fine-tuned model in words, where its class head would answer."""
    out: Path | None = None
    """Folder for TASK.json (scores, settings, hashes) and TASK.samples.jsonl (every row's prompt, answers, scores)."""
    batch_size: int = 16
    """Prompts that are answered together; never changes a score."""
    json: bool = False
    """Print the results as TASK.json holds them."""


def main(argv: list[str]) -> int:
    """Exit code 0, or 130 when it was interrupted and what was done is said; errors are raised."""
    if "list" in argv and "--task" in argv:
        return _list()
    config = parse(EvaluateConfig, argv, "seodang evaluate")
    if not config.data:
        raise UsageError("no rows to evaluate on", "the task's files are yours to name", "add --data FILE")
    if config.batch_size < 1:
        raise UsageError(f"batch_size = {config.batch_size}", "it must be 1 or more", "set --batch-size 1 or more")
    from seodang.data.tasks import Columns
    from seodang.evaluation.task import Shown

    columns = Columns.parse(config.columns)
    k = demonstrations(config.k, config.shots)
    shots = Shown(config.shots, k, config.select, config.balanced, config.seed, config.overlap) if k else None
    task = _task(config)
    lm = config.load()
    from seodang.evaluation.harness import INTERRUPTED, evaluate, results
    from seodang.evaluation.results import save_results

    start = time.perf_counter()
    found = evaluate(
        lm, task, config.data, columns=columns, limit=config.limit, shots=shots,
        prompted=config.prompted or config.template is not None, batch_size=config.batch_size, progress=_tell,
        keep=True,
    )  # fmt: skip
    whole = results(config.model, lm, [found], time.perf_counter() - start)
    for note in found.notes:
        say(f"note: {note}")
    if config.out is not None:
        path = free_place(config.out / f"{found.task}.json", config.model)
        save_results(whole, path)
        say(f"written: {path}")
    print_result(as_dict(found, whole.machine), config.json, table(found))
    return 130 if INTERRUPTED in found.settings else 0


def _task(config: EvaluateConfig) -> Task | str:
    """The task by its name, or in other words. Raises UsageError where it has none."""
    if config.template is None:
        return config.task
    from seodang.evaluation import tasks
    from seodang.evaluation.choosing import Choice
    from seodang.prompting.template import Template

    task = tasks.find(config.task)
    if not isinstance(task, Choice) or task.pairs is not None:
        raise UsageError(f"other words for {task.name}", "it has no answers to choose from", "leave --template away")
    return replace(task, template=Template.read(config.template))


def free_place(path: Path, model: str) -> Path:
    """Where results are written: over those of the same model, never over anything else, which keeps its file."""
    from seodang.evaluation.results import load_results

    def taken(place: Path) -> bool:
        try:
            return place.is_file() and load_results(place, samples=False).model != model
        except DataError:  # no results, or damaged ones: what was just computed is not lost for it
            return True

    numbered, number = path, 1
    while taken(numbered):
        number += 1
        numbered = path.with_stem(f"{path.stem}-{number}")
    return numbered


def as_dict(found: TaskResult, machine: dict[str, Any]) -> dict[str, Any]:
    """The JSON shape of one task's results, without its rows."""
    measurements = {name: one.to_dict() for name, one in found.measurements.items()}
    return {
        "task": found.task, "version": found.version, "n": found.n, "measurements": measurements,
        "settings": found.settings, "rows": found.rows, "prompts": found.prompts, "notes": list(found.notes),
        "machine": machine,
    }  # fmt: skip


def table(found: TaskResult) -> list[str]:
    """The scores for people: with their interval, and what the majority and a guess score."""
    chance = found.settings.get("chance")
    shots = found.settings.get("shots")
    shown = f", {shots['k']} demonstrations" if shots else ""
    lines = [
        f"{found.task} (version {found.version}), {found.n:,} rows{shown}",
        f"{'':<24}{'score':>10}{'95 % interval':>25}{'majority':>10}{'chance':>9}",
    ]
    for name, one in found.measurements.items():
        form = ".4f" if abs(one.value) < 100 else ".2f" if abs(one.value) < 1e6 else ".2e"
        interval = f"{one.low:{form}} to {one.high:{form}}"
        majority = "" if one.baseline is None else f"{one.baseline:.4f}"
        guess = f"{chance:.4f}" if chance is not None and one.metric == "accuracy" else ""
        lines.append(f"{name:<24}{one.value:>10{form}}{interval:>25}{majority:>10}{guess:>9}")
    return lines


def _tell(n: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{n:,} rows", end="", file=sys.stderr, flush=True)


def _list() -> int:
    from seodang.evaluation import tasks

    for name in tasks.names():
        task = tasks.find(name)
        print(f"{name:<20} {', '.join(task.metrics)}   {task.source}")
    return 0
