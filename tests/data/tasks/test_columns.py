"""Columns as they are written on the command line."""

from __future__ import annotations

import pytest

from seodang.data.tasks.columns import Columns
from seodang.errors import UsageError


def test_parts_by_their_names() -> None:
    assert Columns.parse(["premise=a", "hypothesis=b,label=c"]) == Columns("a", "b", "c")
    assert Columns.parse(["question=q,answers=x+y+z"]) == Columns(text2="q", answers=("x", "y", "z"))
    assert Columns.parse(["context=c", "answer=k"]) == Columns("c", label="k")


@pytest.mark.parametrize(
    ("setting", "said"),
    [("txt=a", "no such part; did you mean 'text'"), ("text=", "no column"), ("text=a,sentence=b", "given twice")],
)
def test_a_setting_that_says_nothing(setting: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Columns.parse([setting])


def test_numbers_count_columns_only_where_nothing_is_called_so() -> None:
    columns = Columns(text="2", label="1")
    assert columns.numbered(["0", "만화", "x"]) == ["1", "2", "3"]
    assert columns.numbered(["1", "good film"]) == ["1", "2"]  # the first line's label
    assert columns.numbered(["1", "2"]) is None  # KoBEST's COPA has such columns
    assert Columns(text="review", label="1").numbered(["a"]) is None
