"""`read_task`: files of a published set, or of the user's own, → examples with labels that are numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from seodang.data.formats import without_row
from seodang.data.labelled import Kind, Labelled, TaskData, TaskSpec
from seodang.data.sources import expand
from seodang.data.tasks.columns import Columns, chosen, find_columns, text_of
from seodang.data.tasks.labels import (
    Raw,
    answer_number,
    answer_numbers,
    canonical,
    check_classes,
    class_number,
    class_numbers,
    find_classes,
    positive_last,
    same_labels,
    score,
)
from seodang.data.tasks.published import GENERIC, TASKS, Published, task_name
from seodang.data.tasks.records import LINE, Table, read_table, read_text
from seodang.data.tasks.shapes import answer_list, beside
from seodang.errors import DataError, UsageError

METRICS = {
    "classify": ("accuracy", "macro_f1"),
    "entail": ("accuracy", "macro_f1"),
    "similar": ("accuracy", "f1"),
    "choice": ("accuracy",),
    "regress": ("pearson", "spearman"),
}
"""Of the user's own files; the published sets have their papers'."""


def read_task(
    task: str,
    files: Iterable[Path | str] | Path | str,
    *,
    columns: Columns | None = None,
    labels: Sequence[str] | None = None,
    labelled: bool | Literal["some"] | None = None,
) -> TaskData:
    """The examples of `files` (files, folders, globs) in their order.

    task      a published name (`published.TASKS`), whose layouts are told by the content; or classify, entail, similar,
              choice or regress for any csv, tsv, jsonl, json, parquet or table without a header line
    columns   which columns to read, where their names are not usual ones
    labels    the classes that are known, of a trained model or of the training set, in order: all others are an error,
              and one class alone is none. Of a choice: what its answers are called, such as A, B, C or 1, 2, 3
    labelled  True: labels must be there. False: they are not read. None: the user's own rows must have them; a
              published test file may lack the column, and then every example's label is None. "some": the user's own
              rows may lack them, too, one by one.
    Rows of a published set that nobody can learn from (without a gold label, with an empty text) are left out and
    counted in `notes`; in the user's own files they are errors.
    Raises UsageError for an unknown task, DataError (file:row) for whatever else is wrong.
    """
    name = task_name(task)
    if labels and len(set(labels)) < max(2, len(labels)):
        raise UsageError(
            f"the labels are given as {', '.join(labels)}",
            "there must be two or more, none of them twice",
            "name all classes, or leave the labels out: they are found",
        )
    reader = _Reader(name, TASKS.get(name), columns or Columns(), labels, labelled)
    for path in _files(files, reader.published):
        reader.read(path)
    return reader.finish()


def _files(files: Iterable[Path | str] | Path | str, published: Published | None) -> list[Path]:
    """What `expand` makes of them, without what lies in the folders of data sets for other uses: notes for people, and
    lists of addresses beside the folders that are labels (IMDB)."""
    given = [files] if isinstance(files, str | Path) else list(files)
    labels = published.folders if published else ()
    found: list[Path] = [] if given else expand(given)  # which says that there are none
    for one in given:
        inside = expand(one)
        if Path(one).is_dir() and any(path.parent.name in labels for path in inside):
            inside = [path for path in inside if path.parent.name in labels]
        found += [path for path in inside if path.suffix != ".md"]
    return found


@dataclass
class _Reader:
    """Gathers raw examples, file by file; their labels are understood when all are known."""

    name: str
    published: Published | None
    columns: Columns
    labels: Sequence[str] | None
    labelled: bool | Literal["some"] | None
    raw: list[Raw] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    bases: dict[str, int] = field(default_factory=dict)
    """Of each file, the number that its first class or answer has; only where the layout says it."""

    @property
    def by_columns(self) -> bool:
        """Whether the columns are found by usual names, or by the user's, and not by those of a published set."""
        return self.published is None or bool(self.columns.given)

    @property
    def kind(self) -> str:
        return self.name if self.published is None else self.published.kind

    def read(self, path: Path) -> None:
        published = self.published
        if published is not None and published.folders and path.parent.name in published.folders:
            if path.parent.name != "unsup":
                self._add({"text": read_text(path)}, path, 1, ("text",), path.parent.name, ())
            return
        table = read_table(path, published.encoding if published else "utf-8")
        names = self.columns.numbered(table.head)
        if names is not None and table.fields:
            self.columns.without_header(f"{path}:{table.fields[0][0]}", table.head)
        if published is not None and names is None and not self.columns.given:
            names = _bare_names(table, published)
        self._check_names(table, names)
        found: tuple[tuple[str, ...], str | None, tuple[str, ...]] | None = None
        aside = beside(path) if self.name in ("piqa", "winogrande") else None
        for number, (row, record) in enumerate(table.named(names)):
            if record is None:
                self._wrong_width(path, row, table)
                continue
            for values in self._shaped(record, path, row):
                found = found or self._columns(path, list(values))
                texts, label, answers = found
                value: Any = None if label is None else values.get(label)
                if label is None and aside is not None and number < len(aside):
                    value = aside[number]
                self._add(values, path, row, texts, value, answers)

    def _shaped(self, record: dict[str, Any], path: Path, row: int) -> list[dict[str, Any]]:
        if self.published is None:
            return [record]
        try:
            return list(self.published.shape(record))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}:{row} is no row of {self.name}",
                f"{type(error).__name__}: {error}; its keys are {', '.join(record)}",
                "correct the row, or take it out",
            ) from None

    def _check_names(self, table: Table, names: list[str] | None) -> None:
        twice = [name for name, count in Counter(table.head).items() if count > 1]
        if self.by_columns and table.fields and names is None and twice:
            raise DataError(
                f"{table.path}:1 has two columns {twice[0]!r}",
                f"its columns are {', '.join(name[:40] for name in table.head)}",
                "rename one; without a header line count the columns: --columns text=2,label=1",
            )

    def _columns(self, path: Path, head: list[str]) -> tuple[tuple[str, ...], str | None, tuple[str, ...]]:
        """Columns of the texts, of the label, of the answers, as they are written in this file."""
        if self.by_columns:
            columns = self.columns
            if self.published and self.published.regression:  # whose score may stand beside another label
                columns = replace(columns, label=columns.label or chosen(self.published.label, head) or None)
            found = find_columns(str(path), head, self.kind, columns, self.labelled is not False)
            return found.texts, found.label, found.answers
        assert self.published is not None
        texts = tuple(chosen(name, head) for name in self.published.texts)
        answers = tuple(chosen(name, head) for name in self.published.answers)
        wanted = (*self.published.texts, *self.published.answers)
        missing = [want for want, name in zip(wanted, texts + answers, strict=True) if want and not name]
        if missing:
            raise DataError(
                f"{path} is not {self.name} in a layout that is known: it has no column {missing[0]}",
                f"its columns are {', '.join(name[:40] for name in head)}",
                f"name the columns (--columns …), or read it as your own: --task {self.kind}",
            )
        label = next((name for option in self.published.label.split("|") if (name := chosen(option, head))), None)
        options = self.published.label.split("|")  # a label beside the file is counted as the first of them
        self.bases[str(path)] = int(options[0].endswith("@1") if label is None else f"{label.casefold()}@1" in options)
        return texts, label, answers

    def _add(
        self, values: dict[str, Any], path: Path, row: int, texts: tuple[str, ...], label: Any, answers: tuple[str, ...]
    ) -> None:
        where = f"{path}:{row}"
        read = tuple(text_of(values, name, where) for name in texts)
        marks: tuple[str, ...] = ()
        given: tuple[str, ...] = ()
        if len(answers) == 1:
            given, marks = answer_list(values.get(answers[0]), where)
        elif answers:
            given = tuple(text_of(values, name, where) for name in answers)
        if isinstance(label, list | dict):
            raise DataError(
                f"{where} has a {type(label).__name__} as its label",
                "a label is a text or a number",
                "name another column: --columns label=NAME",
            )
        written = "" if self.labelled is False else canonical(label)
        published = self.published
        if published is not None and published.stray and len(written) > 2 and written not in published.labels:
            self.left_out["with a text for a label"] += 1
        elif published is not None and written in published.left_out:
            self.left_out[f"without a gold label ({written!r})"] += 1
        elif not _is_whole(self.kind, read, given):
            self._incomplete(where, row, path, "an empty text" if not _has_texts(self.kind, read) else "a blank answer")
        else:
            self.raw.append(Raw(read, written, where, given, marks))

    def _incomplete(self, where: str, row: int, path: Path, what: str) -> None:
        if self.published is not None:
            self.left_out[f"with {what}"] += 1
            return
        raise DataError(
            f"{where} has {what}",
            "a row needs all its texts",
            f"mend the row, or leave it out: {without_row(str(path), row)}",
        )

    def _wrong_width(self, path: Path, row: int, table: Table) -> None:
        if self.published is not None and not self.columns.given:
            self.left_out["with a wrong number of fields"] += 1
            return
        n = next(len(fields) for number, fields in table.fields if number == row)
        raise DataError(
            f"{path}:{row} has {n} fields",
            f"the header has {len(table.head)}: {', '.join(name[:40] for name in table.head)}",
            "quote fields that hold the separator or a line break, or correct the row",
        )

    def finish(self) -> TaskData:
        """Labels become numbers. Raises DataError for a label that is missing, unknown or alone."""
        if not self.raw:
            raise DataError(
                f"no example of {self.name} is left",
                "; ".join(self._left_out()) or "no row was read",
                "check the files",
            )
        self._sort_out_unlabelled()
        if self.kind == "choice" and self.published is None:
            _equal_numbers(self.raw)
        spec = self._spec()
        examples = [
            Labelled(raw.texts, number, raw.answers, raw.where)
            for raw, number in zip(self.raw, self._numbers(spec), strict=True)
        ]
        known = [example.label for example in examples if example.label is not None]
        fixed = self.kind != "choice"  # each answer is judged by itself: the first may always be the right one
        if known and fixed and self.labels is None and self.labelled is not False:
            check_classes(known, spec.labels, examples[0].where.rpartition(":")[0])
        notes = [f"left out {line}" for line in self._left_out()]
        if len(known) < len(examples):
            notes.append(f"{len(examples) - len(known):,} examples without a label")
        return TaskData(spec, examples, notes)

    def _left_out(self) -> list[str]:
        return [f"{count:,} row{'s' * (count != 1)} {reason}" for reason, count in self.left_out.items()]

    def _sort_out_unlabelled(self) -> None:
        """Rows of the hub's test files have -1 or nothing as their label; elsewhere such rows are left out."""
        if self.published is not None:
            self.raw = [replace(raw, label="") if raw.label == "-1" else raw for raw in self.raw]
        without = [raw for raw in self.raw if not raw.label]
        if self.labelled is False or not without:
            return
        if self.published is not None and len(without) < len(self.raw):
            self.left_out["without a label"] += len(without)
            self.raw = [raw for raw in self.raw if raw.label]
            return
        if self.labelled == "some" or (self.published is not None and self.labelled is None):
            return
        path, _, row = without[0].where.rpartition(":")
        raise DataError(
            f"{without[0].where} has no label",
            f"{len(without):,} of {len(self.raw):,} rows have none",
            f"label the row, or leave it out: {without_row(path, int(row))}" if len(without) == 1
            else "label them or leave them out, or name the right column: --columns label=NAME",
        )

    def _spec(self) -> TaskSpec:
        published = self.published
        if published is not None:
            names = published.labels
            if self.labels is not None and names:
                names = same_labels(self.name, self.labels, names)
            language = published.language or _language(self.raw)
            kind, regression, metrics = published.kind, published.regression, published.metrics
            return TaskSpec(self.name, kind, names, regression, metrics, language, published.source)
        regression, kind = self.name == "regress", cast(Kind, self.name)
        if regression:
            kind = "similar" if len(self.raw[0].texts) == 2 else "classify"
        names = ()
        if kind != "choice" and not regression:
            with_label = [raw for raw in self.raw if raw.label]
            found = find_classes(with_label) if with_label else ()
            names = tuple(self.labels or (positive_last(found) if kind == "similar" else found))
        metrics = METRICS[self.name] if len(names) == 2 or kind != "similar" or regression else METRICS["classify"]
        return TaskSpec(self.name, kind, names, regression, metrics, _language(self.raw))

    def _numbers(self, spec: TaskSpec) -> Iterator[int | float | None]:
        marks = tuple(self.labels or ()) if spec.kind == "choice" and self.published is None else ()
        if spec.kind == "choice" and self.by_columns:
            yield from answer_numbers(self.raw, marks)
            return
        known = class_numbers(spec.labels, self.published.aliases if self.published else {})
        for raw in self.raw:
            first = self.bases.get(raw.where.rpartition(":")[0], 0)
            if not raw.label:
                yield None
            elif spec.regression:
                yield score(raw)
            elif spec.kind == "choice":
                yield answer_number(raw, first)
            else:
                names = self.published.labels if self.published else spec.labels  # files count as the set was published
                yield class_number(raw, names, known, first if self.published else None)


def _bare_names(table: Table, published: Published) -> list[str] | None:
    """Names for the fields of a table whose first line is none, or None where its first line names them."""
    if not table.fields or not published.bare:
        return None
    head = {name.casefold() for name in table.head}
    if any(set(option.split("|")) & head for option in published.texts):
        return None
    fits = len(table.head) == 1 if published.bare == (LINE,) else len(table.head) >= len(published.bare)
    return list(published.bare) if fits else None


def _has_texts(kind: str, texts: tuple[str, ...]) -> bool:
    return any(map(str.strip, texts)) if kind == "choice" else all(map(str.strip, texts))


def _is_whole(kind: str, texts: tuple[str, ...], answers: tuple[str, ...]) -> bool:
    return _has_texts(kind, texts) and (kind != "choice" or bool(answers) and all(map(str.strip, answers)))


def _equal_numbers(raw: Sequence[Raw]) -> None:
    """Raises DataError for the first row that has more or fewer answers than the others."""
    counts = Counter(len(example.answers) for example in raw)
    usual = counts.most_common(1)[0][0]
    for example in raw:
        n = len(example.answers)
        if n != usual or n < 2:
            others = f"{counts[usual]:,} of {len(raw):,} rows have {usual}"
            raise DataError(
                f"{example.where} has {n} answer{'s' * (n != 1)}",
                others if n != usual else "a choice is among two or more",
                "give every row the same number of answers",
            )


def _language(raw: Sequence[Raw]) -> str:
    """"ko" when a third of the letters of the first rows are Hangul; nothing else is told apart."""
    text = " ".join(part for example in raw[:200] for part in (*example.texts, *example.answers))
    letters, hangul = len(re.findall(r"[^\W\d_]", text)), len(re.findall("[가-힣]", text))
    return "ko" if letters and hangul * 3 >= letters else ""


__all__ = ["GENERIC", "TASKS", "read_task"]
