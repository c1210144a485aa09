"""Tables by hand: seeds together, places in words, and the files."""

from __future__ import annotations

import csv
import json
import sys

import pytest

from seodang.studies.figures import Line, draw_bars, draw_lines
from seodang.studies.tables import across, in_words, markdown, seeds_in_words, summarise, write_tables


def row(kind: str, seed: int, score: float, task: str = "sst2", baseline: float | None = 0.5) -> dict:
    return {"kind": kind, "seed": seed, "task": task, "measure": "accuracy", "score": score, "low": score - 0.1,
            "high": score + 0.1, "n": 20, "baseline": baseline}  # fmt: skip


ROWS = [row("a", 0, 0.6), row("b", 0, 0.5), row("a", 1, 0.8), row("a", 0, 0.25, "race", None)]


def test_seeds_are_put_together():
    first, second, third = summarise(ROWS, ["kind"])
    assert (first.labels, first.task, first.n_seeds) == ({"kind": "a"}, "sst2", 2)
    assert (first.score, first.lowest, first.highest) == pytest.approx((0.7, 0.6, 0.8))
    assert in_words(first) == "70.0 (60.0 to 80.0)"
    assert in_words(second) == "50.0 (40.0 to 60.0)"  # one seed: the interval over the rows
    assert (third.task, in_words(third), in_words(None)) == ("race", "25.0 (15.0 to 35.0)", "–")
    assert "up to 2 seeds" in seeds_in_words([first]) and "of one seed" in seeds_in_words([second])


def test_a_table_across_tasks():
    head, rows = across(summarise(ROWS, ["kind"]), "kind")
    assert head == ["kind", "sst2 (accuracy)", "race (accuracy)"]
    assert [line[0] for line in rows] == ["a", "b", "most frequent class"]
    assert rows[1][2] == "–" and rows[2][1:] == ["50.0", "–"]
    assert markdown(["x", "long"], [["1", "2"]]) == ["| x | long |", "|---|------|", "| 1 | 2    |"]


def test_files(tmp_path):
    summaries = summarise(ROWS, ["kind"])
    write_tables(tmp_path, ["# title"], summaries, ROWS, scales={"sst2": 1})
    assert (tmp_path / "table.md").read_text() == "# title\n"
    with open(tmp_path / "table.csv", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["kind"] for line in lines] == ["a", "b", "a"] and float(lines[0]["score"]) == pytest.approx(0.7)
    stored = json.loads((tmp_path / "table.json").read_text())
    assert stored["cells"] == ROWS and stored["scales"] == {"sst2": 1} and stored["places"][1]["score"] == 0.5


def test_figures(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    line = Line("a", [0, 1], [0.1, 0.2], [0.0, 0.1], [0.2, 0.3])
    for path in (
        draw_lines(tmp_path / "lines.png", [line], "x", "y", whole_x=True),
        draw_bars(tmp_path / "bars.png", ["one", "two"], [line, line], "y"),
    ):
        assert path is not None and path.read_bytes()[:4] == b"\x89PNG"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert draw_lines(tmp_path / "no.png", [line], "x", "y") is None and not (tmp_path / "no.png").exists()
    assert draw_bars(tmp_path / "no.png", ["one", "two"], [line], "y") is None
