"""`seodang score` through the front door."""

from __future__ import annotations

import json
import math

import pytest

from seodang.cli.main import main
from tests.inference.conftest import taught


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("score") / "model"
    taught().save(path)
    return str(path)


def test_json(folder, capsys):
    assert main(["score", "--model", folder, "--text", "the cat sat", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert "".join(result["tokens"]) == "the cat sat"
    assert result["ids"] == taught().tokenizer.encode("the cat sat")
    assert len(result["logprobs"]) == len(result["ids"]) == len(result["tokens"])
    assert result["perplexity"] == pytest.approx(math.exp(-sum(result["logprobs"]) / len(result["ids"])))
    assert result["bits_per_byte"] == pytest.approx(-sum(result["logprobs"]) / math.log(2) / 11)


def test_table(folder, capsys, tmp_path):
    (tmp_path / "text.txt").write_text("서당에서 the cat\n", "utf-8")
    assert main(["score", "--model", folder, "--file", str(tmp_path / "text.txt"), "--rows", "2"]) == 0
    out = capsys.readouterr().out
    score = taught().score("서당에서 the cat")
    assert f"perplexity {score.perplexity:.3f}" in out and f"bits per byte {score.bits_per_byte:.4f}" in out
    assert f"{math.exp(score.logprobs[0]):.4f}" in out
    assert f"{len(score.ids) - 2} more tokens" in out


def test_several_texts(folder, capsys):
    assert main(["score", "--model", folder, "--text", "a", "--text", "the cat", "--json"]) == 0
    assert [row["text"] for row in json.loads(capsys.readouterr().out)] == ["a", "the cat"]


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["--text", ""], 3), (["--file", "/nowhere"], 3)])
def test_mistakes(folder, capsys, argv, code):
    assert main(["score", "--model", folder, *argv]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 3
