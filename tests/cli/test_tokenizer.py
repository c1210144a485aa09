"""`seodang tokenizer` through the front door."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from seodang.cli.main import main
from seodang.text.tokenizer import Tokenizer

WORKED = "low:5,lower:2,newest:6,widest:3"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text("the lowest river\n옛날 옛적에 서당에서\n12 + 30 = 42\n" * 20, "utf-8")
    return file


def test_trace_shows_the_worked_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokenizer", "trace", "--counts", WORKED, "--merges", "4", "--word", "lowest"]) == 0
    out = capsys.readouterr().out
    assert out.index("(e, s)") < out.index("(es, t)") < out.index("(l, o)") < out.index("(lo, w)")
    assert "lowest = low + est" in out
    assert main(["tokenizer", "trace", "--counts", WORKED, "--merges", "2", "--word-end", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [merge["joined"] for merge in result["merges"]] == ["es", "est</w>"]
    assert [merge["count"] for merge in result["merges"]] == [9, 9]


def test_trace_of_a_text_and_of_files(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokenizer", "trace", "--text", "aa aa ab", "--merges", "1", "--json"]) == 0
    merges = json.loads(capsys.readouterr().out)["merges"]
    assert merges == [{"left": "a", "right": "a", "joined": "aa", "count": 2}]
    assert main(["tokenizer", "trace", "--data", str(text), "--merges", "3", "--json"]) == 0
    merges = json.loads(capsys.readouterr().out)["merges"]
    assert merges[0] == {"left": "에", "right": "서", "joined": "에서", "count": 20} or merges[0]["count"] >= 20


def test_train_writes_a_folder_that_loads(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tokenizer"
    rows = tmp_path / "rows.jsonl.gz"
    rows.write_bytes(gzip.compress(b'{"text": "more of the lowest river"}\n'))
    for _ in range(2):  # an older tokenizer is replaced
        data = ["--data", str(text), str(rows)]
        assert main(["tokenizer", "train", *data, "--out", str(out), "--vocab-size", "300", "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
    tokenizer = Tokenizer.load(out)
    assert result["vocab_size"] == tokenizer.vocab_size == 300
    assert result["fingerprint"] == tokenizer.fingerprint()
    assert tokenizer.decode(tokenizer.encode("서당 river")) == "서당 river"
    assert main(["tokenizer", "stats", "--data", str(text), "--tokenizer", str(out)]) == 0
    assert "hangul" in capsys.readouterr().out


def test_stats_compares_the_kinds(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokenizer", "stats", "--data", str(text), "--vocab-size", "300", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["vocabulary"] for row in rows} == {"bpe", "bpe-word-end", "wordpiece", "unigram", "word", "char"}
    total = {row["vocabulary"]: row for row in rows if row["script"] == "all"}
    assert total["word"]["bytes_per_token"] > total["char"]["bytes_per_token"]
    assert total["bpe"]["unknown_rate"] == 0 and total["bpe"]["lines"] == 6


@pytest.mark.parametrize(
    ("arguments", "kind", "style", "special"),
    [
        (["--kind", "unigram", "--style", "t5"], "unigram", "t5", 103),
        (["--for", "t5v11", "--kind", "bpe"], "bpe", "t5", 103),
        (["--for", "electra"], "wordpiece", "bert", 5),
        (["--style", "albert"], "unigram", "albert", 5),
        (["--for", "llama"], "bpe", "gpt", 4),
    ],
)
def test_train_in_the_style_of_a_family(
    arguments: list[str], kind: str, style: str, special: int, text: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = ["--data", str(text), "--out", str(tmp_path / "o"), "--vocab-size", "400"]
    assert main(["tokenizer", "train", *data, *arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["kind"], result["style"], len(result["special_tokens"])) == (kind, style, special)
    assert len(Tokenizer.load(tmp_path / "o").special_ids) == special


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--data", "empty.txt", "--out", "o"], 3, "empty.txt is empty"),
        (["train", "--data", "none.txt", "--out", "o"], 3, "none.txt does not exist"),
        (["train", "--data", "cp949.txt", "--out", "o"], 3, "cp949.txt:2 is not UTF-8"),
        (["train", "--data", "text.txt", "--out", "o", "--vocab-size", "100"], 2, "256 bytes"),
        (["train", "--data", "text.txt", "--out", "o", "--for", "bart5"], 2, "did you mean 'bart'"),
        (["train", "--data", "text.txt", "--out", "text.txt"], 2, "is a file"),
        (["train", "--data", "text.txt", "--out", "."], 1, "is in the way"),
        (["train", "--data", "text.txt", "--out", "o", "--max-ram", "lots"], 2, "--max-ram lots"),
        (["train", "--data", "text.txt", "--out", "o", "--vocab-sise", "300"], 2, "--vocab-size"),
        (["trace"], 2, "name the words once"),
        (["trace", "--text", "a", "--counts", "a:1"], 2, "name the words once"),
        (["trace", "--counts", "low"], 2, "'low' is not word:count"),
        (["trace", "--text", " "], 2, "no words"),
        (["trace", "--text", "a", "--merges", "0"], 2, "--merges 0"),
        (["stats", "--data", "short.txt"], 2, "too little text"),
        (["stats", "--data", "text.txt", "--tokenizer", "none"], 3, "none does not exist"),
        (["stats", "--data", "text.txt", "--tokenizer", "text.txt"], 3, "not a WordPiece vocabulary"),
        (["tarin"], 2, "did you mean 'train'"),
    ],
)
def test_mistakes_are_three_lines(
    text: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(text.parent)
    Path("empty.txt").touch()
    Path("short.txt").write_text("one line\n")
    Path("cp949.txt").write_bytes(b"ascii\n" + "서당".encode("cp949"))
    assert main(["tokenizer", *arguments]) == code
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == ""
    first, why, fix = captured.err.splitlines()[-3:]
    assert first.startswith("error: ") and why.startswith("  why: ") and fix.startswith("  fix: ")
    assert not Path("o").exists()
