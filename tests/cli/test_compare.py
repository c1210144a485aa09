"""`seodang compare` through the front door."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seodang.cli.main import main
from seodang.evaluation.results import save_results
from tests.evaluation.test_compare import results, task


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two results on the same rows, and one with other settings."""
    found = {"a": task([0] * 8), "b": task([1] * 6 + [0] * 2), "c": task([0] * 8, shots=4)}
    for name, entry in found.items():
        save_results(results(name, entry), tmp_path / f"{name}.json")
    return [str(tmp_path / f"{name}.json") for name in found]


def test_results_as_json(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *files[:2], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["models"] == files[:2]
    (row,) = found["rows"]
    assert (row["task"], row["measurement"]) == ("boolq", "accuracy")
    assert row["differences"][0]["difference"] == 0.75 and row["differences"][0]["p"] == 2 / 64


def test_results_as_a_table(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *files[:2]]) == 0
    out = capsys.readouterr().out
    for expected in ("accuracy of 8 rows", "0.2500", "1.0000", "+0.7500", "p 0.0312", "mcnemar, 6 rows", "majority"):
        assert expected in out
    assert "Holm" not in out
    assert main(["compare", *files[:2], files[0]]) == 0
    assert "0.0312 (0.0625)" in capsys.readouterr().out


def test_unlike_settings_are_refused(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", files[0], files[2]]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "shots: 0 and 4" in err and err.count("\n") == 3


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["a.json"], 2), (["a.json", "b.json"], 3)])
def test_mistakes(argv: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *argv]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 3
