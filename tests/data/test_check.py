"""What `data check`, `show`, `split` and `stats` find in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seodang.data.check import check, describe, report_lines
from seodang.data.corpus import split, stats
from seodang.data.readers import read_documents, read_rows
from seodang.data.show import plain_lines, print_colours, show
from seodang.errors import DataError, SeodangError, UsageError
from tests.data.conftest import ByteTokenizer


def write(path: Path, rows: list[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def qa(question: str, answer: str = "A", **more: Any) -> dict[str, Any]:
    return {"prompt": question, "completion": answer, **more}


def test_findings_are_counted_and_named(tmp_path: Path) -> None:
    rows = [qa("a", id=1), qa("bb"), qa("a"), "{broken", qa("c", ""), {"text": "x"}, qa("d" * 30)]
    train = write(tmp_path / "train.jsonl", rows)
    held_out = write(tmp_path / "eval.jsonl", [qa("bb"), qa("a", "another"), qa("new")])
    result = check([train], max_length=20, eval_files=[held_out])
    assert not result["passed"] and result["rows"] == 4
    assert result["problems"]["count"] == 3
    assert [p["what"].split("jsonl")[1] for p in result["problems"]["first"]] == [
        ":4 is broken JSON",
        ":5 has no answer",
        ":6 is in the format text",
    ]
    assert result["duplicates"] == {"count": 1, "places": [f"{train}:3 = {train}:1"]}
    assert result["too_long"]["places"] == [f"{train}:7 (31)"]
    assert result["evaluation"]["same_rows"]["places"] == [f"{held_out}:1 = {train}:2"]
    assert result["evaluation"]["same_questions"]["count"] == 2
    assert result["unused_keys"] == ["id"] and result["lengths"]["unit"] == "characters"
    text = "\n".join(report_lines(result))
    assert "exact duplicates: 1" in text and "unusable rows: 3" in text and "longer than 20 characters: 1" in text
    json.dumps(result)


@pytest.mark.usefixtures("chat")
def test_lengths_and_unknown_tokens_with_a_tokenizer(tmp_path: Path, tokenizer: ByteTokenizer) -> None:
    tokenizer.unk_id = 4 + ord("z")  # type: ignore[attr-defined]
    file = write(tmp_path / "a.jsonl", [qa("zz", "z")])
    result = check([file], tokenizer=tokenizer)
    # <start> user \n z z <end> \n <start> assistant \n z <end> \n
    assert result["lengths"]["max"] == 1 + 5 + 2 + 2 + 1 + 10 + 1 + 2 and result["unknown_tokens"]["count"] == 3
    text = tmp_path / "b.txt"
    text.write_text("the cat\n<|endoftext|>\nthe cat\n<|endoftext|>\nfizz")
    result = check([text], tokenizer=tokenizer)
    assert result["files"][0]["formats"] == {"text": 3} and result["unknown_tokens"]["count"] == 2
    assert result["duplicates"]["count"] == 1 and result["lengths"]["min"] == 3 and result["passed"]


def test_many_alike_problems_are_one(tmp_path: Path) -> None:
    result = check([write(tmp_path / "a.jsonl", [{"foo": i} for i in range(50)])])
    assert result["problems"]["count"] == 50 and len(result["problems"]["first"]) == 1
    assert "a.jsonl:1 is in no known format (50 such)" in "\n".join(report_lines(result))


def test_undesired_rows_are_counted(tmp_path: Path) -> None:
    result = check([write(tmp_path / "a.jsonl", [qa("a", label=True), qa("b", label=False)])])
    assert result["passed"] and result["undesired"] == 1 and result["rows"] == 1


def test_the_distribution_by_hand() -> None:
    figures = describe([1, 2, 3, 4, 100])
    assert (figures["min"], figures["median"], figures["max"], figures["total"]) == (1, 3, 100, 110)
    assert figures["histogram"] == {"<=1": 1, "<=2": 1, "<=4": 2, "<=128": 1}
    assert describe([]) == {"count": 0, "total": 0}


@pytest.mark.usefixtures("chat")
def test_the_mask_is_shown(
    tmp_path: Path, tokenizer: ByteTokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "a.jsonl", [qa("서당?", "서당 the")] * 5)
    shown = list(show([file], tokenizer, n=2))
    assert len(shown) == 2 and sum(shown[0]["mask"]) == len(tokenizer.encode("서당 the")) + 1
    title, *body, end = plain_lines(shown[0], mask=True)
    assert title.startswith(f"{file}:1  pair") and end == ""
    assert "\n".join(body) == "<|im_start|>user\n서당?<|im_end|>\n<|im_start|>assistant\n«서당 the<|im_end|>»\n"
    assert "«" not in "\n".join(plain_lines(shown[0], mask=False))
    print_colours(shown[0], mask=True)
    assert "서당 the" in capsys.readouterr().out
    (untokenized,) = show([file], n=1)
    assert "assistant: 서당 the" in plain_lines(untokenized, mask=False)


def test_all_of_a_text_is_learned_but_its_first_token(tmp_path: Path, tokenizer: ByteTokenizer) -> None:
    (tmp_path / "a.txt").write_text("the cat")
    (shown,) = show([tmp_path / "a.txt"], tokenizer)
    assert plain_lines(shown, mask=True)[1] == "the« cat<|endoftext|>»"


def test_rows_are_split_without_overlap(tmp_path: Path) -> None:
    rows = [qa(f"question {i % 90}") for i in range(100)]  # ten duplicates
    file = write(tmp_path / "a.jsonl", rows)
    result = split([file], tmp_path / "out", eval_fraction=0.2)
    parts = {name: [row.values["prompt"] for row in read_rows(result[name]["file"])] for name in ("train", "eval")}
    assert sorted(parts["train"] + parts["eval"]) == sorted(row["prompt"] for row in rows)
    assert not set(parts["train"]) & set(parts["eval"])
    assert 20 <= len(parts["eval"]) == result["eval"]["rows"] <= 24
    again = split([file], tmp_path / "again", eval_fraction=0.2)
    assert Path(again["eval"]["file"]).read_bytes() == Path(result["eval"]["file"]).read_bytes()
    other = split([file], tmp_path / "other", eval_fraction=0.2, seed=1)
    assert Path(other["eval"]["file"]).read_bytes() != Path(result["eval"]["file"]).read_bytes()


def test_texts_are_split_by_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seodang.data.readers.PIECE", 10)
    monkeypatch.setattr("seodang.data.sources.CHUNK", 7)
    texts = [f"document {i}\nof two lines\n" for i in range(20)]
    (tmp_path / "a.txt").write_text("<|endoftext|>\n".join(texts))
    result = split([tmp_path / "a.txt"], tmp_path / "out", eval_fraction=0.25)
    found = {}
    for name in ("train", "eval"):
        joined = "".join(d.text + ("" if d.continues else "\0") for d in read_documents(result[name]["file"]))
        found[name] = joined.split("\0")[:-1]
    assert sorted(found["train"] + found["eval"]) == sorted(texts) and len(found["eval"]) == 5


def test_one_text_is_split_at_a_line(tmp_path: Path) -> None:
    text = "".join(f"line {i}\n" for i in range(100))
    (tmp_path / "a.txt").write_text(text)
    result = split([tmp_path / "a.txt"], tmp_path / "out", eval_fraction=0.1)
    train, held = (Path(result[name]["file"]).read_text() for name in ("train", "eval"))
    assert train + held == text and train.endswith("\n") and 60 < len(held) < 100


def test_splits_that_cannot_be(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [qa("a")] * 3)
    with pytest.raises(SeodangError, match="in the way"):
        split([file], tmp_path)
    with pytest.raises(DataError, match="rows are equal|cannot be split"):
        split([file], tmp_path / "out")
    with pytest.raises(DataError, match="one row"):
        split([write(tmp_path / "b.jsonl", [qa("a")])], tmp_path / "out")
    with pytest.raises(UsageError):
        split([file], tmp_path / "out", eval_fraction=2)
    (tmp_path / "c.txt").write_text("x")
    with pytest.raises(DataError, match="too small"):
        split([tmp_path / "c.txt"], tmp_path / "out")
    with pytest.raises(DataError, match="together"):
        split([file, tmp_path / "c.txt"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_counts_by_hand(tmp_path: Path, tokenizer: ByteTokenizer) -> None:
    (tmp_path / "a.txt").write_text("서당 the\nend 1", encoding="utf-8")
    (counts,) = stats([tmp_path / "a.txt"], tokenizer)
    assert [counts[name] for name in ("bytes", "characters", "words", "lines", "rows")] == [16, 12, 4, 1, 1]
    assert counts["scripts"] == {"latin": 0.6667, "hangul": 0.2222, "digits": 0.1111}
    assert counts["tokens"] == 6 + 1 + 1 + 3 + 2 and counts["bytes_per_token"] == 16 / 13
    (rows,) = stats([write(tmp_path / "b.jsonl", [{"messages": [{"content": "한 글"}]}])])
    assert rows["words"] == 2 and rows["rows"] == 1
