"""`data check`: what is in these files, and what would go wrong when training on them."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seodang.data.examples import check_one_format, located
from seodang.data.formats import is_desired, to_conversation, unused_keys
from seodang.data.readers import Row, read_documents, read_rows, text_key
from seodang.data.sources import expand, kind_of
from seodang.errors import DataError

SHOWN = 10
"""Places named for each kind of finding; all are counted."""


@dataclass
class Findings:
    """Counts of one kind of finding, and the first places."""

    count: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        self.count += 1
        if len(self.places) < SHOWN:
            self.places.append(place)

    def to_dict(self) -> dict[str, Any]:
        return {"count": self.count, "places": self.places}


@dataclass(frozen=True)
class Item:
    """A row or document reduced to what the check needs: digests of all of it and of its question, and its size."""

    where: str
    digest: bytes
    question: bytes
    length: int
    unknown: int


class Checker:
    """Reads files and gathers findings; one instance for the training files, one for the evaluation files.

    Memory: about 100 bytes a row (digests and lengths), never the text.
    """

    def __init__(self, tokenizer: Any = None, max_length: int | None = None) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self.files: list[dict[str, Any]] = []
        self.problems: list[dict[str, Any]] = []
        self.n_problems = self.unknown = self.undesired = 0
        self.too_long, self.duplicates = Findings(), Findings()
        self.unused: set[str] = set()
        self.lengths = array("q")
        self.digests: dict[bytes, str] = {}
        self.questions: dict[bytes, str] = {}

    def read(self, paths: Iterable[Path | str]) -> None:
        """Go through all files; a file that cannot be read is a problem, not the end."""
        for path in expand(list(paths)):
            formats: Counter[str] = Counter()
            try:
                for item in self._items(path, formats):
                    self._add(item)
            except DataError as error:
                self._problem(error)
            self.files.append({"file": str(path), "bytes": path.stat().st_size, "formats": dict(formats)})

    def _items(self, path: Path, formats: Counter[str]) -> Iterator[Item]:
        if kind_of(path) == "text":
            yield from self._documents(path, formats)
            return
        first: dict[str, tuple[str, int]] = {}
        for row in read_rows(path, self._problem):
            try:
                kind = check_one_format(row, first)
                formats[kind] += 1
                self.unused |= unused_keys(row)
                item = self._row(row, kind)
            except DataError as error:
                self._problem(error)
                continue
            if item:
                yield item

    def _documents(self, path: Path, formats: Counter[str]) -> Iterator[Item]:
        hasher, length, unknown = hashlib.blake2b(digest_size=16), 0, 0
        for document in read_documents(path):
            hasher.update(document.text.encode("utf-8"))
            more, strange = self._measure(document.text)
            length, unknown = length + more, unknown + strange
            if not document.continues:
                formats["text"] += 1
                yield Item(f"{path}:{document.row}", hasher.digest(), b"", length, unknown)
                hasher, length, unknown = hashlib.blake2b(digest_size=16), 0, 0

    def _row(self, row: Row, kind: str) -> Item | None:
        if kind == "text":
            text = row.values[text_key(row)]
            return Item(row.where, _digest(text), b"", *self._measure(text))
        if kind in ("prompt", "stepwise"):
            question = _digest(row.values["prompt"])
            return Item(row.where, question, question, *self._measure(str(row.values["prompt"])))
        if not is_desired(row):
            self.undesired += 1
            return None
        messages = to_conversation(row).messages
        turns = [(message["role"], message["content"]) for message in messages]
        answers = [i for i, (role, _) in enumerate(turns) if role == "assistant"]
        question = _digest(turns[: answers[-1]])
        if self.tokenizer is None:
            return Item(row.where, _digest(turns), question, sum(len(content) for _, content in turns), 0)
        from seodang.text.chat import render

        with located(row.where):
            ids = render(self.tokenizer, messages)
        return Item(row.where, _digest(turns), question, len(ids), self._count_unknown(ids))

    def _measure(self, text: str) -> tuple[int, int]:
        """(length, unknown tokens): in tokens when there is a tokenizer, else in characters."""
        if self.tokenizer is None:
            return len(text), 0
        ids = self.tokenizer.encode(text)
        return len(ids), self._count_unknown(ids)

    def _count_unknown(self, ids: Sequence[int]) -> int:
        unknown = getattr(self.tokenizer, "unk_id", None)
        # a vocabulary without an unknown token, or whose end of text stands in for it, loses nothing
        if unknown is None or unknown == self.tokenizer.end_of_text_id:
            return 0
        return sum(i == unknown for i in ids)

    def _add(self, item: Item) -> None:
        self.lengths.append(item.length)
        self.unknown += item.unknown
        if item.digest in self.digests:
            self.duplicates.add(f"{item.where} = {self.digests[item.digest]}")
        else:
            self.digests[item.digest] = item.where
        if item.question:
            self.questions.setdefault(item.question, item.where)
        if self.max_length and item.length > self.max_length:
            self.too_long.add(f"{item.where} ({item.length:,})")

    def _problem(self, error: DataError) -> None:
        """Count it; the first of each kind is shown."""
        self.n_problems += 1
        for problem in self.problems:
            if problem["why"] == error.why:
                problem["count"] += 1
                return
        if len(self.problems) < SHOWN:
            self.problems.append({"what": error.what, "why": error.why, "fix": error.fix, "count": 1})


def check(
    files: Iterable[Path | str],
    *,
    tokenizer: Any = None,
    max_length: int | None = None,
    eval_files: Iterable[Path | str] = (),
) -> dict[str, Any]:
    """Everything `data check` reports, as plain values. `passed` is False when some row cannot be used."""
    train = Checker(tokenizer, max_length)
    train.read(files)
    held_out = Checker(tokenizer, max_length)
    eval_files = list(eval_files)
    if eval_files:
        held_out.read(eval_files)
    same, asked = Findings(), Findings()
    for digest, where in held_out.digests.items():
        if digest in train.digests:
            same.add(f"{where} = {train.digests[digest]}")
    for digest, where in held_out.questions.items():
        if digest in train.questions:
            asked.add(f"{where} asks what {train.questions[digest]} asks")
    n_tokens = sum(train.lengths)
    unit = "characters" if tokenizer is None else "tokens"
    return {
        "passed": not train.n_problems and not held_out.n_problems,
        "rows": len(train.lengths),
        "files": train.files,
        "problems": {"count": train.n_problems + held_out.n_problems, "first": train.problems + held_out.problems},
        "lengths": {"unit": unit, **describe(train.lengths)},
        "too_long": {"max_length": max_length, **train.too_long.to_dict()},
        "duplicates": train.duplicates.to_dict(),
        "undesired": train.undesired,
        "unused_keys": sorted(train.unused),
        "unknown_tokens": {"count": train.unknown, "share": train.unknown / n_tokens if n_tokens else 0.0},
        "evaluation": {
            "rows": len(held_out.lengths),
            "files": held_out.files,
            "same_rows": same.to_dict(),
            "same_questions": asked.to_dict(),
        },
    }


def describe(lengths: Sequence[int]) -> dict[str, Any]:
    """Count, total, least, quartiles, 95th and 99th percentile, greatest, and a histogram by powers of two."""
    ordered = sorted(lengths)
    if not ordered:
        return {"count": 0, "total": 0}
    names = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99, "max": 1.0}
    bins = Counter(max(0, length - 1).bit_length() for length in ordered)
    return {
        "count": len(ordered),
        "total": sum(ordered),
        **{name: ordered[round(share * (len(ordered) - 1))] for name, share in names.items()},
        "histogram": {f"<={1 << power}": bins[power] for power in sorted(bins)},
    }


def report_lines(result: dict[str, Any]) -> list[str]:
    """The result of `check` for people."""
    lines = []
    for file in result["files"] + result["evaluation"]["files"]:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in file["formats"].items()) or "nothing usable"
        lines.append(f"{file['file']}: {file['bytes'] / 1e6:.1f} MB, {kinds}")
    lengths = result["lengths"]
    if lengths["count"]:
        names = ("min", "p25", "median", "p75", "p95", "p99", "max")
        figures = "  ".join(f"{name} {lengths[name]:,}" for name in names)
        lines += [f"rows {result['rows']:,}, {lengths['unit']} {lengths['total']:,}: {figures}"]
        lines += bars(lengths["histogram"])
    limit = result["too_long"]["max_length"]
    if limit and lengths["count"]:
        share = result["too_long"]["count"] / lengths["count"]
        title = f"longer than {limit:,} {lengths['unit']}: {result['too_long']['count']:,} ({share:.1%})"
        lines += places(title, result["too_long"])
    lines += places(f"exact duplicates: {result['duplicates']['count']:,}", result["duplicates"])
    if result["undesired"]:
        lines.append(f"marked undesired (left out of sft): {result['undesired']:,}")
    if result["unused_keys"]:
        lines.append(f"keys that are not used: {', '.join(result['unused_keys'])}")
    if lengths["unit"] == "tokens":
        unknown = result["unknown_tokens"]
        lines.append(f"unknown tokens: {unknown['count']:,} ({unknown['share']:.3%})")
    held_out = result["evaluation"]
    if held_out["files"]:
        title = f"evaluation rows also in training: {held_out['same_rows']['count']:,} of {held_out['rows']:,}"
        lines += places(title, held_out["same_rows"])
        title = f"evaluation questions also in training: {held_out['same_questions']['count']:,}"
        lines += places(title, held_out["same_questions"])
    return lines + _problem_lines(result["problems"])


def _problem_lines(problems: dict[str, Any]) -> list[str]:
    lines = [f"unusable rows: {problems['count']:,}"]
    for problem in problems["first"]:
        more = f" ({problem['count']:,} such)" if problem["count"] > 1 else ""
        lines += [f"  {problem['what']}{more}", f"    why: {problem['why']}", f"    fix: {problem['fix']}"]
    return lines


def bars(histogram: dict[str, int], width: int = 40) -> list[str]:
    """A histogram of `describe` as lines."""
    most = max(histogram.values())
    return [f"  {name:>10} {count:>9,} {'#' * round(width * count / most)}" for name, count in histogram.items()]


def places(title: str, findings: dict[str, Any], limit: int = 3) -> list[str]:
    """Findings as a title and their first places."""
    more = findings["count"] - min(limit, len(findings["places"]))
    lines = [title, *(f"  {place}" for place in findings["places"][:limit])]
    return lines + ([f"  … and {more:,} more"] if more > 0 else [])


def _digest(value: Any) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
