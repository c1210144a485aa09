"""GPT-1's zero-shot heuristics along pre-training, Transformer against LSTM (Radford et al. 2018, fig. 2 right)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seodang.checkpoints.resolve import load_model
from seodang.checkpoints.training import checkpoint_folders
from seodang.data.labelled import Labelled
from seodang.data.tasks import read_task
from seodang.errors import DataError, UsageError, suggest
from seodang.evaluation.intervals import measure
from seodang.files import atomic_write
from seodang.inference import requests
from seodang.inference.language_model import LanguageModel, as_dtype
from seodang.models.sizes import SIZES
from seodang.recipes.config import PretrainConfig
from seodang.recipes.pretrain import pretrain
from seodang.recipes.run import RUN
from seodang.studies.config import ZeroShotConfig
from seodang.studies.grid import RESULT, Cell, Grid, Interrupted, begun, by_task, cell_folder, command
from seodang.studies.heuristics import classes, predict
from seodang.studies.pronouns import read_pronouns
from seodang.studies.published import SCALES, Scale
from seodang.studies.study import Study
from seodang.studies.zeroshot_report import draw, report
from seodang.training.machine import choose_device


@dataclass(frozen=True)
class Questions:
    """A task's rows, the names of its classes, and the rows that CoLA's threshold is found on."""

    task: str
    examples: list[Labelled]
    labels: tuple[str, ...]
    fitted: list[Labelled]


class ModelScorer:
    """A language model as the heuristics ask it."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    def continuations(self, pairs: Sequence[tuple[str, str]]) -> list[requests.Continuation]:
        """log P(second | first) of each pair."""
        return requests.continuations(self.model, pairs)

    def rolling(self, texts: Sequence[str]) -> list[requests.Rolling]:
        """log P of each text."""
        return requests.rolling(self.model, texts)


def zeroshot(config: ZeroShotConfig) -> Study:
    """The study of `config`: its grid, and how its rows become tables and a figure."""
    _check_numbers(config)
    scales = scales_of(config)
    questions = [] if config.dry_run else questions_of(config)
    shared = config.tokenizer
    cells = []
    for seed in range(config.seeds):
        for kind, name in (("transformer", config.transformer), ("lstm", config.lstm)):
            if name == "none":
                continue
            cells.append(_cell(config, kind, name, seed, shared, questions))
            shared = shared or (str(cell_folder(config.out, cells[0].name)) if name in SIZES else name)
    paper = {"scales": {task: vars(scale) for task, scale in scales.items()}}
    return Study(
        Grid(config.out, _once(cells), config.keep_models),
        lambda rows: report(rows, scales),
        lambda found: draw(config.out / "figure.png", found, scales),
        paper,
    )


def _check_numbers(config: ZeroShotConfig) -> None:
    """Raises UsageError for what would only be noticed when a model is trained already."""
    for option, least, why in (
        ("rows", 0, "0 is all of a task's rows"),
        ("points", 0, "0 is all checkpoints of a finished run"),
        ("seeds", 1, "there must be a run"),
    ):
        if getattr(config, option) < least:
            raise UsageError(f"--{option} {getattr(config, option)}", why, f"use --{option} {least} or more")


def _once(cells: list[Cell]) -> list[Cell]:
    """A finished run is looked at once, whatever the number of seeds."""
    return list({cell.name: cell for cell in cells}.values())


def scales_of(config: ZeroShotConfig) -> dict[str, Scale]:
    """Of every task that is asked, what is 0 and what is 1. Raises UsageError for a task without a heuristic."""
    found = {}
    asked = by_task(config.eval, "eval")
    ceilings = {name: paths[0] for name, paths in by_task(config.ceiling, "ceiling").items()}
    for name in {**asked, **ceilings}:
        if name not in SCALES or name not in asked:
            why = "GPT-1's paper has no heuristic for it" if name not in SCALES else "the study does not ask it"
            raise UsageError(f"the task {name!r}", why, suggest(name, SCALES if name not in SCALES else asked))
        found[name] = SCALES[name]
        if name in ceilings:
            try:
                value = float(str(ceilings[name]))
            except ValueError:
                raise UsageError(f"--ceiling {name}={ceilings[name]}", "it is no number", f"write {name}=0.9") from None
            if value <= found[name].random:
                why = f"a random guess reaches {found[name].random:g}"
                raise UsageError(f"--ceiling {name}={value:g}", why, "choose a higher score")
            found[name] = replace(found[name], ceiling=value, source="as given")
    return found


def questions_of(config: ZeroShotConfig) -> list[Questions]:
    """The rows of every task. Raises UsageError for CoLA without --train rows, DataError (file:row) for wrong files
    and for rows without labels."""
    train = by_task(config.train, "train")
    found = []
    for task, files in by_task(config.eval, "eval").items():
        if task == "cola" and task not in train:
            raise UsageError(
                "cola without --train cola=FILE",
                "its sentences are judged by a threshold, which is found on other rows",
                "add --train cola=in_domain_train.tsv",
            )
        if task == "pronouns":
            found.append(Questions(task, spread(read_pronouns(files), config.rows), (), []))
            continue
        data = read_task(task, files, labelled=True)
        fitted = read_task(task, train[task], labelled=True).examples if task == "cola" else []
        found.append(Questions(task, spread(data.examples, config.rows), data.spec.labels, spread(fitted, config.rows)))
    return found


def spread(items: list[Any], n: int) -> list[Any]:
    """`n` of the items, evenly spaced; all of them where n is 0 or there are no more."""
    if not n or len(items) <= n:
        return items
    return [items[place * len(items) // n] for place in range(n)]


def _cell(
    config: ZeroShotConfig, kind: str, name: str, seed: int, tokenizer: str | None, questions: list[Questions]
) -> Cell:
    """Pre-train one model, unless it is a run already, and ask it at every checkpoint."""
    if name not in SIZES:
        run = Path(name)
        if not checkpoint_folders(run):
            raise UsageError(
                f"{name} is neither a size nor a run with checkpoints",
                "the study follows a model along its pre-training",
                "seodang pretrain … --save-every 500 --keep 1000, or name a size such as gpt1-mini and its --data",
            )
        cell = f"{kind}-{run.resolve().name}"
        out = cell_folder(config.out, cell)
        labels: dict[str, str | int] = {"model": kind, "seed": 0}

        def look(folder: Path) -> list[dict[str, Any]]:
            return _ask(config, run, folder, questions)

        ask, tasks = _ask_commands(config, kind, run, out)
        return Cell(cell, labels, (ask,), look, tasks=tasks, made=(str(run),))
    cell = f"{kind}-seed-{seed}"
    plan = _pretraining(config, name, seed, tokenizer, cell_folder(config.out, cell))

    def work(folder: Path) -> list[dict[str, Any]]:
        if not _trained(folder) and pretrain(replace(plan, out=folder, resume=begun(folder))).summary.interrupted:
            raise Interrupted
        return _ask(config, folder, folder, questions)

    def estimate() -> float | None:
        if _trained(plan.out):
            return None
        named = plan.tokenizer if plan.tokenizer is not None and Path(plan.tokenizer).exists() else None
        dry = replace(plan, out=plan.out / "plan", dry_run=True, tokenizer=named)
        seconds = pretrain(dry).facts.get("estimated_seconds")
        return None if seconds is None else float(seconds)

    train = command("pretrain", plan)
    ask, tasks = _ask_commands(config, kind, plan.out, plan.out / "asked-again")
    found = Cell(cell, {"model": kind, "seed": seed}, (train, ask), work, estimate, tasks, (train,))
    if Grid(config.out, [found]).result(found) is None:
        _trained(plan.out)  # that it cannot be asked any more is said before another cell is made
    return found


def _trained(folder: Path) -> bool:
    """Whether a cell was finished and is only asked more. Raises UsageError when its checkpoints are gone."""
    if not (folder / RESULT).exists():
        return False
    if not checkpoint_folders(folder):
        raise UsageError(
            f"{folder} has no checkpoints to ask",
            "they were removed when it was finished, and a task was added to --eval since",
            "leave the task out, or use another --out; with --keep-models tasks can be added later",
        )
    return True


def _pretraining(
    config: ZeroShotConfig, size: str, seed: int, tokenizer: str | None, out: Path
) -> PretrainConfig:
    if not config.data or config.steps is None:
        raise UsageError(
            f"pre-training of {size} without {'--steps' if config.data else '--data'}",
            "a size has no trained weights, and the study trains it",
            "give --data TEXT --steps N, or a finished run in the size's place",
        )
    every = max(1, config.steps // max(1, config.points))
    return PretrainConfig(
        model=size, data=config.data, out=out, tokenizer=tokenizer, vocab_size=None if tokenizer else config.vocab_size,
        steps=config.steps, batch_tokens=config.batch_tokens, max_length=config.max_length,
        micro_batch=config.micro_batch, seed=seed, device=config.device, dtype=config.dtype, save_every=every,
        keep=config.steps // every + 1, quiet=True,
    )  # fmt: skip


def _ask_commands(config: ZeroShotConfig, kind: str, run: Path, out: Path) -> tuple[str, dict[str, str]]:
    """The study of the run alone, and that of each task alone, without what changes the figure only."""
    models = {"transformer": "none", "lstm": "none", kind: str(run)}
    pretraining = {"data": (), "tokenizer": None, "vocab_size": None, "steps": None, "batch_tokens": None, "seeds": 1}
    plan = replace(config, out=out, keep_models=False, **models, **pretraining)  # type: ignore[arg-type]
    tasks = {}
    for task in by_task(config.eval, "eval"):
        asked, fitted = (
            tuple(entry for entry in entries if entry.partition("=")[0] == task)
            for entries in (config.eval, config.train if task == "cola" else ())
        )
        tasks[task] = command("study zeroshot", replace(plan, eval=asked, train=fitted, ceiling=()))
    return command("study zeroshot", plan), tasks


@dataclass(frozen=True)
class Start:
    """How a run drew its fresh weights."""

    seed: int
    zero_residual: bool


def start_of(run: Path) -> Start | None:
    """What the run began with; None where that was a trained model, or where no run.json says it.

    Raises DataError for a damaged run.json.
    """
    try:
        options = json.loads((run / RUN).read_text("utf-8"))["options"]
        if options["model"] not in SIZES and not options.get("from_scratch"):
            return None
        return Start(int(options["seed"]), bool(options.get("zero_init")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise DataError(f"{run / RUN} is damaged", why, "restore it, or remove it: step 0 is then left out") from None


def _ask(config: ZeroShotConfig, run: Path, folder: Path, questions: list[Questions]) -> list[dict[str, Any]]:
    """Rows of the model before its first step, if it was a fresh one, and of each checkpoint; what was asked already is
    read back."""
    checkpoints = spread(checkpoint_folders(run), config.points)
    last = checkpoint_folders(run)[-1]
    checkpoints = checkpoints if last in checkpoints else [*checkpoints[:-1], last]
    start = start_of(run)
    places: list[tuple[int, Path | None]] = [(int(place.name.rpartition("-")[2]), place) for place in checkpoints]
    rows = []
    for step, place in places if start is None else [(0, None), *places]:
        files = {entry.task: folder / "scores" / f"step-{step:08d}-{entry.task}.json" for entry in questions}
        missing = [entry for entry in questions if not files[entry.task].exists()]
        rows += [json.loads(file.read_text("utf-8")) for file in files.values() if file.exists()]
        if not missing:
            continue
        fresh = vars(start) if place is None and start is not None else {}
        loaded = load_model(
            str(place or last), from_scratch=place is None, dtype=as_dtype(config.dtype),
            device=choose_device(config.device), **fresh,
        )  # fmt: skip
        model = LanguageModel(loaded.model, loaded.tokenizer, loaded.generation, loaded.source)
        for row in ask(model, missing):
            rows.append({"step": step, **row})
            atomic_write(files[row["task"]], json.dumps(rows[-1], ensure_ascii=False) + "\n")
    return rows


def ask(model: LanguageModel, questions: Sequence[Questions]) -> list[dict[str, Any]]:
    """Each task's score by its heuristic, as a row of the grid."""
    rows = []
    for entry in questions:
        predicted = predict(entry.task, ModelScorer(model), entry.examples, entry.labels, entry.fitted)
        found = measure(predicted.metric, predicted.predictions, classes(entry.examples))
        rows.append(
            {
                "task": entry.task, "measure": predicted.metric, "score": found.value, "low": found.low,
                "high": found.high, "n": found.n, "baseline": found.baseline,
            }  # fmt: skip
        )
    return rows
