"""Files of labelled data → records, whatever their endings say: tables with and without a header line, lines, JSON.

Published sets go by names such as `TREC.train`, `msr_paraphrase_train.txt` (a table with tabs) and `1024.txt` (a JSON
object), so that the content decides: an object is JSON, a tab makes a table, and only `.csv` has commas between fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from seodang.data.sources import decode_text, kind_of, open_binary, read_lines
from seodang.data.tables import csv_fields, read_json, read_parquet
from seodang.errors import DataError

LINE = "line"
"""Name of the only field of a file of lines."""


@dataclass
class Table:
    """The records of one file. `fields` of a table without its names; `values` of JSON and Parquet; one is empty."""

    path: Path
    fields: list[tuple[int, list[str]]] = field(default_factory=list)
    values: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    @property
    def head(self) -> list[str]:
        """The first line's fields, which may be the names of columns; of JSON, the keys of the first record."""
        return [name.strip() for name in self.fields[0][1]] if self.fields else list(self.values[0][1])

    def named(self, names: list[str] | None) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """(row, values), or None for a row of the wrong width. `names` of fields that no header line gives: a row may
        have more fields than these."""
        yield from self.values
        if self.fields:
            head = self.head if names is None else names
            for row, fields in self.fields[1 if names is None else 0 :]:
                fits = len(fields) == len(head) if names is None else len(fields) >= len(head)
                yield row, dict(zip(head, fields, strict=False)) if fits else None


def read_table(path: Path, encoding: str = "utf-8") -> Table:
    """All records of a file. A line that is not UTF-8 is read in `encoding`, where that is another.

    Raises DataError (file and row) for a file without records and for what is damaged or not UTF-8.
    """
    kind = kind_of(path)
    if kind == "parquet":
        table = Table(path, values=list(read_parquet(path)))
    elif kind == "json":
        table = Table(path, values=list(read_json(path)) if not (one := _one_object(path)) else [(1, one)])
    elif one := _one_object(path):
        table = Table(path, values=[(1, one)])
    elif _first_line_is_object(path):
        table = Table(path, values=list(read_json(path)))
    else:
        table = Table(path, fields=list(_read_fields(path, encoding)))
    if not table.fields and not table.values:
        raise DataError(f"{path} is empty", "it holds no rows", "check the path, or leave the file out")
    return table


def read_text(path: Path) -> str:
    """A file that is one text."""
    with open_binary(path) as stream:
        return "".join(decode_text(stream, path)).strip()


def _first_line_is_object(path: Path) -> bool:
    with open_binary(path) as stream:
        line = stream.readline().decode("utf-8-sig", errors="replace").strip()
    return line.startswith("{") and _object(line) is not None


def _one_object(path: Path) -> dict[str, Any] | None:
    """The object that is all of the file, over one line or several; None for anything else."""
    with open_binary(path) as stream:
        first = stream.readline()
        if first.removeprefix(b"\xef\xbb\xbf").strip()[:1] != b"{":
            return None
        second = stream.readline()
        if second.strip() and _object(first.decode("utf-8-sig", errors="replace")) is not None:
            return None
        rest = b"" if not second else stream.read()
    return _object((first + second + rest).decode("utf-8-sig", errors="replace"))


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _read_fields(path: Path, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """(line, fields). In tables with tabs, which are mostly written without quoting, a field is unquoted only if quotes
    inside it are written twice; else they belong to the text."""
    with open_binary(path) as stream:
        lines = read_lines(stream, path, encoding)
        number, head = next(lines, (1, ""))
        separator = _separator(path, head)
        if separator is None or separator == "\t":
            for row, line in chain([(number, head)], lines):
                if line.strip():
                    yield row, [_unquote(part) for part in line.split("\t")] if separator else [line]
            return
        rows = csv_fields(path, (f"{line}\n" for _, line in chain([(number, head)], lines)), separator)
        yield from ((row, fields) for row, fields in rows if any(fields))


def _separator(path: Path, head: str) -> str | None:
    if ".csv" in path.suffixes:
        return max("\t,;", key=head.count)
    return "\t" if "\t" in head or ".tsv" in path.suffixes else None


def _unquote(part: str) -> str:
    inside = part[1:-1]
    if part[:1] == part[-1:] == '"' and '""' in inside and '"' not in inside.replace('""', ""):
        return inside.replace('""', '"')
    return part
