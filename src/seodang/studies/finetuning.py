"""Cells that fine-tune a model on a task and measure it: what transfer and ablation are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from seodang.data.tasks.published import GENERIC
from seodang.errors import UsageError
from seodang.evaluation.results import load_results
from seodang.recipes.config import FinetuneConfig
from seodang.recipes.finetune import EVALUATION, finetune
from seodang.studies.config import FinetuningStudyConfig
from seodang.studies.grid import Cell, Interrupted, begun, by_task, cell_folder, command


def tasks_of(config: FinetuningStudyConfig) -> dict[str, tuple[tuple[Path, ...], tuple[Path, ...]]]:
    """Task → its training and evaluation files. Raises UsageError where one has not both."""
    train, asked = by_task(config.train, "train"), by_task(config.eval, "eval")
    for name in {**train, **asked}:
        if name not in train or name not in asked:
            flag = "--eval" if name in train else "--train"
            why = "every task is trained and evaluated"
            raise UsageError(f"{name} has no {flag} file", why, f"add {flag} {name}=FILE")
    if config.seeds < 1:
        raise UsageError(f"--seeds {config.seeds}", "there must be a run", "use --seeds 1 or more")
    return {name: (train[name], asked[name]) for name in train}


def finetuning_cell(
    config: FinetuningStudyConfig, name: str, labels: Mapping[str, str | int], task: str, **changes: Any
) -> Cell:
    """One fine-tuning run of `task` as a cell; `changes` are its options of `seodang finetune`, with the model.

    `labels`: its columns beside the task.
    """
    train, asked = tasks_of(config)[task]
    shared: dict[str, Any] = {
        option: value
        for option in ("epochs", "steps", "batch_rows", "lr", "aux_weight", "max_length", "micro_batch")
        if (value := getattr(config, option)) is not None
    }
    if task in GENERIC:
        shared["columns"] = config.columns
    run = FinetuneConfig(
        **{
            "task": task, "data": train, "eval": asked, "out": cell_folder(config.out, name),
            "device": config.device, "dtype": config.dtype, "keep": 1, "quiet": True, **shared, **changes,
        }  # fmt: skip
    )

    def work(folder: Path) -> list[dict[str, Any]]:
        result = finetune(replace(run, out=folder, resume=begun(folder)))
        if result.summary.interrupted:
            raise Interrupted
        return measured(folder / EVALUATION, task)

    def estimate() -> float | None:
        seconds = finetune(replace(run, out=run.out / "plan", dry_run=True)).facts.get("estimated_seconds")
        return None if seconds is None else float(seconds)

    return Cell(name, {"task": task, **labels}, (command("finetune", run),), work, estimate)


def measured(path: Path, task: str) -> list[dict[str, Any]]:
    """The main metric of an evaluation's file, as a row of the grid."""
    (found,) = load_results(path, samples=False).tasks.values()
    name, entry = next(iter(found.measurements.items()))
    return [
        {
            "task": task, "measure": name, "score": entry.value, "low": entry.low, "high": entry.high, "n": entry.n,
            "baseline": entry.baseline,
        }  # fmt: skip
    ]
