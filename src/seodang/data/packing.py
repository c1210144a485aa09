"""Packing: ragged examples into rows of one length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Sequence


def pack(lengths: Sequence[int], capacity: int, *, buffer: int = 4096) -> list[list[int]]:
    """Distribute examples over rows: first-fit decreasing within consecutive buffers of `buffer` examples.

    `lengths[i]` is the length of example i in tokens. Returns rows as lists of example indices; each index comes
    exactly once, no row holds more than `capacity` tokens, and no example is split. Deterministic: equal lengths
    keep their order. First-fit decreasing needs at most 11/9 of the best number of rows, plus one (Johnson 1973);
    the buffer bounds the time and keeps rows near the (shuffled) order the examples came in.

    Raises ValueError for an example longer than `capacity` and for an empty one.
    """
    rows: list[list[int]] = []
    for start in range(0, len(lengths), buffer):
        stop = min(start + buffer, len(lengths))
        rows.extend(_first_fit_decreasing(lengths, start, stop, capacity))
    return rows


def _first_fit_decreasing(lengths: Sequence[int], start: int, stop: int, capacity: int) -> list[list[int]]:
    order = sorted(range(start, stop), key=lambda i: -lengths[i])  # stable: ties keep their order
    rows: list[list[int]] = []
    room = _FirstFit(max(1, stop - start), capacity)
    for i in order:
        if not 0 < lengths[i] <= capacity:
            raise ValueError(f"example {i} has {lengths[i]} tokens; a row holds 1 to {capacity}")
        row = room.place(lengths[i])
        if row == len(rows):
            rows.append([])
        rows[row].append(i)
    return rows


class _FirstFit:
    """The first row with enough room, in O(log n): a tree whose nodes hold the largest room beneath them."""

    def __init__(self, n_rows: int, capacity: int) -> None:
        self.n_leaves = 1 << (n_rows - 1).bit_length()
        self.largest = [capacity] * (2 * self.n_leaves)

    def place(self, length: int) -> int:
        node = 1
        while node < self.n_leaves:
            node = 2 * node if self.largest[2 * node] >= length else 2 * node + 1
        row = node - self.n_leaves
        self.largest[node] -= length
        while node > 1:
            node //= 2
            self.largest[node] = max(self.largest[2 * node], self.largest[2 * node + 1])
        return row


def utilisation(lengths: Sequence[int], rows: Sequence[Sequence[int]], capacity: int) -> float:
    """Share of the positions of packed `rows` that hold a token, in [0, 1]."""
    return sum(lengths[i] for row in rows for i in row) / (capacity * len(rows)) if rows else 0.0
