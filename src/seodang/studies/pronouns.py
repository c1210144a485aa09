"""Definite pronouns in the layout of Rahman & Ng (2012), *Resolving Complex Cases of Definite Pronouns* (DPRD).

    The bee landed on the flower because it had pollen.
    it
    The bee,the flower
    the flower
    (an empty line)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from seodang.data.labelled import Labelled
from seodang.data.tasks.records import read_text
from seodang.errors import DataError
from seodang.studies.heuristics import BLANK


def read_pronouns(files: Iterable[Path]) -> list[Labelled]:
    """Examples whose text has `_` in the place of the pronoun, and the candidates as answers.

    Where the pronoun comes more than once, the last one is meant: it stands in the second clause. Raises DataError
    (file:row) for a block that is not four lines, for one whose parts do not fit each other, and for files without any.
    """
    paths = list(files)
    examples = [example for path in paths for example in _read(path)]
    if not examples:
        raise DataError(f"{', '.join(map(str, paths))} has no sentence", "every line is empty", "check the file")
    return examples


def _read(path: Path) -> Iterable[Labelled]:
    lines = [(row, line.strip()) for row, line in enumerate(read_text(path).splitlines(), start=1)]
    for whole, group in groupby(lines, key=lambda pair: bool(pair[1])):
        block = list(group)
        if whole:
            yield _example([line for _, line in block], f"{path}:{block[0][0]}")


def _example(block: list[str], where: str) -> Labelled:
    if len(block) != 4:
        raise DataError(
            f"{where} begins a block of {len(block)} lines",
            "a block is a sentence, its pronoun, the candidates with a comma between, and the right one",
            "write four lines and an empty one",
        )
    sentence, pronoun, listed, right = block
    candidates = tuple(part.strip() for part in listed.split(","))
    found = list(re.finditer(rf"\b{re.escape(pronoun)}\b", sentence, re.IGNORECASE))
    numbers = [n for n, candidate in enumerate(candidates) if candidate.casefold() == right.casefold()]
    if not found or len(candidates) < 2 or len(numbers) != 1:
        why = f"{pronoun!r} is not in the sentence" if not found else f"{right!r} is none, or not one, of {listed!r}"
        raise DataError(f"{where} does not fit together", why, "correct the block")
    at = found[-1]
    text = sentence[: at.start()] + BLANK + sentence[at.end() :]
    return Labelled((text, ""), numbers[0], candidates, where)
