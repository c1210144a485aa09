"""Rows without labels, one after the other: what a fine-tuned model is asked about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from seodang.data.labelled import Labelled, TaskSpec
from seodang.data.readers import read_rows
from seodang.data.sources import expand, kind_of, open_binary, read_lines
from seodang.data.tasks.columns import TEXTS, Columns, Found, chosen, find_columns, text_of
from seodang.data.tasks.published import TASKS
from seodang.data.tasks.shapes import answer_list
from seodang.errors import DataError


def stream_examples(
    files: Iterable[Path | str] | Path | str, spec: TaskSpec, columns: Columns | None = None
) -> Iterator[Labelled]:
    """Examples of `files`, in order; labels that they have are not read. Nothing but the row at hand is held.

    A `.txt` file has a text on every line; tables need a header line. Rows in a published set's own layout become the
    texts that `read_task` makes of them. Raises DataError (file:row) for a column that is missing and for a row without
    its texts.
    """
    columns = columns or Columns()
    kind = "entail" if spec.kind == "classify" and columns.text2 else spec.kind
    for path in expand(files):
        if kind_of(path) == "text":
            yield from _lines(path, spec)
            continue
        found: Found | None = None
        for row in read_rows(path, texts=(*TEXTS, *columns.given)):
            if not columns.given and (published := _published(row.values, spec)) is not None:
                yield from (_example(*one, row.where) for one in published)
                continue
            found = found or find_columns(str(path), list(row.values), kind, columns, False)
            yield _example(row.values, found, row.where)


def _published(values: dict[str, Any], spec: TaskSpec) -> list[tuple[dict[str, Any], Found]] | None:
    """A record in the layout of the published set that the model learned, with its columns; None for any other."""
    if (published := TASKS.get(spec.name)) is None:
        return None
    try:
        records = list(published.shape(values))
    except (KeyError, TypeError, ValueError):
        return None
    found = []
    for record in records:
        texts, answers = (
            tuple(chosen(name, list(record)) for name in names) for names in (published.texts, published.answers)
        )
        if any(want and not name for want, name in zip(published.texts, texts, strict=True)) or not all(answers):
            return None
        found.append((record, Found(texts, None, answers)))
    return found


def _lines(path: Path, spec: TaskSpec) -> Iterator[Labelled]:
    if spec.kind != "classify":
        raise DataError(
            f"{path} has one text a line", f"{spec.name} asks about more than one text", "give a csv, tsv or jsonl file"
        )
    with open_binary(path) as stream:
        for number, line in read_lines(stream, path):
            if line.strip():
                yield Labelled((line,), None, where=f"{path}:{number}")


def _example(values: dict[str, Any], found: Found, where: str) -> Labelled:
    texts = tuple(text_of(values, name, where) for name in found.texts)
    if len(found.answers) == 1:
        answers = answer_list(values.get(found.answers[0]), where)[0]
    else:
        answers = tuple(text_of(values, name, where) for name in found.answers)
    if not any(text.strip() for text in texts):
        raise DataError(f"{where} has an empty text", "there is nothing to classify", "leave the row out")
    return Labelled(texts, None, answers, where)
