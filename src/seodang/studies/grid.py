"""A grid of cells, each made in its own folder: what is finished is not made again, what was interrupted goes on.

    OUT/cells/NAME/cell.json     the cell's commands, written when it begins
    OUT/cells/NAME/result.json   what it measured, written when it is finished
    OUT/cells/NAME/…             its run, until it is finished (and after, with --keep-models)
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
    """

    name: str
    labels: Labels
    commands: tuple[str, ...]
    work: Callable[[Path], list[dict[str, Any]]] = field(repr=False)
    estimate: Callable[[], float | None] = field(default=lambda: None, repr=False)


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
        """What a finished cell measured: a list of rows, its labels among each; None if it is not finished.

        Raises UsageError when the folder holds the cell of other commands, DataError when it is damaged.
        """
        folder = self.folder(cell)
        begun = _read(folder / "cell.json")
        if begun is not None and begun.get("commands") != list(cell.commands):
            raise UsageError(
                f"{folder} was made by other commands",
                "the study was begun with other options",
                "use the same options to go on, or another --out",
            )
        stored = _read(folder / "result.json")
        return None if stored is None else stored["rows"]

    def run(self, say: Callable[[str], None] = lambda line: None) -> tuple[list[dict[str, Any]], bool]:
        """Make what is missing. Returns the rows of all finished cells, and whether somebody stopped it.

        A cell that diverges is said, and left for the next time. Ctrl-C saves the cell and ends the grid.
        """
        atomic_write(self.out / "commands.sh", self.script())
        missing = [cell for cell in self.cells if self.result(cell) is None]
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
        """commands.sh: what makes each cell, one by one, from the folder in which the study was begun."""
        lines = ["#!/bin/sh", "# What this study ran; every cell can be made again by its own commands.", "set -e"]
        for cell in self.cells:
            labels = ", ".join(f"{name} {value}" for name, value in cell.labels.items())
            lines += ["", f"# {cell.name}: {labels}", *cell.commands]
        return "\n".join(lines) + "\n"

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
        atomic_write(folder / "cell.json", json.dumps({"commands": list(cell.commands)}, ensure_ascii=False) + "\n")
        start = time.perf_counter()
        rows = [{**cell.labels, **row} for row in cell.work(folder)]
        gc.collect()  # a model and its optimiser refer to each other
        stored = {"rows": rows, "seconds": round(time.perf_counter() - start, 1)}
        atomic_write(folder / "result.json", json.dumps(stored, ensure_ascii=False, indent=1) + "\n")
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
