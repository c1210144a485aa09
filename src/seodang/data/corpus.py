"""`data split` and `data stats`: hold a part out, and count what is there."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from seodang.data.readers import SEPARATOR, read_documents, read_rows
from seodang.data.sources import expand, kind_of
from seodang.errors import DataError, SeodangError, UsageError
from seodang.files import atomic_folder

_SCRIPTS = {
    "hangul": ((0xAC00, 0xD7A3), (0x1100, 0x11FF), (0x3130, 0x318F)),
    "latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F)),
    "han": ((0x3400, 0x9FFF), (0xF900, 0xFAFF)),
    "kana": ((0x3040, 0x30FF),),
    "digits": ((0x30, 0x39),),
}


def split(
    files: Iterable[Path | str], out: Path | str, *, eval_fraction: float = 0.1, seed: int = 0
) -> dict[str, Any]:
    """Write `train` and `eval` files (.jsonl for rows, .txt for text) into the new folder `out`.

    A row goes to the side that a hash of its contents and the seed says, so equal rows never stand on both sides;
    the share held out is exact but for such duplicates. A single text document is cut near a line end instead.
    Raises DataError for bad input or too little of it, SeodangError when `out` is not empty.
    """
    if not 0 < eval_fraction < 1:
        raise UsageError(f"--eval-fraction {eval_fraction}", "it is a share", "give a number between 0 and 1")
    paths, out = expand(list(files)), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SeodangError(f"{out} is in the way", "it is not empty", "choose another folder with --out")
    texts = {kind_of(path) == "text" for path in paths}
    if len(texts) > 1:
        raise DataError("text files and rows cannot be split together", "they become one file", "split them apart")
    is_text = texts.pop()
    keys = array("Q", (key for key, *_ in _keyed(paths, is_text, seed)))
    suffix = ".txt" if is_text else ".jsonl"
    with atomic_folder(out) as folder:
        names = {part: folder / f"{part}{suffix}" for part in ("train", "eval")}
        with open(names["train"], "w", encoding="utf-8") as train, open(names["eval"], "w", encoding="utf-8") as held:
            if len(keys) > 1:
                counts = _by_hash(paths, is_text, seed, keys, eval_fraction, train, held)
            elif is_text:
                counts = _by_tail(paths, eval_fraction, train, held)
            else:
                raise DataError(f"{paths[0]} has one row", "nothing can be held out", "give more rows")
    return {name: {"file": str(out / f"{name}{suffix}"), "rows": count} for name, count in counts.items()}


def _by_hash(
    paths: list[Path], is_text: bool, seed: int, keys: array[int], fraction: float, train: TextIO, held: TextIO
) -> dict[str, int]:
    ordered = sorted(keys)
    limit = ordered[max(1, round(fraction * len(ordered))) - 1]
    if limit == ordered[-1]:
        raise DataError(f"{paths[0]} cannot be split", "too many of its rows are equal", "take duplicates out first")
    counts = {"train": 0, "eval": 0}
    side = iter(keys)
    key, start = next(side), True
    for record, ends in _written(paths, is_text):
        name, stream = ("eval", held) if key <= limit else ("train", train)
        if start and is_text and counts[name]:
            stream.write(f"{SEPARATOR}\n")
        stream.write(record)
        start = ends
        if ends:
            counts[name] += 1
            key = next(side, 0)
    return counts


def _by_tail(paths: list[Path], fraction: float, train: TextIO, held: TextIO) -> dict[str, int]:
    total = sum(len(document.text) for document in read_documents(paths))
    goal, seen, stream = total - round(fraction * total), 0, train
    for document in read_documents(paths):
        text = document.text
        if stream is train and seen + len(text) > goal:
            cut = text.find("\n", max(0, goal - seen)) + 1 or text.find(" ", max(0, goal - seen)) + 1 or goal - seen
            train.write(text[:cut])
            text, stream, seen = text[cut:], held, seen + cut
        stream.write(text)
        seen += len(text)
    if not held.tell() or not train.tell():
        raise DataError(f"{paths[0]} is too small to split", f"it has {total} characters", "give more text")
    return {"train": 1, "eval": 1}


def _written(paths: list[Path], is_text: bool) -> Iterator[tuple[str, bool]]:
    """(what is written, whether a record ends with it)"""
    if not is_text:
        for row in read_rows(paths):
            yield json.dumps(row.values, ensure_ascii=False, default=str) + "\n", True
        return
    for document in read_documents(paths):
        end = "" if document.continues or document.text.endswith("\n") else "\n"
        yield document.text + end, not document.continues


def _keyed(paths: list[Path], is_text: bool, seed: int) -> Iterator[tuple[int, bool]]:
    """A 64-bit key of each record, from its contents and the seed."""
    hasher = hashlib.blake2b(str(seed).encode(), digest_size=8)
    for record, ends in _written(paths, is_text):
        hasher.update(record.strip().encode("utf-8"))
        if ends:
            yield int.from_bytes(hasher.digest(), "big"), ends
            hasher = hashlib.blake2b(str(seed).encode(), digest_size=8)


def stats(files: Iterable[Path | str], tokenizer: Any = None) -> list[dict[str, Any]]:
    """For each file: documents or rows, UTF-8 bytes, characters, words, lines, shares of scripts, and with a
    tokenizer tokens, bytes per token and tokens per word (fertility). Streams; memory does not grow."""
    return [_count(path, tokenizer) for path in expand(list(files))]


def _count(path: Path, tokenizer: Any) -> dict[str, Any]:
    total: Counter[str] = Counter()
    scripts: Counter[str] = Counter()
    for text, ends in _texts(path):
        total["characters"] += len(text)
        total["bytes"] += len(text.encode("utf-8"))
        total["words"] += len(text.split())
        total["lines"] += text.count("\n")
        total["rows"] += ends
        if tokenizer is not None:
            total["tokens"] += len(tokenizer.encode(text))
        for char, count in Counter(text).items():
            scripts[_script(char)] += count
    inked = sum(scripts.values()) - scripts["space"]
    shares = {name: round(count / inked, 4) for name, count in scripts.most_common() if name != "space" and inked}
    result: dict[str, Any] = {"file": str(path), **total, "scripts": shares}
    if tokenizer is not None and total["tokens"]:
        result["bytes_per_token"] = total["bytes"] / total["tokens"]
        result["tokens_per_word"] = total["tokens"] / max(1, total["words"])
    return result


def _texts(path: Path) -> Iterator[tuple[str, bool]]:
    if kind_of(path) == "text":
        for document in read_documents(path):
            yield document.text, not document.continues
        return
    for row in read_rows(path):
        yield "\n".join(_strings(row.values)), True


def _strings(value: Any) -> Iterator[str]:
    """All text in a row, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _script(char: str) -> str:
    if char.isspace():
        return "space"
    code = ord(char)
    for name, ranges in _SCRIPTS.items():
        if any(first <= code <= last for first, last in ranges):
            return name
    return "other"
