"""The stream of rows depends on the seed alone: not on micro-batches, not on ranks, not on interruptions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seodang.data.batch import Batch
from seodang.data.collate import packed_batch, window_batch
from seodang.data.examples import Example
from seodang.data.loader import (
    PretrainLoader,
    SFTLoader,
    StepLoader,
    evaluation_batches,
    example_batches,
    permutation,
)
from seodang.data.shards import TokenShards, build_shards
from seodang.errors import DataError, UsageError
from tests.data.conftest import ByteTokenizer

TEXTS = ["the cat sat on the mat", "서당", "x", "hello there the cat", "서당개 삼 년이면 풍월을", "1 + 1 = 2"] * 3


@pytest.fixture
def corpus(tmp_path: Path, tokenizer: ByteTokenizer) -> TokenShards:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return build_shards(file, tokenizer, tmp_path / "shards")


def make_examples(n: int = 23) -> list[Example]:
    examples = []
    for i in range(n):
        ids = np.arange(2 + (i * 7) % 13, dtype=np.int32) + 100 * (i + 1)
        mask = np.arange(len(ids)) >= len(ids) // 2
        examples.append(Example(ids, mask, "rows.jsonl", i + 1, n_bytes=i + 1))
    return examples


Make = Callable[..., StepLoader]


@pytest.fixture(params=["pretrain", "sft"])
def make(request: pytest.FixtureRequest, corpus: TokenShards) -> Make:
    """Builds a loader of either kind: 3 rows a step."""

    def build(**options: Any) -> StepLoader:
        sizes = {"tokens_per_step": 48, "context_length": 16, "micro_batch_size": 2, **options}
        if request.param == "pretrain":
            return PretrainLoader(corpus, **sizes)
        return SFTLoader(make_examples(), **sizes)

    return build


def rows(batch: Batch) -> list[tuple]:
    """Rows of a batch without their padding, as comparable values."""
    out = []
    for b in range(len(batch.ids)):
        kept = batch.documents[b] >= 0 if batch.documents is not None else torch.ones_like(batch.ids[b], dtype=bool)
        documents = batch.documents[b][kept].tolist() if batch.documents is not None else [0] * int(kept.sum())
        positions = batch.positions[b][kept].tolist() if batch.positions is not None else list(range(int(kept.sum())))
        out.append((tuple(batch.ids[b][kept].tolist()), tuple(batch.targets[b][kept].tolist()), *documents, *positions))
    return out


def step_rows(step: list[Batch]) -> list[tuple]:
    return [row for batch in step for row in rows(batch)]


def equal(a: Batch, b: Batch) -> bool:
    def same(x: Any, y: Any) -> bool:
        return x is y or (x is not None and y is not None and torch.equal(x, y))

    names = ("ids", "targets", "documents", "positions")
    return all(same(getattr(a, name), getattr(b, name)) for name in names) and a.n_bytes == b.n_bytes


@pytest.mark.parametrize("micro_batch_size", [1, 2, 8])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_rows_of_a_step_do_not_depend_on_how_they_are_shared(
    make: Make, micro_batch_size: int, world_size: int
) -> None:
    expected = [step_rows(step) for step in islice(make(micro_batch_size=8), 12)]
    ranks = [
        [step for step in islice(make(micro_batch_size=micro_batch_size, rank=rank, world_size=world_size), 12)]
        for rank in range(world_size)
    ]
    for number, wanted in enumerate(expected):
        mine = [step_rows(ranks[rank][number]) for rank in range(world_size)]
        assert [mine[i % world_size][i // world_size] for i in range(len(wanted))] == wanted
        assert all(len(batch.ids) <= micro_batch_size for steps in ranks for batch in steps[number])
    totals = [sum(batch.n_bytes for steps in ranks for batch in steps[n]) for n in range(12)]
    whole = [sum(batch.n_bytes for batch in step) for step in islice(make(micro_batch_size=8), 12)]
    assert totals == whole and min(whole) > 0


def test_resumed_equals_uninterrupted_at_every_step(make: Make) -> None:
    straight = make()
    n_steps = int(3 * straight.steps_per_epoch) + 2  # crosses epochs
    steps, states = [], [json.loads(json.dumps(straight.state_dict()))]
    for step in islice(straight, n_steps):
        steps.append(step)
        states.append(json.loads(json.dumps(straight.state_dict())))
    assert straight.epoch >= 3
    for at in range(n_steps):
        resumed = make(micro_batch_size=2)
        resumed.load_state_dict(states[at])
        for wanted, got in zip(steps[at : at + 3], resumed, strict=False):
            assert len(wanted) == len(got) and all(equal(a, b) for a, b in zip(wanted, got, strict=True))


def test_each_epoch_gives_every_row_once_in_another_order(make: Make) -> None:
    loader = make(tokens_per_step=16)  # one row a step
    epochs = []
    for epoch in range(3):
        n_rows = loader.rows_in_epoch(epoch)
        epochs.append([row for _ in range(n_rows) for row in step_rows(loader.next_step())])
        assert loader.epoch == epoch + 1 and loader.row == 0
    if isinstance(loader, PretrainLoader):
        assert Counter(epochs[0]) == Counter(epochs[1]) == Counter(epochs[2])
    targets = [sorted(t for row in epoch for t in row[1]) for epoch in epochs]
    assert targets[0] == targets[1] == targets[2]
    assert epochs[0] != epochs[1] != epochs[2]


def test_rows_left_over_begin_the_step_that_the_next_epoch_ends(make: Make) -> None:
    loader, single = make(tokens_per_step=112), make(tokens_per_step=16)  # 7 rows a step
    n_steps = int(2 * loader.steps_per_epoch) + 1
    stream = [row for _ in range(7 * n_steps) for row in step_rows(single.next_step())]
    assert [row for _ in range(n_steps) for row in step_rows(loader.next_step())] == stream
    assert loader.rows_in_epoch(0) % 7 != 0


@pytest.mark.parametrize("change", [{"seed": 1}, {"tokens_per_step": 64}, {"context_length": 24}])
def test_the_state_of_another_stream_is_refused(make: Make, change: dict[str, int]) -> None:
    state = make().state_dict()
    with pytest.raises(DataError, match="not that of the interrupted run"):
        make(**change).load_state_dict(state)
    make(micro_batch_size=5, rank=1, world_size=2).load_state_dict(state)  # how it is shared may change


def test_the_batch_size_is_stated_in_tokens(make: Make) -> None:
    loader = make(tokens_per_step=50)
    assert loader.tokens_per_step == 48 and loader.rows_per_step == 3
    assert loader.notes == ["batch of 50 tokens rounded to 48: 3 rows of 16"]
    assert make(tokens_per_step=48).notes == []
    with pytest.raises(UsageError, match="too small for 4 processes"):
        make(world_size=4)


def test_windows_by_hand(corpus: TokenShards, tokenizer: ByteTokenizer) -> None:
    first = tokenizer.encode(TEXTS[0])  # 15 tokens, then end of text, then 서당
    batch = window_batch(corpus, [0, len(first) - 2], 5, document_mask=True)
    assert batch.ids.tolist() == [first[:5], [first[-2], first[-1], 0, *tokenizer.encode("서당")[:2]]]
    assert batch.targets.tolist()[1] == [first[-1], 0, *tokenizer.encode("서당")[:3]]
    # the end-of-text token ends the first document as a target and begins the second as an input
    assert batch.documents is not None and batch.documents.tolist() == [[0] * 5, [0, 0, 1, 1, 1]]
    assert batch.positions is not None and batch.positions.tolist() == [[0, 1, 2, 3, 4], [0, 1, 0, 1, 2]]
    bytes_of = [len(tokenizer.token_bytes(i)) for i in [*first[1:6], first[-1], *tokenizer.encode("서당")[:3]]]
    assert batch.n_bytes == sum(bytes_of) and batch.n_targets == 10
    alone = window_batch(corpus, [0], 5, document_mask=True)
    assert alone.documents is None and alone.positions is None  # one document: the fast path
    across = window_batch(corpus, [len(first) - 2], 5, document_mask=False)
    assert across.documents is None and -100 not in across.targets


@pytest.mark.parametrize("length", [3, 7, 1000])
def test_a_document_is_seen_as_when_it_stands_alone(
    corpus: TokenShards, tokenizer: ByteTokenizer, length: int
) -> None:
    """Each document is read as end of text + itself, cut into windows, whatever stands around it."""
    seen: dict[int, list[tuple[int, int]]] = {}
    start = 0
    for batch in evaluation_batches(corpus, length, 3):
        for b in range(len(batch.ids)):
            for t in range(length):
                if batch.targets[b, t] != -100:
                    document = int(corpus.document_at(np.array(start + t + 1)))
                    seen.setdefault(document, []).append((int(batch.ids[b, t]), int(batch.targets[b, t])))
                    position = int(batch.positions[b, t]) if batch.positions is not None else t
                    assert position == min(t, start + t + 1 - int(corpus.starts[document]))
            start += length
    for i, text in enumerate(TEXTS):
        whole = [0, *tokenizer.encode(text), 0]
        pairs = list(zip(whole[:-1], whole[1:], strict=True))
        assert seen[i] == (pairs if i else pairs[1:])  # nothing stands before the first


def test_evaluation_scores_every_token_once(corpus: TokenShards) -> None:
    batches = list(evaluation_batches(corpus, 8, 3, document_mask=False))
    scored = [t for batch in batches for t in batch.targets.flatten().tolist() if t != -100]
    assert scored == corpus[1 : len(corpus)].tolist()
    last = batches[-1]
    assert last.documents is not None and last.documents[-1, -1] == -1  # the short window is padded
    first_bytes = int(corpus.token_bytes[corpus[0:1]].sum())
    assert sum(batch.n_bytes for batch in batches) == corpus.n_bytes - first_bytes
    shared = [batch for rank in range(2) for batch in evaluation_batches(corpus, 8, 3, rank=rank, world_size=2)]
    assert sum(b.n_targets for b in shared) == sum(b.n_targets for b in evaluation_batches(corpus, 8, 3))
    assert sum(len(b.ids) for b in evaluation_batches(corpus, 8, 3, max_tokens=45)) == 5


def test_every_token_is_seen_in_an_epoch(corpus: TokenShards) -> None:
    loader = PretrainLoader(corpus, tokens_per_step=10, context_length=10, document_mask=False)
    steps = [loader.next_step() for _ in range(loader.n_windows)]
    seen = Counter(t for (batch,) in steps for t in batch.targets[0].tolist())
    assert not Counter(corpus[1 : len(corpus)].tolist()) - seen


def test_a_text_shorter_than_a_window(tmp_path: Path, tokenizer: ByteTokenizer) -> None:
    (tmp_path / "a.txt").write_text("hi")
    tiny = build_shards(tmp_path / "a.txt", tokenizer, tmp_path / "out")
    (batch,) = PretrainLoader(tiny, tokens_per_step=8, context_length=8).next_step()
    assert batch.n_targets == 2 and batch.documents is not None and batch.documents[0].tolist() == [0] * 2 + [-1] * 6


def test_examples_are_shifted_by_hand() -> None:
    a = Example(np.array([5, 6, 7, 8], dtype=np.int32), np.array([False, False, True, True]), "f", 1, 2)
    b = Example(np.array([9, 10, 11], dtype=np.int32), np.array([False, True, False]), "f", 2, 3)
    batch = packed_batch([[a, b]], 64, pad_id=1)
    assert batch.ids[0, :6].tolist() == [5, 6, 7, 9, 10, 1] and batch.ids.shape == (1, 64)
    assert batch.targets[0, :6].tolist() == [-100, 7, 8, 10, -100, -100]
    assert batch.documents is not None and batch.documents[0, :6].tolist() == [0, 0, 0, 1, 1, -1]
    assert batch.positions is not None and batch.positions[0, :6].tolist() == [0, 1, 2, 0, 1, 0]
    assert batch.n_bytes == 5 and batch.n_targets == 3
    assert packed_batch([[a], [b]], 5).ids.shape == (2, 5)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(2, 17), min_size=1, max_size=40), st.integers(0, 3), st.integers(1, 5))
def test_every_example_is_trained_once_per_epoch(lengths: list[int], seed: int, rows_per_step: int) -> None:
    examples = [
        Example(np.arange(n, dtype=np.int32) + 100 * i, np.ones(n, dtype=bool), "f", i, 1)
        for i, n in enumerate(lengths)
    ]
    loader = SFTLoader(examples, tokens_per_step=16 * rows_per_step, context_length=16, micro_batch_size=2, seed=seed)
    total = loader.rows_in_epoch(0)
    seen: Counter[int] = Counter()
    for batch in (loader.make_batch([(0, row)]) for row in range(total)):
        seen.update(t for t in batch.targets.flatten().tolist() if t != -100)
    assert seen == Counter(t for example in examples for t in example.ids[1:].tolist())
    fixed = Counter(t for batch in example_batches(examples, 16) for t in batch.targets.flatten().tolist() if t != -100)
    assert fixed == seen


def test_examples_that_do_not_fit_or_are_missing() -> None:
    with pytest.raises(DataError, match="no examples"):
        SFTLoader([], tokens_per_step=16, context_length=16)
    with pytest.raises(DataError, match=r"rows.jsonl:2 has 9 tokens"):
        SFTLoader(make_examples(3), tokens_per_step=4, context_length=4)


def test_the_order_is_fixed_for_good() -> None:
    assert permutation(8, 0, 0).tolist() == permutation(8, 0, 0).tolist()
    assert permutation(8, 0, 0).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]
    assert sorted(permutation(100, 3, 1).tolist()) == list(range(100))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="targets"):
        Batch(torch.zeros(2, 3), torch.zeros(2, 4))
    moved = Batch(torch.zeros(1, 2), torch.full((1, 2), -100), None, torch.zeros(1, 2), 3).to("cpu")
    assert moved.n_bytes == 3 and moved.n_targets == 0 and moved.positions is not None and moved.documents is None
