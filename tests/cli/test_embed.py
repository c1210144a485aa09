"""`seodang embed` through the front door."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from seodang.cli.main import main
from tests.inference.masked import read

TEXTS = ["the cat sat on the mat", "the dog sat on the log", "low"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("embed") / "model"
    read().save(path)
    return str(path)


def test_vectors_and_cosines(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "texts.txt"
    data.write_text("\n".join(["", *TEXTS[1:], ""]), encoding="utf-8")
    assert main(["embed", "--model", folder, "--text", TEXTS[0], "--data", str(data), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["texts"] == TEXTS and result["dimensions"] == 32
    vectors = torch.tensor(result["vectors"])
    torch.testing.assert_close(vectors, read().embed(TEXTS), rtol=0, atol=1e-6)
    cosines = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=-1)
    torch.testing.assert_close(torch.tensor(result["similarities"]), cosines, rtol=0, atol=1e-5)


def test_table(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "--model", folder, "--text", TEXTS[0], "--text", TEXTS[2], "--pooling", "cls"]) == 0
    out = capsys.readouterr().out
    assert TEXTS[0] in out and "32 numbers" in out and "cosine" in out and " 1.0000" in out
    assert main(["embed", "--model", folder, "--text", TEXTS[0]]) == 0
    assert "cosine" not in capsys.readouterr().out


def test_mistakes(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "--model", folder]) == 2
    assert main(["embed", "--model", folder, "--text", "a", "--batch-size", "0"]) == 2
    assert main(["embed", "--model", folder, "--text", "the cat " * 50]) == 4
    assert main(["embed", "--model", folder, "--text", "the cat " * 50, "--truncate"]) == 0
    (tmp_path / "blank").write_text("\n \n\n")
    assert main(["embed", "--model", folder, "--data", str(tmp_path / "blank")]) == 2
    assert main(["embed", "--model", folder, "--data", str(tmp_path / "none")]) == 3
    assert "Traceback" not in capsys.readouterr().err
