"""Demonstrations: which examples stand before a question, that none of them is the question, and that they fit.

A list of demonstrations is in the order of the prompt: its last one stands next to the question.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from seodang.errors import DataError, FitError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from seodang.data.labelled import Labelled

Select = Literal["fixed", "random", "nearest"]
Overlap = Literal["refuse", "skip"]

Item = TypeVar("Item")

Embed = Callable[[list[str]], "Tensor"]
"""Texts → unit vectors (N, D); see `embedder`."""


@dataclass(frozen=True)
class Shots:
    """How demonstrations are taken from a pool of labelled examples: at random (Brown et al. 2020, sec. 2.4), or the
    nearest to the question, the nearest one last (Liu et al. 2022, kNN-augmented selection)."""

    pool: Sequence[Labelled] = ()
    k: int = 0
    select: Select = "fixed"
    """fixed: the first k, in the pool's order; random: k anew for each row, by (seed, row); nearest: by the cosine of
    their vectors with the question's."""
    balanced: bool = False
    """The labels in turn, so that their numbers differ by one at most."""
    seed: int = 0
    overlap: Overlap = "refuse"
    """What to do with a demonstration that is the question itself: an error, or pass on to the next one."""

    def check(self) -> Shots:
        """Itself. Raises UsageError for a k that the pool cannot give."""
        if self.k < 0:
            raise UsageError(f"k = {self.k}", "that many demonstrations there are not", "set k to 0 or more")
        if self.k > len(self.pool):
            raise UsageError(
                f"k = {self.k} demonstrations out of {len(self.pool)}",
                "each stands in a prompt once" if self.pool else "no examples were given to take them from",
                f"set -k {len(self.pool)} or less, or give a longer file" if self.pool else "add --shots FILE",
            )
        return self


def key_of(example: Labelled) -> tuple[str, ...]:
    """What two examples share that are the same one: their texts, and the answers to choose from, `plain`."""
    choices = sorted(example.answers) if len(example.answers) > 1 else []
    return tuple(plain(text) for text in (*example.texts, *choices))


def plain(text: str) -> str:
    """The letters, digits and symbols (+, =, € …) of a text alone, in one case and width, with what changes a number
    (3.5, -1, 3/4); of a text without any, the text."""
    text = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    kept = [
        one for one, after in zip(text, [*text[1:], ""], strict=False)
        if one.isalnum() or unicodedata.category(one)[0] in "SM" or (one in ".-−/*" and after.isdigit())
    ]  # fmt: skip
    return "".join(kept) or text


def demonstrate(
    examples: Sequence[Labelled], shots: Shots, *, embed: Embed | None = None
) -> tuple[list[list[Labelled]], list[str]]:
    """(demonstrations for each of `examples`, remarks).

    embed: needed to select the nearest. Raises DataError, naming both rows, where a demonstration is the question
    itself, and for a pool row without a label; UsageError for a k that the pool cannot give.
    """
    shots.check()
    if shots.k == 0:
        return [[] for _ in examples], []
    unlabelled = next((row for row in shots.pool if row.label is None), None)
    if unlabelled is not None:
        raise DataError(
            f"{unlabelled.where} has no label", "a demonstration shows its answer", "label it, or leave it out"
        )
    keys = [key_of(row) for row in shots.pool]
    similar = _similarities(examples, shots.pool, embed) if shots.select == "nearest" else None
    chosen, skipped = [], 0
    for row, example in enumerate(examples):
        if similar is not None:
            order = np.argsort(-similar[row], kind="stable").tolist()
        elif shots.select == "random":
            order = np.random.default_rng([shots.seed, row]).permutation(len(keys)).tolist()
        else:
            order = list(range(len(keys)))
        own = key_of(example)
        if shots.overlap == "skip":
            allowed = [place for place in order if keys[place] != own]
            skipped += len(allowed) < len(order)
            order = allowed
        taken = balanced(order, [shots.pool[place].label for place in order], shots.k) if shots.balanced else order
        picked = taken[: shots.k]
        if shots.select == "nearest":
            picked = picked[::-1]
        for place in picked:
            if keys[place] == own:
                raise _contained(shots.pool[place], example)
        chosen.append([shots.pool[place] for place in picked])
    notes = [f"{skipped} rows are among the demonstrations; these were passed over"] if skipped else []
    return chosen, notes


def balanced(items: Sequence[Item], labels: Sequence[object], k: int) -> list[Item]:
    """`k` of the items, each label in turn as long as there are any of it, the first ones of each; in their order.

    >>> balanced("abcd", [0, 0, 0, 1], 2)
    ['a', 'd']
    """
    ranks: dict[object, int] = {}
    turns = []
    for place, label in enumerate(labels):
        ranks[label] = ranks.get(label, -1) + 1
        turns.append((ranks[label], place))
    return [items[place] for place in sorted(place for _, place in sorted(turns)[:k])]


def _similarities(examples: Sequence[Labelled], pool: Sequence[Labelled], embed: Embed | None) -> np.ndarray:
    if embed is None:
        raise UsageError(
            "nearest demonstrations without a model of vectors", "nearness is measured by one", "pass embed="
        )
    one, other = (embed(["\n".join(filter(None, row.texts)) for row in rows]) for rows in (examples, pool))
    return (one @ other.T).numpy()


def _contained(shown: Labelled, asked: Labelled) -> DataError:
    return DataError(
        f"the demonstration {shown.where or shown.texts[0][:40]!r} contains the row {asked.where or 'that is asked'}",
        "it would show the model the answer that is to be measured",
        "take that row out of one of the files, or pass over such rows: --overlap skip",
    )


def fit(
    demonstrations: Sequence[Labelled], size: Callable[[Sequence[Labelled]], int], room: int, where: str = ""
) -> list[Labelled]:
    """The demonstrations without the furthest ones (the first in the list), so that the prompt fits.

    size: tokens of the whole prompt with the demonstrations that it is given; room: tokens that there may be. Raises
    FitError when the question alone is too long.
    """
    if size(demonstrations) <= room:
        return list(demonstrations)
    low, high = 0, len(demonstrations)  # the first is known not to fit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(demonstrations[middle:]) > room else (low, middle)
    kept = list(demonstrations[high:])
    if not kept and (alone := size([])) > room:
        raise FitError(
            f"{where or 'a row'}: {alone:,} tokens without any demonstration",
            f"the context holds {room:,}, prompt and answer together",
            "shorten the text or the description, or use a model with a longer context",
        )
    return kept


def dropped_note(wanted: Sequence[Sequence[Labelled]], kept: Sequence[Sequence[Labelled]]) -> list[str]:
    """How many demonstrations were dropped for how many rows, as a remark; none where none was."""
    lost = [len(all_) - len(few) for all_, few in zip(wanted, kept, strict=True)]
    rows = sum(n > 0 for n in lost)
    if not rows:
        return []
    return [f"the context is full: {sum(lost):,} demonstrations were dropped, in {rows:,} of {len(lost):,} rows"]
