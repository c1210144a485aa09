from __future__ import annotations

import json
from pathlib import Path

import pytest

from seodang.checkpoints.huggingface import save_folder
from seodang.cli.main import main
from tests.checkpoints.files import tiny


def test_good_and_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_folder(tmp_path, tiny("gpt2"), None)
    assert main(["verify", str(tmp_path)]) == 0
    assert f"{tmp_path}: good" in capsys.readouterr().out
    data = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[:-3])
    assert main(["verify", str(tmp_path)]) == 3
    out = capsys.readouterr().out
    assert f"{tmp_path}: DAMAGED" in out and "BAD  files:" in out


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_folder(tmp_path, tiny("gpt2"), None)
    (tmp_path / "config.json").write_text("{")
    assert main(["verify", str(tmp_path), "--json"]) == 3
    result = json.loads(capsys.readouterr().out)
    assert result["passed"] is False and result["models"][0]["path"] == str(tmp_path)
    assert {check["name"]: check["passed"] for check in result["models"][0]["checks"]}["files"] is False


@pytest.mark.parametrize(("what", "code"), [("nowhere", 2), (".", 3), ("--jsn", 2)])
def test_mistakes(
    what: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify", what]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and len(captured.err.splitlines()) <= 3
