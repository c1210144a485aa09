"""Files → documents and rows, streamed with bounded memory: txt, jsonl, json, csv, tsv, parquet, each also .gz or .zst.

A `.txt` file is one document, or several between lines that are exactly `<|endoftext|>`; a long document comes in
pieces of about 1 MB (`Document.continues`). Rows carry the file and row they came from, so that every later error
can name them: the line for jsonl, csv and tsv, the item (from 1) for json and parquet.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seodang.data.sources import decode_text, expand, kind_of, open_binary
from seodang.data.tables import OnError, read_csv, read_json, read_parquet
from seodang.errors import DataError, suggest

PIECE = 1 << 20
"""Characters of a piece of a long document."""

SEPARATOR = "<|endoftext|>"
"""A line of a text file that ends a document."""

TEXT_KEYS = ("text", "content", "document", "body", "article", "raw_content", "passage", "sentence", "review")
"""Keys under which a row's running text is looked for, in this order."""

_ANSWER_KEYS = {"messages", "conversations", "instruction", "prompt", "question", "source"}
"""Keys of rows that hold something said and its answer."""

_SEPARATOR_LINE = re.compile(r"^<\|endoftext\|>[ \t]*(?:\n|\Z)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Document:
    """A text, or a piece of one: `continues` says that the next piece belongs to the same document."""

    text: str
    source: str
    row: int
    continues: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file: its keys and values, and where it stands."""

    values: dict[str, Any]
    source: str
    row: int

    @property
    def where(self) -> str:
        """`file:row`"""
        return f"{self.source}:{self.row}"


def read_documents(paths: Iterable[Path | str] | Path | str) -> Iterator[Document]:
    """Texts of `paths` (files, folders, globs), in order; blank documents are left out.

    Raises DataError (file and line) for what is missing, empty, not UTF-8 or not of its format.
    """
    for path in expand(paths):
        found = False
        for document in _documents_of(path):
            found = True
            yield document
        if not found:
            raise DataError(f"{path} is empty", "it holds no text", "check the path, or leave the file out")


def read_rows(
    paths: Iterable[Path | str] | Path | str, on_error: OnError = None, texts: Collection[str] = ()
) -> Iterator[Row]:
    """Records of `paths` (files, folders, globs), in order; a `.txt` file gives rows with the one key `text`.

    Raises DataError (file and row) for what is missing, empty, not UTF-8 or not of its format. With `on_error`, a row
    that alone is bad (a broken JSON line, a CSV row with a field too many) is passed to it and left out. `texts`: what
    the only column of a CSV file may be called, besides "text".
    """
    for path in expand(paths):
        found = False
        for row in _rows_of(path, on_error, texts):
            found = True
            yield row
        if not found:
            raise DataError(f"{path} is empty", "it holds no rows", "check the path, or leave the file out")


def text_key(row: Row) -> str:
    """The key of `row` that holds running text. Raises DataError naming the keys seen when there is none."""
    by_name = {key.casefold(): key for key, value in row.values.items() if isinstance(value, str)}
    for name in TEXT_KEYS:
        if name in by_name:
            return by_name[name]
    strings = [key for key, value in row.values.items() if isinstance(value, str)]
    hint = suggest(strings[0], TEXT_KEYS) if strings else "write rows such as {\"text\": \"...\"}"
    fix = f"rename the key that holds the text to \"text\" ({hint})"
    if _ANSWER_KEYS & {key.casefold() for key in row.values}:
        fix = "give dialogues and answers to seodang sft; an encoder-decoder learns rows of two texts: --task pairs"
    raise DataError(
        f"{row.where} has no running text",
        f"its keys are {', '.join(row.values) or 'none'}; text is looked for under {', '.join(TEXT_KEYS)}",
        fix,
    )


def _rows_of(path: Path, on_error: OnError = None, texts: Collection[str] = ()) -> Iterator[Row]:
    kind = kind_of(path)
    if kind == "text":
        parts: list[str] = []
        for document in _text_documents(path):
            parts.append(document.text)
            if not document.continues:
                yield Row({"text": "".join(parts)}, str(path), document.row)
                parts = []
        return
    records = read_csv(path, on_error, texts) if kind == "csv" else None
    for number, values in records or {"json": read_json, "parquet": read_parquet}[kind](path, on_error):
        yield Row(values, str(path), number)


def _documents_of(path: Path) -> Iterator[Document]:
    if kind_of(path) == "text":
        yield from _text_documents(path)
        return
    for row in _rows_of(path):
        text = row.values[text_key(row)]
        for start in range(0, len(text), PIECE):
            stop = start + PIECE
            if text.strip():
                yield Document(text[start:stop], row.source, row.row, continues=stop < len(text))


def _text_documents(path: Path) -> Iterator[Document]:
    """Documents of a text file. One piece is held back until it is known whether its document goes on."""
    held, first_line, line = "", 1, 1
    handed_out = False  # a part of the held document has been yielded already
    with open_binary(path) as stream:
        for text, at_line_start in _whole_lines(decode_text(stream, path)):
            start = 0
            for match in _SEPARATOR_LINE.finditer(text) if SEPARATOR in text else ():
                if match.start() == 0 and not at_line_start:
                    continue
                held += text[start : match.start()]
                if handed_out or held.strip():
                    yield Document(held, str(path), first_line)
                line += text.count("\n", start, match.end())
                start, held, handed_out, first_line = match.end(), "", False, line
            if held.strip() and len(held) + len(text) - start > PIECE:
                yield Document(held, str(path), first_line, continues=True)
                held, handed_out = "", True
            held += text[start:]
            line += text.count("\n", start)
    if held.strip() or handed_out:
        yield Document(held, str(path), first_line)


def _whole_lines(chunks: Iterator[str]) -> Iterator[tuple[str, bool]]:
    """(text, whether it begins a line): chunks that end at a line's end, so that no separator line is cut in two.

    Only a line longer than a piece is cut inside; it is no separator.
    """
    rest, at_line_start = "", True
    for chunk in chunks:
        cut = chunk.rfind("\n") + 1
        if cut or len(rest) > PIECE:
            cut = cut or len(chunk)
            yield rest + chunk[:cut], at_line_start
            at_line_start = chunk[cut - 1] == "\n"
            rest = ""
        rest += chunk[cut:]
    if rest:
        yield rest, at_line_start
