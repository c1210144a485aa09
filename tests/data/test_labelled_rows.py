"""Labelled examples as rows and batches: by hand, cut to a length, dealt into steps."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from seodang.data.batch import IGNORE, Batch
from seodang.data.labelled import Kind, Labelled, TaskSpec
from seodang.data.labelled_rows import (
    LabelledLoader,
    LabelledRows,
    cut_pair,
    encode_examples,
    labelled_batches,
)
from seodang.data.transformations import Frame, Special
from seodang.errors import DataError, FitError, UsageError

S, D, E = 900, 901, 902
GPT = Special(S, D, E)
BERT = Frame((101,), (102,), (102,))


class Words:
    """A tokenizer whose texts are numbers with spaces between them."""

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [[int(word) for word in text.split()] for text in texts]


def encode(kind: Kind, form: Special | Frame, *examples: Labelled, **options: Any) -> LabelledRows:
    spec = TaskSpec(kind, kind, ("a", "b"), regression=options.pop("regression", False))
    return encode_examples(examples, spec, Words(), form, **{"max_length": 64, **options})


def rows_of(rows: LabelledRows) -> list[list[list[int]]]:
    return [[ids.tolist() for ids in row.ids] for row in rows.rows]


def numbers(count: int, start: int = 1) -> str:
    return " ".join(map(str, range(start, start + count)))


CHOICE = Labelled(("1 2", "3"), 1, ("4", "5 6"), "f:1")


def test_each_kind_for_a_decoder() -> None:
    assert rows_of(encode("classify", GPT, Labelled((" 1 2 ",), 0))) == [[[S, 1, 2, E]]]
    assert rows_of(encode("entail", GPT, Labelled(("1 2", "3"), 0))) == [[[S, 1, 2, D, 3, E]]]
    assert rows_of(encode("similar", GPT, Labelled(("1 2", "3"), 0))) == [[[S, 1, 2, D, 3, E], [S, 3, D, 1, 2, E]]]
    assert rows_of(encode("choice", GPT, CHOICE)) == [[[S, 1, 2, 3, D, 4, E], [S, 1, 2, 3, D, 5, 6, E]]]
    assert rows_of(encode("similar", GPT, Labelled(("1",), 0.5), regression=True)) == [[[S, 1, E]]]


def test_each_kind_for_an_encoder() -> None:
    assert rows_of(encode("classify", BERT, Labelled(("1 2",), 0))) == [[[101, 1, 2, 102]]]
    for kind in ("entail", "similar"):
        rows = encode(kind, BERT, Labelled(("1 2", "3"), 0))  # type: ignore[arg-type]
        assert rows_of(rows) == [[[101, 1, 2, 102, 3, 102]]]
        batch = rows.batch([0])
        assert batch.segments is not None and batch.segments.tolist() == [[0, 0, 0, 0, 1, 1, 0, 0]]
        assert batch.targets.tolist() == [[IGNORE] * 8]
    rows = encode("choice", BERT, CHOICE)
    assert rows_of(rows) == [[[101, 1, 2, 3, 102, 4, 102], [101, 1, 2, 3, 102, 5, 6, 102]]]
    batch = rows.batch([0])
    assert batch.segments is not None and batch.segments.tolist() == [[[0, 0, 0, 0, 0, 1, 1, 0], [0] * 5 + [1] * 3]]


def test_a_batch_by_hand() -> None:
    """Two choices, one with an answer fewer: its third sequence is all padding. L1 learns the texts alone."""
    rows = encode("choice", GPT, CHOICE, Labelled(("", "7"), None, ("8", "9", "10")), pad_id=77)
    batch = rows.batch([1, 0])
    assert batch.ids.shape == (2, 3, 8) and (rows.length, rows.sequences, rows.n_tokens) == (8, 3, 7 + 8 + 3 * 5)
    assert batch.ids[0].tolist() == [[S, 7, D, n, E, 77, 77, 77] for n in (8, 9, 10)]
    assert batch.ids[1, 2].tolist() == [77] * 8
    assert batch.documents is not None and batch.documents.tolist() == [
        [[0] * 5 + [-1] * 3] * 3,
        [[0] * 7 + [-1], [0] * 8, [-1] * 8],
    ]
    x = IGNORE
    assert batch.targets[0].tolist() == [[7, x, n, x, x, x, x, x] for n in (8, 9, 10)]
    assert batch.targets[1].tolist() == [[1, 2, 3, x, 4, x, x, x], [1, 2, 3, x, 5, 6, x, x], [x] * 8]
    assert batch.labels is not None and batch.labels.tolist() == [-100, 1] and batch.segments is None
    assert batch.last.tolist() == [[4, 4, 4], [6, 7, 0]]


def test_scores_are_floats() -> None:
    rows = encode("similar", GPT, Labelled(("1", "2"), 4.5), Labelled(("1", "3"), None), regression=True)
    labels = rows.batch([0, 1]).labels
    assert labels is not None and labels.dtype == torch.float32
    assert labels[0].item() == 4.5 and bool(labels[1].isnan())


def test_one_sequence_a_row_is_a_plain_rectangle() -> None:
    batch = encode("classify", GPT, Labelled(("1 2",), 0), Labelled(("3",), 1)).batch([0, 1])
    assert batch.ids.tolist() == [[S, 1, 2, E, 0, 0, 0, 0], [S, 3, E, 0, 0, 0, 0, 0]]
    assert batch.last.tolist() == [3, 2]


@pytest.mark.parametrize(
    ("lengths", "room", "kept"),
    [((5, 3), 8, (5, 3)), ((9, 3), 8, (5, 3)), ((3, 9), 8, (3, 5)), ((9, 9), 7, (4, 3)), ((1, 9), 2, (1, 1))],
)
def test_the_longer_text_is_cut_first(lengths: tuple[int, int], room: int, kept: tuple[int, int]) -> None:
    first, second = list(range(lengths[0])), list(range(50, 50 + lengths[1]))
    assert cut_pair(first, second, room) == (first[: kept[0]], second[: kept[1]])


def test_what_is_too_long_is_cut_and_said() -> None:
    long = Labelled((numbers(9),), 0, where="f:2")
    rows = encode("classify", GPT, Labelled(("1",), 1, where="f:1"), long, max_length=6)
    assert rows_of(rows)[1] == [[S, 1, 2, 3, 4, E]]
    assert rows.notes == ["1 of 2 rows cut to 6 tokens: f:2"] and rows.length == 6
    pair = encode("entail", GPT, Labelled((numbers(9), "50 51"), 0), max_length=7)
    assert rows_of(pair) == [[[S, 1, 2, D, 50, 51, E]]]
    both = rows_of(encode("similar", GPT, Labelled((numbers(9), "50 51"), 0), max_length=7))
    assert both == [[[S, 1, 2, D, 50, 51, E], [S, 50, 51, D, 1, 2, E]]]
    assert encode("classify", GPT, long).notes == []


@pytest.mark.parametrize("form", [GPT, BERT])
def test_every_answer_survives_and_all_have_one_context(form: Special | Frame) -> None:
    """The context loses its beginning, as many tokens as the longest answer asks for."""
    example = Labelled((numbers(20), "30 31"), 0, ("40", "50 51 52"))
    rows = encode("choice", form, example, max_length=10)
    bounds = (S, D, E) if form is GPT else (101, 102, 102)
    assert rows_of(rows) == [
        [[bounds[0], 19, 20, 30, 31, bounds[1], *answer, bounds[2]] for answer in ([40], [50, 51, 52])]
    ]


def test_the_smallest_length_that_would_do() -> None:
    examples = [CHOICE, Labelled(("1 2", ""), 0, (numbers(4), "9"), "f:2")]
    with pytest.raises(FitError, match=r"f:2 does not fit into 7 tokens\n.*answer.*take 8\n.*--max-length 8 is"):
        encode("choice", GPT, *examples, max_length=7)
    rows = encode("choice", GPT, *examples, max_length=8)
    assert rows_of(rows)[1] == [[S, 2, D, 1, 2, 3, 4, E], [S, 2, D, 9, E]]
    with pytest.raises(FitError, match="--max-length 5 is"):
        encode("entail", GPT, Labelled(("1 2", "3"), 0), max_length=4)
    assert rows_of(encode("entail", GPT, Labelled(("1 2", "3"), 0), max_length=5)) == [[[S, 1, D, 3, E]]]
    with pytest.raises(FitError, match="--max-length 3 is"):
        encode("classify", BERT, Labelled(("1 2",), 0), max_length=2)


def test_too_long_rows_left_out_or_an_error() -> None:
    examples = [Labelled(("1",), i % 2, where=f"f:{i}") for i in range(1, 20)]
    examples.append(Labelled((numbers(9),), 0, where="f:20"))
    rows = encode("classify", GPT, *examples, max_length=6, too_long="drop")
    assert len(rows) == 19 and rows.notes == ["1 of 20 rows left out as longer than 6 tokens: f:20"]
    with pytest.raises(DataError, match=r"1 of 20 rows would be lost: f:20\n.*at most 1%"):
        encode("classify", GPT, *examples, max_length=6, too_long="drop", max_lost=0.01)
    with pytest.raises(DataError, match=r"f:20 is too long\n.*11 tokens, 6 fit"):
        encode("classify", GPT, *examples, max_length=6, too_long="error")
    with pytest.raises(DataError, match="no examples"):
        encode("classify", GPT)


def ragged(count: int = 23, kind: Kind = "choice") -> LabelledRows:
    rng = np.random.default_rng(0)
    made = [
        Labelled((numbers(int(rng.integers(1, 30)), 10 * i),), i % 2, ("5", "5 6", "5 6 7", "5 6 7 8")[: 2 + i % 3])
        for i in range(count)
    ]
    return encode(kind, GPT, *made)


def bag(batches: list[Batch]) -> Counter[tuple[Any, ...]]:
    """The rows of some batches without padding."""
    found: Counter[tuple[Any, ...]] = Counter()
    for batch in batches:
        assert batch.documents is not None and batch.labels is not None
        for ids, targets, documents, label in zip(batch.ids, batch.targets, batch.documents, batch.labels, strict=True):
            real = [(ids[s][r], targets[s][r]) for s in range(len(ids)) if (r := documents[s] >= 0).any()]
            found[tuple((tuple(a.tolist()), tuple(b.tolist())) for a, b in real), int(label)] += 1
    return found


def test_every_row_once_an_epoch() -> None:
    rows = ragged()
    loader = LabelledLoader(rows, rows_per_step=23, micro_batch_size=4)
    first, second = loader.next_step(), loader.next_step()
    assert bag(first) == bag(second) == bag([rows.batch(range(23))])
    assert [len(batch.ids) for batch in first] == [4, 4, 4, 4, 4, 3]
    assert not torch.equal(first[0].ids, second[0].ids) or not torch.equal(first[1].ids, second[1].ids)
    assert loader.steps_per_epoch == 1 and loader.context_length == rows.length


@pytest.mark.parametrize(("size", "world"), [(1, 1), (8, 1), (3, 2), (2, 3)])
def test_micro_batches_and_ranks_change_nothing(size: int, world: int) -> None:
    """Steps of 8 rows over more than two epochs: the same rows in the same steps."""
    rows = ragged()
    reference = [bag(step) for step in islice(LabelledLoader(rows, rows_per_step=8, micro_batch_size=4, seed=3), 7)]
    loaders = [
        LabelledLoader(rows, rows_per_step=8, micro_batch_size=size, seed=3, rank=rank, world_size=world)
        for rank in range(world)
    ]
    for expected in reference:
        steps = [loader.next_step() for loader in loaders]
        assert sum((bag(step) for step in steps), Counter()) == expected
        assert max(len(batch.ids) for step in steps for batch in step) <= size
    assert len({loader.fingerprint for loader in loaders}) == 1


def test_a_micro_batch_holds_rows_that_are_alike() -> None:
    rows = ragged(64, "classify")
    batches = LabelledLoader(rows, rows_per_step=32, micro_batch_size=8).next_step()
    widths = [batch.ids.shape[1] for batch in batches]
    assert widths == sorted(widths, reverse=True) and widths[-1] < widths[0]
    n_tokens = sum(batch.n_tokens for batch in batches)
    in_order = sum(rows.batch(range(i, i + 8)).ids.numel() for i in range(0, 32, 8))
    assert sum(batch.ids.numel() for batch in batches) - n_tokens < in_order - n_tokens


def test_resumed_equals_uninterrupted() -> None:
    rows = ragged()
    whole = LabelledLoader(rows, rows_per_step=8, seed=1)
    for _ in range(4):
        whole.next_step()
    state = whole.state_dict()
    resumed = LabelledLoader(rows, rows_per_step=8, seed=1)
    resumed.load_state_dict(state)
    for _ in range(3):
        for a, b in zip(whole.next_step(), resumed.next_step(), strict=True):
            assert torch.equal(a.ids, b.ids) and torch.equal(a.targets, b.targets)
    for other in (
        LabelledLoader(rows, rows_per_step=8, seed=2),
        LabelledLoader(rows, rows_per_step=4, seed=1),
        LabelledLoader(ragged(22), rows_per_step=8, seed=1),
    ):
        with pytest.raises(DataError, match="not that of the interrupted run"):
            other.load_state_dict(state)


def test_a_label_is_part_of_the_fingerprint() -> None:
    prints = {encode("classify", GPT, Labelled(("1 2",), label)).fingerprint for label in (0, 1, None)}
    prints.add(encode("entail", GPT, Labelled(("1", "2"), 0)).fingerprint)
    assert len(prints) == 4


def test_a_batch_smaller_than_the_processes() -> None:
    with pytest.raises(UsageError, match=r"2 rows is too small for 3 processes\n.*\n.*--batch-rows 3"):
        LabelledLoader(ragged(), rows_per_step=2, rank=0, world_size=3)


@pytest.mark.parametrize("world", [1, 3])
def test_evaluation_comes_back_in_order(world: int) -> None:
    rows = ragged(kind="classify")
    said = torch.zeros(len(rows), dtype=torch.int64)
    widths = []
    for rank in range(world):
        for where, batch in labelled_batches(rows, 4, rank=rank, world_size=world):
            said[where] = batch.ids[:, 1]  # the first token of each text tells which row it is
            widths.append(batch.ids.shape[1])
    assert said.tolist() == [0 if i == 0 else 10 * i for i in range(len(rows))]
    assert world > 1 or widths == sorted(widths, reverse=True)
