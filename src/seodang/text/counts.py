"""Streamed texts → how often each word occurs, in bounded memory: what every vocabulary is learned from."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from seodang.errors import DataError

MAX_WORD = 48
"""Characters of a word; longer unspaced runs (Chinese, Thai, addresses, base64) are counted in parts."""

_CHUNK = 1 << 20
# a word with the space before it, as byte-level BPE sees it; \S covers every script
_WORDS = re.compile(rf"\s{{0,{MAX_WORD}}}\S{{1,{MAX_WORD}}}|\s{{1,{MAX_WORD}}}")

Source = Iterable[str | Path] | str | Path
"""Texts (str) or UTF-8 text files (Path); a lone str or Path is a file."""


def texts_of(source: Source) -> Iterator[str]:
    """The texts of `source`, files in chunks of a megabyte that end between words.

    Raises DataError for a file that is missing, empty, not UTF-8 (with its line) or not plain text.
    """
    for item in [Path(source)] if isinstance(source, str | Path) else source:
        if isinstance(item, Path):
            yield from _chunks(item)
        else:
            yield item


def _chunks(path: Path) -> Iterator[str]:
    if path.suffix in (".gz", ".zst", ".jsonl", ".json", ".csv", ".tsv", ".parquet"):
        raise DataError(
            f"{path} is not a plain text file",
            "a vocabulary is learned from texts",
            "seodang tokenizer train reads it; in Python pass (d.text for d in read_documents(path))",
        )
    n_lines = 0
    rest = b""
    try:
        with open(path, "rb") as stream:
            while chunk := stream.read(_CHUNK):
                chunk = rest + chunk
                cut = max(chunk.rfind(b"\n"), chunk.rfind(b" ")) if len(chunk) < 16 * _CHUNK else -1
                cut = cut if cut > 0 else _whole_characters(chunk)
                rest = chunk[cut:]
                yield _decode(chunk[:cut], path, n_lines)
                n_lines += chunk.count(b"\n", 0, cut)
            if rest:
                yield _decode(rest, path, n_lines)
            elif not stream.tell():
                raise DataError(f"{path} is empty", "it holds no text", "check the path, or leave the file out")
    except OSError as error:
        raise DataError(f"{path} cannot be read", error.strerror or str(error), "check the path") from None


def _whole_characters(data: bytes) -> int:
    """Where the last whole UTF-8 character of `data` ends."""
    for back in range(1, min(4, len(data)) + 1):
        if data[-back] & 0xC0 == 0xC0:  # the byte that begins a character of more than one
            return len(data) - back
        if data[-back] < 0x80:
            break
    return len(data)


def _decode(data: bytes, path: Path, n_lines: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = n_lines + data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line} is not UTF-8",
            f"byte {data[error.start]:#04x} begins no character",
            f"convert it: iconv -f cp949 -t utf-8 {path} > utf8.txt",
        ) from None


def count_words(
    texts: Iterable[str], *, max_words: int, nfc: bool = True, lowercase: bool = False
) -> Counter[str]:
    """Words (with the white space before them) and their counts, at most `max_words` of them.

    When there are more, the rarest go: whole counts of 1, then 2 …, and of the last class an even sample, so that
    unspaced scripts, where nearly every run is new, keep a sample instead of nothing (after lossy counting,
    Manku & Motwani 2002). Every word that stays has lost at most what it had gathered when it was last dropped.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        for start in range(0, len(text), _CHUNK):
            part = text[start : start + _CHUNK]
            part = unicodedata.normalize("NFC", part) if nfc else part
            counts.update(_WORDS.findall(part.lower() if lowercase else part))
            if len(counts) > max_words:
                counts = pruned(counts, max_words // 2)
    return counts


def pruned(counts: Counter[str], room: int, cost: Callable[[str], int] = lambda word: 1) -> Counter[str]:
    """The words with the highest counts, as many as `room` pays for; an even sample of the class that fits in part."""
    sizes: Counter[int] = Counter()
    for word, count in counts.items():
        sizes[count] += cost(word)
    if sizes.total() <= room:
        return counts
    threshold = 1
    for count in sorted(sizes, reverse=True):
        threshold = count
        if sizes[count] > room:
            break
        room -= sizes[count]
    share, seen, kept, result = room / sizes[threshold], 0, 0, Counter[str]()
    for word, count in counts.items():
        if count > threshold:
            result[word] = count
        elif count == threshold:
            price = cost(word)
            seen += price
            if kept + price <= seen * share:
                kept += price
                result[word] = count
    return result
