"""`seodang vectors` through the front door."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seodang.cli.main import main
from seodang.vectors.word_vectors import WordVectors
from tests.vectors.corpus import PAIRS, korean, sentences

SMALL = ["--dimension", "16", "--min-count", "1", "--seed", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """text.jsonl, ko.txt, questions.txt, and GloVe vectors in `glove`."""
    path = tmp_path_factory.mktemp("vectors")
    rows = [json.dumps({"text": line}) for line in sentences()]
    (path / "text.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    (path / "ko.txt").write_text("\n".join(korean()) + "\n", "utf-8")
    family = [f"Man {man} Woman {woman}" for man, woman in PAIRS.items() if man != "man"]
    (path / "questions.txt").write_text(": family\n" + "\n".join(family) + "\n: far\na b c d\n", "utf-8")
    command = ["vectors", "train", "--kind", "glove", "--data", str(path / "text.jsonl"), "--epochs", "200"]
    assert main([*command, "--window", "4", "--out", str(path / "glove"), *SMALL]) == 0
    return path


def test_glove_answers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors", "analogy", "--vectors", str(folder / "glove"), "--questions",
                 str(folder / "questions.txt"), "--json"]) == 0
    family, far, total = json.loads(capsys.readouterr().out)
    assert family == {"section": "family", "questions": 5, "asked": 5, "correct": 5, "accuracy": 1.0}
    assert far["asked"] == 0 and far["accuracy"] is None and total["questions"] == 6 and total["accuracy"] == 1
    assert main(["vectors", "analogy", "--vectors", str(folder / "glove"), "--questions",
                 str(folder / "questions.txt")]) == 0
    assert "100.0%" in capsys.readouterr().out
    assert main(["vectors", "analogy", "--vectors", str(folder / "glove" / "vectors.vec"), "--a", "man", "--b", "king",
                 "--c", "woman", "-n", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "man : king :: woman : ?" and lines[1].endswith("  queen") and len(lines) == 3


def test_an_unseen_word_is_zero_and_it_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["vectors", "neighbours", "--vectors", str(folder / "glove"), "--word", "King", "dragon", "-n", "3"]
    assert main([*command, "--json"]) == 0
    captured = capsys.readouterr()
    king, dragon = json.loads(captured.out)
    assert not king["unseen"] and len(king["neighbours"]) == 3
    assert dragon == {"word": "dragon", "unseen": True, "zero": True, "neighbours": []}
    assert "dragon is not among the 29 words; its vector is zero" in captured.err and "King is" not in captured.err
    assert main(["vectors", "analogy", "--vectors", str(folder / "glove"), "--a", "man", "--b", "dragon", "--c", "he",
                 "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unseen"] == ["dragon"]


def test_skipgram_says_what_it_did(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gensim")
    command = ["vectors", "train", "--data", str(folder / "text.jsonl"), "--sample", "0", *SMALL]
    for name in ("a", "b"):
        assert main([*command, "--out", str(tmp_path / name), "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["kind"] == "skipgram" and result["vocabulary"] == 29 and result["words"] > 20_000
        assert 0 < result["loss_per_pair"] < 4 and result["out"] == str(tmp_path / name)
    first, second = ((tmp_path / name / "vectors.vec").read_bytes() for name in ("a", "b"))
    assert first == second and first.startswith(b"29 16\n")
    assert main([*command, "--out", str(tmp_path / "a")]) == 0  # older vectors are replaced
    out = capsys.readouterr().out
    assert "skipgram, 29 words, 16 numbers each" in out and "loss per pair" in out


def test_fasttext_finds_an_unseen_form(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gensim")
    out = str(tmp_path / "ft")
    assert main(["vectors", "train", "--kind", "fasttext", "--buckets", "5000", "--data", str(folder / "ko.txt"),
                 "--sample", "0", "--out", out, *SMALL]) == 0
    capsys.readouterr()
    assert main(["vectors", "neighbours", "--vectors", out, "--word", "학교까지", "--json"]) == 0
    captured = capsys.readouterr()
    (result,) = json.loads(captured.out)
    assert result["unseen"] and not result["zero"] and "mean of its subwords'" in captured.err
    assert result["neighbours"][0]["word"].startswith("학교")
    assert WordVectors.load(out).subwords is not None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--data", "none.txt", "--out", "o"], 3, "none.txt does not exist"),
        (["train", "--data", "short.txt", "--out", "o"], 3, "0 words to learn"),
        (["train", "--data", "short.txt", "--out", "short.txt"], 2, "is a file"),
        (["train", "--data", "short.txt", "--out", "."], 1, "is in the way"),
        (["train", "--data", "short.txt", "--out", "o", "--window", "0"], 2, "--window 0"),
        (["train", "--data", "short.txt", "--out", "o", "--kind", "elmo"], 2, "elmo"),
        (["train", "--data", "short.txt", "--out", "o", "--dimensions", "9"], 2, "--dimension"),
        (["neighbours", "--vectors", "none", "--word", "a"], 3, "none cannot be read"),
        (["neighbours", "--vectors", "short.txt", "--word", "a"], 3, "short.txt:1 is not a word and 2 numbers"),
        (["neighbours", "--vectors", "short.txt", "--word", "a", "-n", "0"], 2, "-n 0"),
        (["neighbours", "--vectors", "short.txt", "--word"], 2, "no words"),
        (["analogy", "--vectors", "none", "--a", "man"], 2, "ask once"),
        (["analogy", "--vectors", "none", "--questions", "short.txt", "--a", "man"], 2, "ask once"),
        (["neighbors"], 2, "did you mean 'neighbours'"),
    ],
)
def test_mistakes_are_three_lines(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("short.txt").write_text("three short words\n")
    assert main(["vectors", *arguments]) == code
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == ""
    first, why, fix = captured.err.splitlines()[-3:]
    assert first.startswith("error: ") and why.startswith("  why: ") and fix.startswith("  fix: ")
    assert not Path("o").exists()
