"""`seodang data` through the front door."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from seodang.cli.main import main


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"question {i}", "completion": "답"} for i in range(30)]
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return file


def test_check_passes_and_fails(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(rows)]) == 0
    assert "pair 30" in capsys.readouterr().out
    assert main(["data", "check", str(rows), "--max-length", "5", "--eval", str(rows), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["too_long"]["count"] == 30 and result["evaluation"]["same_rows"]["count"] == 30
    with open(rows, "a") as stream:
        stream.write("{broken\n")
    assert main(["data", "check", str(rows)]) == 3
    assert f"{rows}:31 is broken JSON" in capsys.readouterr().out


def test_show_split_and_stats(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", str(rows), "-n", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("assistant: 답") == 2 and f"{rows}:1" in out
    assert main(["data", "split", str(rows), "--out", str(tmp_path / "parts"), "--eval-fraction", "0.2"]) == 0
    assert len((tmp_path / "parts" / "eval.jsonl").read_text("utf-8").splitlines()) == 6
    capsys.readouterr()
    assert main(["data", "stats", str(rows), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["rows"] == 30


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["check", "none.jsonl"], 3, "none.jsonl does not exist"),
        (["check"], 2, "no files"),
        (["show", "rows.jsonl", "--mask"], 2, "--mask needs a tokenizer"),
        (["chekc", "rows.jsonl"], 2, "did you mean 'check'"),
        (["split", "rows.jsonl", "--out", ".", "--eval-fraction", "3"], 2, "--eval-fraction 3"),
        (["stats", "rows.jsonl", "--tokeniser", "x"], 2, "--tokenizer"),
        (["stats", "rows.jsonl", "--tokenizer", "x", "--model", "y"], 2, "both name a tokenizer"),
    ],
)
def test_mistakes_are_three_lines(
    rows: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(rows.parent)
    assert main(["data", *arguments]) == code
    captured = capsys.readouterr()
    assert message in captured.err and len(captured.err.strip().splitlines()) == 3 and captured.out == ""


def test_help_names_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {verb} " in out for verb in ("check", "show", "split", "stats"))


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, seodang.cli.data, seodang.data.check, seodang.data.show, seodang.data.corpus, seodang.data.shards;"
        "print([m for m in ('torch', 'tokenizers', 'transformers', 'pyarrow', 'zstandard') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
