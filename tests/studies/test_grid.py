"""The grid: what is finished is skipped, what was stopped goes on, and its commands make the same runs."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from seodang.cli.frame import parse
from seodang.errors import DataError, DivergedError, UsageError
from seodang.recipes.config import PretrainConfig
from seodang.studies.grid import Cell, Grid, Interrupted, by_task, command


class Works:
    """Cells that count how often they are made; the one named in `stop` raises once."""

    def __init__(self, stop: str = "", error: BaseException | None = None) -> None:
        self.made: list[str] = []
        self.stop, self.error = stop, error

    def cells(self, names: str, option: str = "") -> list[Cell]:
        return [Cell(name, {"kind": name, "seed": 0}, (f"make {name}{option}",), self.work(name)) for name in names]

    def work(self, name: str):
        def run(folder: Path):
            self.made.append(name)
            (folder / "model.safetensors").write_bytes(b"weights")
            (folder / "checkpoints" / "step-1").mkdir(parents=True, exist_ok=True)
            (folder / "log.txt").write_text(name)
            if name == self.stop and self.error is not None:
                error, self.error = self.error, None
                raise error
            return [{"task": "t", "measure": "accuracy", "score": ord(name) / 100}]

        return run


def test_finished_cells_are_not_made_again(tmp_path):
    works = Works()
    rows, interrupted = Grid(tmp_path, works.cells("ab")).run()
    assert works.made == ["a", "b"] and not interrupted
    assert rows[0] == {"kind": "a", "seed": 0, "task": "t", "measure": "accuracy", "score": 0.97}
    again, _ = Grid(tmp_path, works.cells("abc")).run()
    assert works.made == ["a", "b", "c"] and again[:2] == rows


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted()])
def test_a_stopped_grid_goes_on(tmp_path, error):
    works, said = Works("b", error), []
    rows, interrupted = Grid(tmp_path, works.cells("abc")).run(said.append)
    assert interrupted and [row["kind"] for row in rows] == ["a"] and "goes on" in said[-1]
    assert (tmp_path / "cells" / "b" / "checkpoints").exists()  # what it can go on with
    grid = Grid(tmp_path, works.cells("abc"))
    assert not grid.finished
    rows, interrupted = grid.run(said.append)
    assert works.made == ["a", "b", "b", "c"] and not interrupted and len(rows) == 3 and grid.finished


def test_a_diverged_cell_stops_nothing(tmp_path):
    works, said = Works("a", DivergedError("the loss is nan")), []
    grid = Grid(tmp_path, works.cells("ab"))
    rows, _ = grid.run(said.append)
    assert [row["kind"] for row in rows] == ["b"] and not grid.finished and "nan" in said[0]
    assert len(grid.run()[0]) == 2


def test_models_of_finished_cells_go(tmp_path):
    Grid(tmp_path, Works().cells("a")).run()
    Grid(tmp_path, Works().cells("b"), keep_models=True).run()
    left = {path.name for path in (tmp_path / "cells" / "a").iterdir()}
    assert left == {"cell.json", "result.json", "log.txt"}
    assert {"model.safetensors", "checkpoints"} <= {path.name for path in (tmp_path / "cells" / "b").iterdir()}


def test_other_options_need_another_folder(tmp_path):
    Grid(tmp_path, Works().cells("a")).run()
    with pytest.raises(UsageError, match="other commands"):
        Grid(tmp_path, Works().cells("a", " --lr 1")).run()
    assert "--lr" not in (tmp_path / "commands.sh").read_text()
    (tmp_path / "cells" / "a" / "result.json").write_text("{")
    with pytest.raises(DataError, match="result.json is damaged"):
        Grid(tmp_path, Works().cells("a")).run()


def test_tasks_are_added_to_a_finished_cell(tmp_path):
    made = []

    def grid(asks: dict[str, str], model: str = "m") -> Grid:
        def work(folder: Path):
            made.append(sorted(asks))
            return [{"task": task, "measure": "accuracy", "score": 0.5} for task in asks]

        return Grid(tmp_path, [Cell("a", {"seed": 0}, ("train", "ask"), work, tasks=asks, made=(model,))])

    def tasks(rows) -> list[str]:
        return [row["task"] for row in rows]

    assert tasks(grid({"x": "ask x"}).run()[0]) == ["x"]
    assert tasks(grid({"y": "ask y"}).run()[0]) == ["y"] and tasks(grid({"x": "ask x"}).rows()) == ["x"]
    assert tasks(grid({"x": "ask x", "y": "ask y"}).run()[0]) == ["x", "y"] and made == [["x"], ["y"]]
    for other in (grid({"x": "ask x otherwise"}), grid({"z": "ask z"}, model="n")):
        with pytest.raises(UsageError, match="other commands"):
            other.run()


def test_the_script_makes_cells_elsewhere(tmp_path):
    here = tmp_path / "a study" / "cells"
    lines = (shlex.join(["make", "--out", str(here / "a"), "--from", str(here / "ab"), "x"]), f"look '{here}/a/more'")
    script = Grid(tmp_path / "a study", [Cell("a", {"seed": 0}, lines, lambda folder: [])]).script().splitlines()
    again = str(tmp_path / "a study" / "again" / "a")
    assert shlex.split(script[-2]) == ["make", "--out", again, "--from", str(here / "ab"), "x"]
    assert shlex.split(script[-1]) == ["look", f"{again}/more"]


def test_the_script_and_the_plan(tmp_path):
    def cell(seed: int) -> Cell:
        return Cell(f"a{seed}", {"kind": "a", "seed": seed}, (f"make {seed}",), lambda folder: [], lambda: 2.5)

    grid = Grid(tmp_path, [cell(0), cell(1)])
    assert grid.plan()[-1] == "2 cells, about 5 s for what is missing"
    assert [line for line in grid.plan() if "make" in line] == ["  make 0", "  make 1"]
    grid.run()
    script = (tmp_path / "commands.sh").read_text()
    assert script.startswith("#!/bin/sh\n") and "\n# a1: kind a, seed 1\nmake 1\n" in script


def test_a_command_makes_the_config_again(tmp_path):
    config = PretrainConfig(
        model="gpt2-mini", data=(Path("a b.txt"), Path("c.txt")), out=tmp_path, steps=5, lr=1e-3, from_scratch=True,
        document_mask=False, sample=("it's", "x"), quiet=True, save_every=2,
    )  # fmt: skip
    words = shlex.split(command("pretrain", config))
    assert words[:2] == ["seodang", "pretrain"] and "--quiet" not in words
    config.quiet = False
    assert parse(PretrainConfig, words[2:], "seodang pretrain") == config


def test_files_of_tasks():
    assert by_task(["a=x", "b=y=z", "a=w"], "train") == {"a": (Path("x"), Path("w")), "b": (Path("y=z"),)}
    for wrong in ("a", "=x", "a="):
        with pytest.raises(UsageError, match="--train"):
            by_task([wrong], "train")


def test_cells_keep_what_they_measured(tmp_path):
    Grid(tmp_path, Works().cells("a")).run()
    stored = json.loads((tmp_path / "cells" / "a" / "result.json").read_text())
    assert stored["rows"][0]["score"] == 0.97 and stored["seconds"] >= 0
