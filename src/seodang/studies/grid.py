"""A grid of cells, each made in its own folder: what is finished is not made again, what was interrupted goes on.

    OUT/cells/NAME/cell.json     the cell's commands, written when it begins
    OUT/cells/NAME/result.json   what it measured, written when it is finished
    OUT/cells/NAME/…             its run, until it is finished (and after, with --keep-models)
    OUT/again/NAME/              where commands.sh makes it once more
"""

from __future__ import annotations

import gc
import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from seodang.errors import DataError, DivergedError, UsageError
from seodang.files import atomic_write, discard_folder, make_folder

Labels = Mapping[str, str | int]
RESULT = "result.json"
UNSAID = ("dry_run", "resume", "json", "quiet")
"""Options of a run that change nothing of its result."""


class Interrupted(Exception):
    """Somebody stopped a cell, and it is saved."""


@dataclass(frozen=True)
class Cell:
    """One place of the grid.

    name: its folder. labels: its columns in the table ("seed" among them). commands: what makes it, exactly.
    work: makes it in its folder, or goes on with it, and returns its measurements; raises Interrupted.
    estimate: about how many seconds it takes, asked in a dry run.
    tasks: where a model is only asked, what asks each task. Tasks can be added to such a cell when it is finished.
    made: and what makes that model, as it must stay the same.
    """

    name: str
    labels: Labels
    commands: tuple[str, ...]
    work: Callable[[Path], list[dict[str, Any]]] = field(repr=False)
    estimate: Callable[[], float | None] = field(default=lambda: None, repr=False)
    tasks: Mapping[str, str] = field(default_factory=dict)
    made: tuple[str, ...] = ()

    def is_of(self, stored: Mapping[str, Any]) -> bool:
        """Whether a cell.json is this cell's: made alike, and no task asked otherwise."""
        asked = stored.get("tasks", {})
        alike = all(asked.get(task, asks) == asks for task, asks in self.tasks.items())
        return alike and stored.get("commands") == self._makers

    def record(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Its cell.json, in the place of that of `before`."""
        tasks = {**before.get("tasks", {}), **self.tasks}
        return {"commands": self._makers, **({"tasks": tasks} if tasks else {})}

    @property
    def _makers(self) -> list[str]:
        return list(self.made if self.tasks else self.commands)


@dataclass(frozen=True)
class Grid:
    """Cells, and the study's folder."""

    out: Path
    cells: Sequence[Cell]
    keep_models: bool = False

    def folder(self, cell: Cell) -> Path:
        """Where a cell is made."""
        return cell_folder(self.out, cell.name)

    def result(self, cell: Cell) -> list[dict[str, Any]] | None:
        """What a finished cell measured: a list of rows, its labels among each; None if it is not finished, or was not
        asked all its tasks.

        Raises UsageError when the folder holds the cell of other commands, DataError when it is damaged.
        """
        folder = self.folder(cell)
        begun = _read(folder / "cell.json")
        if begun is not None and not cell.is_of(begun):
            raise UsageError(
                f"{folder} was made by other commands",
                "the study was begun with other options",
                "use the same options to go on, or another --out",
            )
        stored = _read(folder / RESULT)
        if stored is None or not cell.tasks:
            return None if stored is None else stored["rows"]
        rows = [row for row in stored["rows"] if row["task"] in cell.tasks]
        return rows if {row["task"] for row in rows} == set(cell.tasks) else None

    def run(self, say: Callable[[str], None] = lambda line: None) -> tuple[list[dict[str, Any]], bool]:
        """Make what is missing. Returns the rows of all finished cells, and whether somebody stopped it.

        A cell that diverges is said, and left for the next time. Ctrl-C saves the cell and ends the grid.
        """
        missing = [cell for cell in self.cells if self.result(cell) is None]  # a study that is refused stays as it was
        atomic_write(self.out / "commands.sh", self.script())
        done = len(self.cells) - len(missing)
        if done:
            say(f"{done} of {len(self.cells)} cells are finished already")
        for number, cell in enumerate(missing, start=done + 1):
            start = time.perf_counter()
            try:
                rows = self._make(cell)
            except DivergedError as error:
                say(f"[{number}/{len(self.cells)}] {cell.name}: {error.what}")
                continue
            except (Interrupted, KeyboardInterrupt):
                say(f"interrupted in {cell.name}; the same command goes on with it")
                return self.rows(), True
            last = {row["task"]: f"{row['task']} {row['score']:.4f}" for row in rows}
            scores = ", ".join(last.values())
            say(f"[{number}/{len(self.cells)}] {cell.name}: {scores} ({time.perf_counter() - start:.0f} s)")
        return self.rows(), False

    @property
    def finished(self) -> bool:
        """Whether every cell is."""
        return all(self.result(cell) is not None for cell in self.cells)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of all finished cells, in the grid's order."""
        return [row for cell in self.cells for row in self.result(cell) or ()]

    def script(self) -> str:
        """commands.sh: what makes each cell, one by one, from the folder in which the study was begun.

        They write beside the finished cells, whose folders hold runs already.
        """
        where = f"# What this study ran. Each cell's commands make it again, in {self.out / 'again'}."
        lines = ["#!/bin/sh", where, "set -e"]
        for cell in self.cells:
            labels = ", ".join(f"{name} {value}" for name, value in cell.labels.items())
            lines += ["", f"# {cell.name}: {labels}", *(self._again(cell, line) for line in cell.commands)]
        return "\n".join(lines) + "\n"

    def _again(self, cell: Cell, line: str) -> str:
        """A command with another folder for the cell's own; what it reads of other cells stays where it is."""
        here, there = self.folder(cell), self.out / "again" / cell.name
        words = shlex.split(line)
        return shlex.join(
            str(there / Path(word).relative_to(here)) if Path(word).is_relative_to(here) else word for word in words
        )

    def plan(self) -> list[str]:
        """The cells that are missing with their commands and estimates, for a dry run."""
        lines, total, known = [], 0.0, {}
        for cell in self.cells:
            if self.result(cell) is not None:
                lines.append(f"{cell.name}: finished")
                continue
            # seeds take the same time; tasks do not
            alike = tuple((name, value) for name, value in cell.labels.items() if name != "seed")
            if alike not in known:
                known[alike] = cell.estimate()
            seconds = known[alike]
            total += seconds or 0.0
            lines.append(f"{cell.name}: " + ("" if seconds is None else f"about {seconds:,.0f} s"))
            lines += [f"  {command}" for command in cell.commands]
        return [*lines, f"{len(self.cells)} cells, about {total:,.0f} s for what is missing"]

    def _make(self, cell: Cell) -> list[dict[str, Any]]:
        folder = make_folder(self.folder(cell))
        record = cell.record(_read(folder / "cell.json") or {})
        atomic_write(folder / "cell.json", json.dumps(record, ensure_ascii=False) + "\n")
        start = time.perf_counter()
        rows = [{**cell.labels, **row} for row in cell.work(folder)]
        gc.collect()  # a model and its optimiser refer to each other
        before = (_read(folder / RESULT) or {"rows": []})["rows"]  # of tasks that it was asked another time
        kept = [row for row in before if row["task"] not in cell.tasks]
        stored = {"rows": [*kept, *rows], "seconds": round(time.perf_counter() - start, 1)}
        atomic_write(folder / RESULT, json.dumps(stored, ensure_ascii=False, indent=1) + "\n")
        if not self.keep_models:
            _discard_models(folder)
        return rows


def cell_folder(out: Path, name: str) -> Path:
    """Where the cell of that name is made in the study `out`."""
    return out / "cells" / name


def _read(path: Path) -> dict[str, Any] | None:
    try:
        stored = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{path} is damaged", str(error), "remove it; its cell is then made again") from None
    return stored if isinstance(stored, dict) else {}


def _discard_models(folder: Path) -> None:
    """Remove weights, checkpoints and token shards of a finished cell; small files stay."""
    for place in sorted(folder.rglob("*")):
        if place.is_dir() and place.name in ("checkpoints", "shards"):
            discard_folder(place)
    for place in folder.rglob("*.safetensors"):
        place.unlink()


def begun(folder: Path) -> bool:
    """Whether a run's folder has anything to go on with."""
    return (folder / "checkpoints").is_dir() or (folder / "config.json").exists()


def command(verb: str, config: Any) -> str:
    """The command of a config (a dataclass); options that are the defaults are left out."""
    words = ["seodang", *verb.split()]
    for option in fields(config):
        value = getattr(config, option.name)
        default = option.default_factory() if option.default_factory is not MISSING else option.default
        if option.name in UNSAID or value == default:
            continue
        flag = f"--{option.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            words += [flag, *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def by_task(given: Sequence[str], flag: str) -> dict[str, tuple[Path, ...]]:
    """NAME=PATH … as the files of each task. Raises UsageError for one that is not written so."""
    found: dict[str, tuple[Path, ...]] = {}
    for entry in given:
        name, equals, path = entry.partition("=")
        if not (name and equals and path):
            raise UsageError(f"--{flag} {entry}", "it does not say whose file it is", f"write --{flag} sst2={entry}")
        found[name] = (*found.get(name, ()), Path(path))
    return found
