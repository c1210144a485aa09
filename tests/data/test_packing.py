"""Packing: every example once, whole, in a row with room for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seodang.data.packing import pack, utilisation


def test_first_fit_decreasing_by_hand() -> None:
    # 7 opens row 0; 5 opens row 1; 4 fits row 1 (room 5); 3 fits row 0 exactly; 1 goes to row 1
    assert pack([3, 5, 7, 1, 4], 10) == [[2, 0], [1, 4, 3]]
    assert utilisation([3, 5, 7, 1, 4], [[2, 0], [1, 4, 3]], 10) == 1.0


@given(st.lists(st.integers(1, 20), max_size=60), st.integers(20, 50), st.integers(1, 70))
def test_every_example_once_and_no_row_too_long(lengths: list[int], capacity: int, buffer: int) -> None:
    rows = pack(lengths, capacity, buffer=buffer)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(row and sum(lengths[i] for i in row) <= capacity for row in rows)
    assert rows == pack(lengths, capacity, buffer=buffer)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60), st.integers(20, 50))
def test_a_row_is_opened_only_when_no_earlier_one_has_room(lengths: list[int], capacity: int) -> None:
    rows = pack(lengths, capacity)
    used = [sum(lengths[i] for i in row) for row in rows]
    for later in range(1, len(rows)):
        first = lengths[rows[later][0]]
        placed_before = [sum(lengths[i] for i in row if (-lengths[i], i) < (-first, rows[later][0])) for row in rows]
        assert all(placed_before[earlier] + first > capacity for earlier in range(later))
    assert len(used) <= 11 / 9 * -(-sum(lengths) // capacity) * 2 + 1


@pytest.mark.parametrize("lengths", [[11], [3, 0]])
def test_what_fits_no_row_is_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError):
        pack(lengths, 10)
