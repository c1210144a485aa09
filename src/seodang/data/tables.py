"""Tables, one record at a time: JSON lines, JSON lists, CSV and TSV, Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from seodang.data.sources import decode_text, open_binary, read_lines
from seodang.errors import DataError

Record = tuple[int, dict[str, Any]]
Fields = tuple[int, list[str]]
"""The line where a row begins, and what stands in it."""
OnError = Callable[[DataError], None] | None
"""Called with the error of a bad row, which is then left out; None raises it."""

LONGEST_ROW = 1 << 28
"""Characters after which a JSON record that has not ended is taken to be broken."""


def read_json(path: Path, on_error: OnError = None) -> Iterator[Record]:
    """(row, values) of a file of JSON lines or of one JSON list; its first character tells which, not its name.

    Raises DataError with file and row for a broken line and for a record that is not an object.
    """
    with open_binary(path) as stream:
        first = _first_character(stream.read(1 << 16))
    with open_binary(path) as stream:
        if first == "[":
            yield from _read_list(path, decode_text(stream, path))
        else:
            yield from _read_lines(path, read_lines(stream, path), on_error)


def read_csv(path: Path, on_error: OnError = None, texts: Collection[str] = ()) -> Iterator[Record]:
    """(line, values) of a CSV or TSV file with a header line.

    The separator is the one of `,` tab `;` that the header has most of. Comma files follow RFC 4180. In tab files,
    which are mostly written without quoting, a quote is text unless it encloses the whole field. `texts`: what the
    only column of a table may be called, besides "text"; anything else there is taken for a row.
    Raises DataError with file and line for an unusable header, a row with too many or too few fields, and broken
    quoting.
    """
    with open_binary(path) as stream:
        lines = (f"{text}\n" for _, text in read_lines(stream, path))
        head = next(lines, "")
        separator = max(",\t;", key=head.count)
        quoted = separator != "\t"
        header: list[str] = []
        for line, fields in csv_fields(path, chain([head], lines), separator, quoted):
            if not quoted:
                fields = [_unquote(field) for field in fields]
            if not header:
                header = _checked_header(path, [field.strip() for field in fields], texts)
            elif len(fields) == len(header):
                yield line, dict(zip(header, fields, strict=True))
            elif fields:
                _complain(_wrong_width(path, line, header, fields), on_error)


def csv_fields(path: Path, lines: Iterable[str], separator: str, quoted: bool = True) -> Iterator[Fields]:
    """The rows of separated values. One may go over several of `lines` (with their ends) where fields are `quoted`.

    Raises DataError with file and line for broken quoting.
    """
    csv.field_size_limit(1 << 30)  # the library's limit is for the process; its default refuses long texts
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=separator, quoting=quoting, strict=True)
    line = 1
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{path}:{line} is broken CSV",
                f"{error}; the row begins at line {line}",
                'write a quote inside a quoted field twice: "she said ""yes"""',
            ) from None
        if fields is None:
            return
        yield line, fields
        line = reader.line_num + 1


def read_parquet(path: Path, on_error: OnError = None) -> Iterator[Record]:
    """(row from 1, values) of a Parquet file, read in batches. Needs the extra `parquet`."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError(
            f"{path} cannot be read", "the package pyarrow is missing", "pip install 'seodang[parquet]'"
        ) from None
    if path.suffix != ".parquet":
        raise DataError(f"{path} cannot be read", "parquet files are compressed inside", "uncompress the file first")
    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield number, values
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged", str(error).split("\n")[0], "copy or download the file again") from None


def _first_character(head: bytes) -> str:
    return head.decode("utf-8-sig", errors="replace").lstrip()[:1]


def _read_lines(path: Path, lines: Iterator[tuple[int, str]], on_error: OnError) -> Iterator[Record]:
    for number, line in lines:
        if line and not line.isspace():
            try:
                values = _parse_line(path, number, line)
            except DataError as error:
                _complain(error, on_error)
                continue
            yield number, values


def _parse_line(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        if line.strip() == "{":
            raise _spread_object(path, number) from None
        raise _broken(path, number, f"{error.msg} at column {error.colno}", line) from None
    return _object(path, number, value, line)


def _complain(error: DataError, on_error: OnError) -> None:
    if on_error is None:
        raise error
    on_error(error)


def _read_list(path: Path, chunks: Iterator[str]) -> Iterator[Record]:
    """Records of a JSON list, decoded one by one from a buffer that grows only while a record is unfinished."""
    decoder = json.JSONDecoder()
    buffer, number, want, opened = "", 0, 1, False
    for chunk in chain(chunks, [None]):
        buffer += chunk or ""
        if chunk is not None and len(buffer) < want:
            continue
        if not opened:
            buffer, opened = buffer.lstrip()[1:], True
        start = want = 0
        while (start := _skip_separators(buffer, start)) < len(buffer) and buffer[start] != "]":
            try:
                value, end = decoder.raw_decode(buffer, start)
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated") or error.pos >= len(buffer) - 16
                if chunk is None or not unfinished or len(buffer) > LONGEST_ROW:
                    raise _broken(path, number + 1, error.msg, buffer[start:]) from None
                want = 2 * len(buffer)  # doubling keeps the work linear in the length of a long record
                break
            number += 1
            yield number, _object(path, number, value, buffer[start:end])
            start = end
        buffer = buffer[start:]
    if buffer.strip() != "]":
        reason = "text after the end of the list" if buffer.startswith("]") else "the list has no closing bracket"
        raise _broken(path, number + 1, reason, buffer)


def _skip_separators(text: str, start: int) -> int:
    while start < len(text) and text[start] in " \t\r\n,":
        start += 1
    return start


def _object(path: Path, number: int, value: Any, text: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(
            f"{path}:{number} is not an object",
            f"a row is written {{...}}, this one is a {type(value).__name__}",
            'write rows such as {"prompt": "...", "completion": "..."}',
        )
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            reason = "it escapes half a character (a surrogate such as \\ud83d without its partner)"
            raise _broken(path, number, reason, "") from None
    return value


def _broken(path: Path, number: int, reason: str, text: str) -> DataError:
    shown = text.strip()[:60]
    return DataError(
        f"{path}:{number} is broken JSON",
        reason + (f": {shown}…" if shown else ""),
        f"correct row {number}, or take it out",
    )


def _spread_object(path: Path, number: int) -> DataError:
    return DataError(
        f"{path}:{number} is neither JSON lines nor a JSON list",
        "an object is spread over several lines",
        f"jq -c . {path} > {path.stem}.jsonl   (one object per line)",
    )


def _checked_header(path: Path, header: list[str], texts: Collection[str]) -> list[str]:
    if len(header) == 1 and header[0].casefold() not in ("text", *map(str.casefold, texts)):
        raise DataError(
            f"{path}:1 is no header",
            f"the only column is called text, or it may be a row; the first line reads: {header[0][:80]}",
            f"put a header line first: sed -i '1i text' {path}, or rename the column: sed -i '1s/.*/text/' {path}",
        )
    if not header or not all(header) or len(set(header)) < len(header):
        shown = " | ".join(header)[:80]
        raise DataError(
            f"{path}:1 is no header",
            f"column names must be there, not empty and different; the first line reads: {shown}",
            f"put a header line first, such as: sed -i '1i prompt,completion' {path}",
        )
    return header


def _wrong_width(path: Path, line: int, header: list[str], fields: list[str]) -> DataError:
    return DataError(
        f"{path}:{line} has {len(fields)} fields",
        f"the header has {len(header)}: {', '.join(header)}",
        "quote fields that hold the separator or a line break, or correct the row",
    )


def _unquote(field: str) -> str:
    inside = field[1:-1]
    if len(field) >= 2 and field[0] == field[-1] == '"' and '"' not in inside.replace('""', ""):
        return inside.replace('""', '"')
    return field
