"""Demonstrations: which ones, in which order, and what is refused."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from seodang.data.labelled import Labelled
from seodang.errors import DataError, FitError, UsageError
from seodang.prompting.demonstrations import Shots, balanced, demonstrate, dropped_note, fit, key_of

POOL = [Labelled((text,), label, where=f"train.tsv:{row}") for row, (text, label) in enumerate(
    [("good", 1), ("fine", 1), ("great", 1), ("bad", 0), ("poor", 0), ("dull", 0)], start=2)]
ASKED = [Labelled((text,), 1, where=f"dev.tsv:{row}") for row, text in enumerate("abcdefgh", start=2)]


def words(chosen):
    return [[row.texts[0] for row in shown] for shown in chosen]


def test_fixed_are_the_first():
    assert words(demonstrate(ASKED[:2], Shots(POOL, 3))[0]) == [["good", "fine", "great"]] * 2
    assert demonstrate(ASKED, Shots(POOL, 0)) == ([[] for _ in ASKED], [])


def test_random_ones_are_a_function_of_seed_and_row():
    first = words(demonstrate(ASKED, Shots(POOL, 3, "random"))[0])
    assert first == words(demonstrate(ASKED, Shots(POOL, 3, "random"))[0])
    assert first[:4] == words(demonstrate(ASKED[:4], Shots(POOL, 3, "random"))[0])  # rows do not depend on others
    assert first != words(demonstrate(ASKED, Shots(POOL, 3, "random", seed=1))[0])
    assert len({tuple(row) for row in first}) > 1
    assert all(len(set(row)) == 3 for row in first)


def test_every_demonstration_is_as_likely():
    rows = [Labelled((str(number),), 0) for number in range(3000)]
    counts = Counter(word for row in words(demonstrate(rows, Shots(POOL, 2, "random"))[0]) for word in row)
    assert all(abs(n - 1000) < 130 for n in counts.values())  # five standard deviations of a binomial (3000, 1/3)


def test_balanced_over_labels():
    assert balanced("abcdef", [1, 1, 1, 0, 0, 0], 4) == ["a", "b", "d", "e"]
    assert balanced("abcdef", [1, 1, 1, 0, 0, 0], 3) == ["a", "b", "d"]
    assert balanced("abc", [0, 0, 1], 3) == ["a", "b", "c"]  # a label that has run out
    for select in ("fixed", "random"):
        for shown in demonstrate(ASKED, Shots(POOL, 4, select, balanced=True))[0]:
            assert Counter(row.label for row in shown) == {0: 2, 1: 2}


def vectors(texts):
    """Letters as directions: texts that begin alike are near."""
    table = {"good": (1, 0.1), "fine": (1, 0.3), "great": (1, 0), "bad": (0, 1), "poor": (0.1, 1), "dull": (-1, 0)}
    found = torch.tensor([table.get(text, (1, 0)) for text in texts], dtype=torch.float)
    return torch.nn.functional.normalize(found, dim=1)


def test_the_nearest_stands_last():
    chosen = words(demonstrate(ASKED[:1], Shots(POOL, 3, "nearest"), embed=vectors)[0])
    assert chosen == [["fine", "good", "great"]]
    even = demonstrate(ASKED[:1], Shots(POOL, 3, "nearest", balanced=True), embed=vectors)[0][0]
    assert [row.texts[0] for row in even] == ["poor", "good", "great"]
    with pytest.raises(UsageError, match="without a model"):
        demonstrate(ASKED, Shots(POOL, 1, "nearest"))


@pytest.mark.parametrize("text", ["good", "Good.", " G O O D !", "ｇｏｏｄ"])
def test_the_row_itself_is_refused(text):
    asked = [*ASKED[:1], Labelled((text,), 1, where="dev.tsv:9")]
    with pytest.raises(DataError) as caught:
        demonstrate(asked, Shots(POOL, 1))
    assert "train.tsv:2" in caught.value.what and "dev.tsv:9" in caught.value.what
    chosen, notes = demonstrate(asked, Shots(POOL, 1, overlap="skip"))
    assert words(chosen) == [["good"], ["fine"]]
    assert notes == ["1 rows are among the demonstrations; these were passed over"]


def test_what_makes_two_examples_the_same():
    assert key_of(Labelled(("좋은 영화", ""), 0)) == key_of(Labelled(("좋은영화!", ""), 1))
    assert key_of(Labelled(("Why?",), 0, ("yes", "no"))) == key_of(Labelled(("why",), 1, ("no", "yes")))
    assert key_of(Labelled(("Why?",), 0, ("yes", "no"))) != key_of(Labelled(("Why?",), 0, ("yes", "never")))
    assert key_of(Labelled(("!!!",), 0)) != key_of(Labelled(("???",), 0))
    for one, other in (("3 - 4 =", "3 + 4 ="), ("3.5", "35"), ("C++", "C"), ("6/3", "63"), ("-1", "1")):
        assert key_of(Labelled((one,), 0)) != key_of(Labelled((other,), 0))


def test_demonstrations_that_there_are_not():
    with pytest.raises(UsageError, match="k = 7 demonstrations out of 6"):
        demonstrate(ASKED, Shots(POOL, 7))
    with pytest.raises(UsageError, match="out of 0"):
        demonstrate(ASKED, Shots((), 1))
    with pytest.raises(DataError, match="train.tsv:8 has no label"):
        demonstrate(ASKED, Shots([*POOL, Labelled(("?",), None, where="train.tsv:8")], 1))


def test_the_furthest_are_dropped():
    def size(shown):  # ten tokens of question, three for each demonstration
        return 10 + 3 * len(shown)

    assert fit(POOL, size, 28) == POOL
    assert fit(POOL, size, 27) == POOL[1:]
    assert fit(POOL, size, 16) == POOL[4:]
    assert fit(POOL, size, 10) == []
    with pytest.raises(FitError) as caught:
        fit(POOL, size, 9, "dev.tsv:3")
    assert "dev.tsv:3: 10 tokens" in caught.value.what
    with pytest.raises(FitError):
        fit([], size, 9)
    assert dropped_note([POOL, POOL, POOL], [POOL, POOL[2:], POOL[4:]]) == [
        "the context is full: 6 demonstrations were dropped, in 2 of 3 rows"
    ]
    assert dropped_note([POOL], [POOL]) == []
