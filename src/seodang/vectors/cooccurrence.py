"""How often words stand near one another: counts weighted by 1/distance, in bounded memory, on disk.

Shapes: V words, N cells of the upper half of the symmetric matrix X (V, V), a cell being the pair a ≤ b.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CHUNK = 500_000
"""Words that are counted at once."""

PART = 8_000_000
"""Cells that are merged at once."""


@dataclass(frozen=True)
class Cooccurrences:
    """The cells of X that are not zero, each pair once, on disk: `keys` (N,) a·V + b with a ≤ b, `counts` (N,) > 0."""

    n_words: int
    keys: np.ndarray
    counts: np.ndarray

    def cells(self, places: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(a, b, X_ab) of the cells at `places`, int64 and float32."""
        keys = self.keys[places]
        return keys // self.n_words, keys % self.n_words, self.counts[places]


def count_pairs(ids: np.ndarray, lines: np.ndarray, n_words: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys and counts of the words `ids` (T,) with the numbers of their `lines` (T,).

    Two words of a line at distance d ≤ `window` add 1/d to X_ab and to X_ba (Pennington et al. 2014, sec. 4.2), which
    are one cell here; a word near itself adds 2/d.
    """
    keys, weights = [], []
    for distance in range(1, window + 1):
        together = lines[distance:] == lines[:-distance]
        left, right = ids[:-distance][together], ids[distance:][together]
        keys.append(np.minimum(left, right) * n_words + np.maximum(left, right))
        weights.append(np.where(left == right, 2 / distance, 1 / distance))
    return sum_by_key(np.concatenate(keys), np.concatenate(weights))


def sum_by_key(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each key once, ascending, with the sum of its values."""
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[starts], np.add.reduceat(values, starts) if len(starts) else values


def count_cooccurrences(
    lines: Iterable[list[str]], vocabulary: Mapping[str, int], window: int, folder: Path
) -> Cooccurrences:
    """X of the words in `lines`, those outside `vocabulary` taken out first; its files go to `folder`.

    Memory is that of CHUNK words and PART cells, whatever the text.
    """
    n_words, runs = len(vocabulary), []
    for number, (ids, numbers) in enumerate(_chunks(lines, vocabulary)):
        keys, counts = count_pairs(ids, numbers, n_words, window)
        runs.append((_stored(folder / f"keys{number}.npy", keys), _stored(folder / f"counts{number}.npy", counts)))
    total = 0
    with open(folder / "keys", "wb") as key_file, open(folder / "counts", "wb") as count_file:
        for keys, counts in _merged(runs):
            keys.astype(np.int64).tofile(key_file)
            counts.astype(np.float32).tofile(count_file)
            total += len(keys)
    if not total:
        return Cooccurrences(n_words, np.empty(0, np.int64), np.empty(0, np.float32))
    return Cooccurrences(
        n_words,
        np.memmap(folder / "keys", dtype=np.int64, mode="r"),
        np.memmap(folder / "counts", dtype=np.float32, mode="r"),
    )


def _chunks(lines: Iterable[list[str]], vocabulary: Mapping[str, int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    index = {word: row for row, word in enumerate(vocabulary)}
    ids: list[int] = []
    numbers: list[int] = []
    for number, line in enumerate(lines):
        known = [index[word] for word in line if word in index]
        ids += known
        numbers += [number] * len(known)
        if len(ids) >= CHUNK:
            yield np.array(ids), np.array(numbers)
            ids, numbers = [], []
    if ids:
        yield np.array(ids), np.array(numbers)


def _stored(path: Path, array: np.ndarray) -> np.ndarray:
    np.save(path, array)
    return np.load(path, mmap_mode="r") if len(array) else array


def _merged(runs: list[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The runs as one, by ranges of keys that hold about PART cells of them together."""
    if not runs:
        return
    samples = np.sort(np.concatenate([keys[::1000] for keys, _ in runs]))
    n_parts = -(-sum(len(keys) for keys, _ in runs) // PART)
    cuts = np.unique(samples[np.linspace(0, len(samples), n_parts + 1).astype(int)[1:-1]])
    edges = [np.concatenate([[0], np.searchsorted(keys, cuts), [len(keys)]]) for keys, _ in runs]
    for part in range(len(cuts) + 1):
        slices = [slice(edge[part], edge[part + 1]) for edge in edges]
        yield sum_by_key(
            np.concatenate([keys[one] for (keys, _), one in zip(runs, slices, strict=True)]),
            np.concatenate([counts[one] for (_, counts), one in zip(runs, slices, strict=True)]),
        )
