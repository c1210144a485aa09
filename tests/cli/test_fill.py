"""`seodang fill` through the front door."""

from __future__ import annotations

import json

import pytest

from seodang.cli.main import main
from tests.inference.conftest import taught
from tests.inference.masked import read


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("fill") / "model"
    read().save(path)
    return str(path)


def test_blanks_with_probabilities(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = "the cat sat on the [MASK] and the [MASK] sat on the log"
    assert main(["fill", "--model", folder, "--text", text, "-n", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["text"] == text and [len(blank) for blank in result["blanks"]] == [2, 2]
    assert [blank[0]["token"] for blank in result["blanks"]] == ["mat", "dog"]
    assert main(["fill", "--model", folder, "--text", text, "-n", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "blank 1" and lines[1].endswith("%  mat") and lines[3].endswith("%  dog")


def test_mistakes(folder: str, tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fill", "--model", folder, "--text", "no blank"]) == 2
    assert main(["fill", "--model", folder, "--text", "the [MASK]", "-n", "0"]) == 2
    assert main(["generate", "--model", folder, "--prompt", "the"]) == 2
    assert main(["score", "--model", folder, "--text", "the cat"]) == 2
    taught().save(f"{tmp_path}/decoder")
    assert main(["fill", "--model", f"{tmp_path}/decoder", "--text", "the [MASK]"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and error.count("  fix: ") == 5
