"""`seodang export` through the front door."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seodang.checkpoints.gguf import GGUFFile
from seodang.checkpoints.huggingface import load_folder
from seodang.cli.main import main
from tests.inference.conftest import TEXTS, taught


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("export") / "model"
    taught().save(path)
    return str(path)


def test_a_gguf_file_continues_as_the_model_does(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "m.gguf")
    assert main(["export", "--model", folder, "--out", out]) == 0
    text = capsys.readouterr().out
    assert "float16" not in text and "F16" in text and "the same at" in text
    assert GGUFFile(Path(out)).metadata.value("general.file_type") == 1
    assert main(["generate", "--model", out, "--prompt", "the lowest newest", "--quiet"]) == 0
    assert capsys.readouterr().out == TEXTS[1].removeprefix("the lowest newest") + "\n"


@pytest.mark.parametrize("kind", ["f32", "q8_0", "q4_0"])
def test_json(kind: str, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.gguf"
    assert main(["export", "--model", folder, "--out", str(out), "--type", kind, "--name", "서당", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["n_bytes"] == out.stat().st_size and result["type"] == kind
    assert result["agreement"]["prompts"] == 4 and result["agreement"]["tokens"] > 0
    assert (result["largest_difference"] == 0) == (kind == "f32")
    if kind == "f32":
        assert result["agreement"]["same"] == result["agreement"]["tokens"]
    assert GGUFFile(out).metadata.value("general.name") == "서당"


def test_a_folder(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "half"
    assert main(["export", "--model", folder, "--out", str(out), "--dtype", "float16", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["type"] == "float16" and 0 < result["largest_difference"] < 1e-2
    assert main(["verify", str(out)]) == 0
    assert json.loads((out / "config.json").read_text())["dtype"] == "float16"
    model, tokenizer, _ = load_folder(out)
    assert tokenizer is not None
    assert json.loads((out / "seodang.json").read_text())["lineage"]["verb"] == "export"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--out", "m.gguf", "--dtype", "float16"], "--dtype for m.gguf"),
        (["--out", "m", "--type", "f16"], "m is a folder"),
        (["--out", "m.gguf", "--type", "q4_k"], "type"),
        (["--out", "{}"], "is the model itself"),
    ],
)
def test_mistakes(
    arguments: list[str], what: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--model", folder, *(word.format(folder) for word in arguments)]) == 2
    captured = capsys.readouterr()
    assert what in captured.err.splitlines()[-3] and captured.out == ""
