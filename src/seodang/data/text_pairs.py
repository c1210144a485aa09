"""Rows of two texts, a source and what it becomes → token ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from seodang.data.formats import PAIRS
from seodang.data.noising import Ints
from seodang.data.readers import Row
from seodang.errors import DataError

KEYS = (("source", "target"), *PAIRS, ("document", "summary"))
"""Columns of a source and its target, compared without regard to case."""


@dataclass(frozen=True, slots=True)
class TextPair:
    """Ids of both texts without special tokens, where they stand (`file:row`), UTF-8 bytes of the target."""

    source: Ints
    target: Ints
    where: str
    n_bytes: int


def read_pairs(
    rows: Iterable[Row],
    tokenizer: Any,
    *,
    max_source: int,
    max_target: int,
    max_lost: float = 0.1,
) -> tuple[list[TextPair], list[str]]:
    """(pairs, remarks). Rows with keys of `KEYS`, or with two texts only: the first becomes the second.

    A tab-separated file without a header line is one whose first line has a space in a column. Rows with more than
    `max_source` or `max_target` tokens are left out and counted. Raises DataError (file:row) for a row without two
    texts, for an empty text, and when more than `max_lost` of the rows would be left out.
    """
    pairs: list[TextPair] = []
    too_long: list[str] = []
    for source, target, where in pair_texts(rows):
        ids = [np.array(tokenizer.encode(text), dtype=np.int64) for text in (source, target)]
        if len(ids[0]) > max_source or len(ids[1]) > max_target:
            too_long.append(where)
        else:
            pairs.append(TextPair(ids[0], ids[1], where, len(target.encode("utf-8"))))
    n_rows, some = len(pairs) + len(too_long), ", ".join(too_long[:3])
    if n_rows and len(too_long) > max_lost * n_rows:
        raise DataError(
            f"{len(too_long):,} of {n_rows:,} rows would be lost ({len(too_long) / n_rows:.0%}): {some}",
            f"a source has more than {max_source:,} tokens or a target more than {max_target:,}; at most "
            f"{max_lost:.0%} may be lost",
            "raise --max-length, or cut or leave out those rows",
        )
    return pairs, [f"dropped as too long {len(too_long):,}: {some}"] if too_long else []


def pair_texts(rows: Iterable[Row]) -> Iterable[tuple[str, str, str]]:
    """(source, target, where) of every row. Raises DataError (file:row) for a row without two texts."""
    seen: set[str] = set()
    for row in rows:
        keys = _keys(row)
        if row.source not in seen and ".tsv" in row.source and any(" " in key for key in keys):
            yield *keys, f"{row.source}:1"
        seen.add(row.source)
        source, target = (row.values[key] for key in keys)
        if not (isinstance(source, str) and isinstance(target, str) and source.strip() and target.strip()):
            raise DataError(
                f"{row.where} is not a pair of texts", f"{keys[0]} and {keys[1]} must both hold text", "mend the row"
            )
        yield source, target, row.where


def is_pair(row: Row) -> bool:
    """Whether a row is two texts by its keys: known ones, or the two columns of a tab-separated file."""
    names = {key.casefold() for key, value in row.values.items() if isinstance(value, str)}
    known = any({a, b} <= names for a, b in KEYS)
    return known or (len(row.values) == len(names) == 2 and ".tsv" in row.source)


def _keys(row: Row) -> tuple[str, str]:
    names = {key.casefold(): key for key in row.values}
    found = next(((names[a], names[b]) for a, b in KEYS if a in names and b in names), None)
    if found is None and len(row.values) == 2:
        first, second = row.values
        found = first, second
    if found is None:
        raise DataError(
            f"{row.where} is not a pair of texts",
            f"its keys are {', '.join(row.values) or 'none'}",
            'write rows such as {"source": "...", "target": "..."}',
        )
    return found
