"""Files of every kind come out as the same rows and documents; what is wrong is named by file and row."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from seodang.data import readers
from seodang.data.readers import Row, read_documents, read_rows, text_key
from seodang.errors import DataError

ROWS = [
    {"prompt": "What is \"it\"?", "completion": "A cat,\nand\ta dog."},
    {"prompt": "오늘은?", "completion": "좋아요 😀"},
]


def documents(path: Path) -> list[str]:
    """Whole documents, their pieces joined."""
    texts, held = [], ""
    for piece in read_documents(path):
        held += piece.text
        if not piece.continues:
            texts.append(held)
            held = ""
    assert held == ""
    return texts


def jsonl(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write_csv(path: Path) -> None:
    with open(path, "w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, ["prompt", "completion"])
        writer.writeheader()
        writer.writerows(ROWS)


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    data = jsonl(ROWS)
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n\r\n"))
    (tmp_path / "b.json").write_text(json.dumps(ROWS, indent=2), encoding="utf-8")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(data))
    frames = [zstandard.compress(line) for line in data.splitlines(keepends=True)]
    (tmp_path / "d.jsonl.zst").write_bytes(b"".join(frames))
    write_csv(tmp_path / "e.csv")
    parquet.write_table(arrow.Table.from_pylist(ROWS), tmp_path / "f.parquet")
    (tmp_path / "g.json").write_bytes(data)  # lines in a .json file
    (tmp_path / "h.jsonl").write_text(json.dumps(ROWS), encoding="utf-8")  # a list in a .jsonl file
    for file in sorted(tmp_path.iterdir()):
        assert [row.values for row in read_rows(file)] == ROWS, file.name
    assert len(list(read_rows(tmp_path))) == 8 * len(ROWS)
    assert len(list(read_rows(str(tmp_path / "*.json")))) == 2 * len(ROWS)


def test_rows_know_where_they_stand(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n" + jsonl(ROWS))
    assert [row.row for row in read_rows(tmp_path / "a.jsonl")] == [2, 3]
    write_csv(tmp_path / "e.csv")
    assert [row.row for row in read_rows(tmp_path / "e.csv")] == [2, 4]  # the first row has a line break inside


def test_tab_files_keep_quotes_that_enclose_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('id\ttext\n1\t"so" he said\n2\t"said ""yes"""\n3\t"\n', encoding="utf-8")
    assert [row.values["text"] for row in read_rows(tmp_path / "a.tsv")] == ['"so" he said', 'said "yes"', '"']


def test_a_text_file_is_one_document_or_several(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\n")
    assert documents(tmp_path / "a.txt") == ["one\ntwo\n"]
    text = "one\n<|endoftext|>\n\n<|endoftext|>\ntwo <|endoftext|>\n<|endoftext|>\nthree"
    (tmp_path / "b.txt").write_text(text)
    assert documents(tmp_path / "b.txt") == ["one\n", "two <|endoftext|>\n", "three"]
    assert [d.row for d in read_documents(tmp_path / "b.txt")] == [1, 5, 7]


def test_a_long_text_comes_in_pieces_that_join_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "PIECE", 100)
    monkeypatch.setattr("seodang.data.sources.CHUNK", 37)  # cuts in the middle of characters and line ends
    first, second = "서당개 삼 년\r\n" * 60, "x" * 500
    (tmp_path / "a.txt").write_bytes(f"{first}\n<|endoftext|>\n{second}<|endoftext|>\nend".encode())
    pieces = list(read_documents(tmp_path / "a.txt"))
    assert len(pieces) > 5 and max(len(piece.text) for piece in pieces) < 1000
    expected = [first.replace("\r\n", "\n") + "\n", second + "<|endoftext|>\nend"]
    assert documents(tmp_path / "a.txt") == expected


def test_rows_serve_as_documents(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl([{"id": 1, "content": "one"}, {"id": 2, "content": " "}]))
    assert documents(tmp_path / "a.jsonl") == ["one"]
    assert text_key(Row({"Text": "x", "content": "y"}, "f", 1)) == "Text"
    with pytest.raises(DataError, match="a.csv:7 has no running text"):
        text_key(Row({"tekst": "x"}, "a.csv", 7))
    for values in ({"prompt": "x", "completion": "y"}, {"messages": []}):
        with pytest.raises(DataError) as error:
            text_key(Row(values, "a.jsonl", 1))
        assert "seodang sft" in error.value.fix and "--task pairs" in error.value.fix


def test_a_long_json_list_is_read_in_small_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seodang.data.sources.CHUNK", 16)
    rows = [{"text": "x" * n, "n": n, "m": [n, {"o": None}]} for n in range(120)]
    for indent in (None, 1):
        (tmp_path / "a.json").write_text(json.dumps(rows, indent=indent))
        assert [row.values for row in read_rows(tmp_path / "a.json")] == rows


def test_bad_rows_can_be_collected(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": 1}\n{broken\n{"text": 2}\n[3]\n')
    errors: list[DataError] = []
    assert [row.row for row in read_rows(tmp_path / "a.jsonl", errors.append)] == [1, 3]
    assert [error.what.split("jsonl")[1] for error in errors] == [":2 is broken JSON", ":4 is not an object"]


BAD = {
    "empty.txt": (b"", "empty.txt is empty"),
    "blank.txt": (b" \n\n", "blank.txt is empty"),
    "blank.jsonl": (b"\n", "blank.jsonl is empty"),
    "header.csv": (b"a,b\n", "header.csv is empty"),
    "broken.jsonl": (b'{"text": "a"}\n{"text": \n', "broken.jsonl:2 is broken JSON"),
    "number.jsonl": (b'{"text": "a"}\n3\n', "number.jsonl:2 is not an object"),
    "half.jsonl": (b'{"text": "\\ud83d"}\n', "half.jsonl:1 is broken JSON"),
    "cut.json": (b'[{"text": "a"}, {"text": "b"}', "cut.json:3 is broken JSON"),
    "inner.json": (b'[{"text": "a"}, {"text" "b"}, {"text": "cccccccccccccccccc"}]', "inner.json:2 is broken JSON"),
    "tail.json": (b'[{"text": "a"}] oops', "tail.json:2 is broken JSON"),
    "spread.json": (b'{\n "data": []\n}', "spread.json:1 is neither JSON lines nor a JSON list"),
    "wide.csv": (b"a,b\n1,2\n1,2,3\n", "wide.csv:3 has 3 fields"),
    "open.csv": (b'a,b\n1,2\n"1,2\n3,4\n', "open.csv:3 is broken CSV"),
    "twice.csv": (b"a,a\n1,2\n", "twice.csv:1 is no header"),
    "korean.txt": ("첫 줄\n".encode() + "둘째 줄".encode("cp949"), "korean.txt:2 is not UTF-8"),
    "korean.jsonl": ('{"text": "첫"}\n'.encode() + '{"text": "둘"}'.encode("cp949"), "korean.jsonl:2 is not UTF-8"),
    "wide.txt": ("text".encode("utf-16"), "wide.txt:1 is not UTF-8"),
    "cut.txt": ("가".encode()[:2], "cut.txt:1 is not UTF-8"),
    "cut.jsonl.gz": (gzip.compress(jsonl(ROWS) * 100)[:-20], "cut.jsonl.gz is damaged or cut short"),
    "not.jsonl.gz": (b"plain text", "not.jsonl.gz is damaged or cut short"),
    "not.parquet": (b"PAR1 nothing", "not.parquet is damaged"),
    "scan.pdf": (b"%PDF", "scan.pdf cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named(tmp_path: Path, name: str) -> None:
    data, message = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        list(read_documents(tmp_path / name) if name.endswith(".txt") else read_rows(tmp_path / name))
    assert message in caught.value.what
    assert caught.value.why and caught.value.fix and caught.value.exit_code == 3


def test_the_encoding_is_guessed_and_the_byte_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc\n" + "안녕하세요".encode("cp949"))
    with pytest.raises(DataError) as caught:
        list(read_documents(path))
    assert "byte 4 " in caught.value.why and caught.value.fix.startswith("iconv -f cp949 -t utf-8")
    path.write_bytes("caf\xe9 au lait".encode("latin-1"))
    with pytest.raises(DataError) as caught:
        list(read_documents(path))
    assert "byte 3 " in caught.value.why and "iconv -f cp1252" in caught.value.fix


def test_a_zst_file_cut_short_is_noticed(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    whole = zstandard.compress(jsonl(ROWS) * 50)
    for data in (whole[:-5], whole + whole[:10], b"plain text"):
        (tmp_path / "a.jsonl.zst").write_bytes(data)
        with pytest.raises(DataError, match="damaged or cut short"):
            list(read_rows(tmp_path / "a.jsonl.zst"))


@pytest.mark.parametrize(
    ("module", "name", "extra"), [("zstandard", "a.txt.zst", "zstd"), ("pyarrow", "a.parquet", "parquet")]
)
def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, extra: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(DataError) as caught:
        list(read_rows(tmp_path / name))
    assert caught.value.fix == f"pip install 'seodang[{extra}]'"


def test_paths_that_stand_for_nothing(tmp_path: Path) -> None:
    for paths in (tmp_path / "none.txt", tmp_path, str(tmp_path / "*.txt"), []):
        with pytest.raises(DataError):
            list(read_rows(paths))
