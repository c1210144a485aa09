"""What holds for every loader of rows and streams: (seed, epoch, row) alone decide what a row is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seodang.data.batch import Batch
from seodang.data.loader import StepLoader
from seodang.data.masked_rows import MaskedRows
from seodang.data.rows import RowLoader, Rows, chunks, row_batches, windows
from seodang.data.seq2seq_rows import ContinuationRows, InfillingRows, PairRows, SpanCorruptionRows
from seodang.data.shards import TokenShards, build_shards
from seodang.data.special import SpecialIds
from seodang.data.streams import StreamLoader, stream_batches
from seodang.data.text_pairs import TextPair
from seodang.errors import DataError
from tests.data.conftest import ByteTokenizer

CLS, SEP, MASK = 2, 3, 265
TEXTS = [f"the cat sat on mat {i}. 서당개 삼 년! Hello there, {i * i} times? And so on" for i in range(6)]
TEXTS += ["x", "hi. yo"]


def special(**changes: Any) -> SpecialIds:
    """ByteTokenizer's ids with a mask and sentinels behind them; 0 ends documents."""
    ends = np.zeros(300, dtype=bool)
    ends[[4 + ord(c) for c in ".!?"]] = True
    parts = {"cls": CLS, "sep": SEP, "mask": MASK, "bos": CLS, "eos": SEP, "ends": ends}
    parts |= {"sentinels": tuple(range(266, 300)), **changes}
    return SpecialIds(300, frozenset({0, 1, 2, 3, *range(265, 300)}), 1, **parts)


def make_shards(folder: Path, texts: list[str]) -> TokenShards:
    folder.mkdir(exist_ok=True)
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return build_shards(folder / "texts.jsonl", ByteTokenizer(), folder / "shards")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> TokenShards:
    return make_shards(tmp_path_factory.mktemp("corpus"), TEXTS)


def make_pairs(n: int = 17) -> list[TextPair]:
    return [TextPair(np.arange(5, 6 + i % 7), np.arange(50, 51 + i), f"f:{i}", i) for i in range(n)]


ROWS: dict[str, Callable[[TokenShards, int], Rows]] = {
    "nsp": lambda shards, length: MaskedRows(shards, special(), length=length, mode="nsp", short=0.5),
    "sop": lambda shards, length: MaskedRows(shards, special(), length=length, mode="sop", longest_ngram=3),
    "full-sentences": lambda shards, length: MaskedRows(shards, special(), length=length, mode="full-sentences"),
    "plain": lambda shards, length: MaskedRows(shards, special(), length=length, mode="plain"),
    "spans": lambda shards, length: SpanCorruptionRows(shards, special(), length=length),
    "infilling": lambda shards, length: InfillingRows(shards, special(), length=length),
    "continuation": lambda shards, length: ContinuationRows(shards, special(), length=length),
    "pairs": lambda shards, length: PairRows(make_pairs(), special(), length=length),
}

Make = Callable[..., StepLoader]


@pytest.fixture(params=[*ROWS, "streams"])
def make(request: pytest.FixtureRequest, shards: TokenShards) -> Make:
    """Builds a loader of every kind: three rows a step."""

    def build(context_length: int = 20, **options: Any) -> StepLoader:
        sizes = {"tokens_per_step": 3 * context_length, "micro_batch_size": 2, **options}
        if request.param == "streams":
            return StreamLoader(shards, context_length=context_length, **sizes)
        return RowLoader(ROWS[request.param](shards, context_length), **sizes)

    return build


def batch_rows(batch: Batch) -> list[tuple[Any, ...]]:
    """The rows without padding and without the length that their neighbours gave them."""
    out = []
    for b in range(len(batch.ids)):
        keep = torch.ones_like(batch.ids[b], dtype=torch.bool) if batch.documents is None else batch.documents[b] >= 0
        row: list[Any] = [tuple(batch.ids[b][keep].tolist())]
        for name in ("segments", "positions", "draws"):
            value = getattr(batch, name)
            row.append(None if value is None else tuple(value[b][keep].tolist()))
        read = keep if batch.decoder_ids is None else batch.targets[b] != -100
        row.append(tuple(batch.targets[b][read].tolist()))
        row.append(None if batch.decoder_ids is None else tuple(batch.decoder_ids[b][read].tolist()))
        row.append(None if batch.labels is None else int(batch.labels[b]))
        out.append(tuple(row))
    return out


def step_rows(step: list[Batch]) -> list[tuple[Any, ...]]:
    return [row for batch in step for row in batch_rows(batch)]


def equal(a: Batch, b: Batch) -> bool:
    values = [(getattr(a, field.name), getattr(b, field.name)) for field in fields(Batch)]
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in values)


@pytest.mark.parametrize("micro_batch_size", [1, 2, 8])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_rows_of_a_step_do_not_depend_on_how_they_are_shared(
    make: Make, micro_batch_size: int, world_size: int
) -> None:
    n = 8
    expected = list(islice(make(micro_batch_size=8), n))
    ranks = [
        list(islice(make(micro_batch_size=micro_batch_size, rank=rank, world_size=world_size), n))
        for rank in range(world_size)
    ]
    for number, step in enumerate(expected):
        mine = [step_rows(ranks[rank][number]) for rank in range(world_size)]
        wanted = step_rows(step)
        assert [mine[i % world_size][i // world_size] for i in range(len(wanted))] == wanted
        assert all(len(batch.ids) <= micro_batch_size for steps in ranks for batch in steps[number])
        shared = sum(batch.n_bytes for steps in ranks for batch in steps[number])
        assert shared == sum(batch.n_bytes for batch in step) > 0


def test_resumed_equals_uninterrupted_at_every_step(make: Make) -> None:
    straight = make()
    n_steps = int(2 * straight.steps_per_epoch) + 2
    steps, states = [], [json.loads(json.dumps(straight.state_dict()))]
    for step in islice(straight, n_steps):
        steps.append(step)
        states.append(json.loads(json.dumps(straight.state_dict())))
    assert straight.epoch >= 2
    for at in range(n_steps):
        resumed = make()
        resumed.load_state_dict(states[at])
        for wanted, got in zip(steps[at : at + 2], resumed, strict=False):
            assert len(wanted) == len(got) and all(equal(a, b) for a, b in zip(wanted, got, strict=True))


@pytest.mark.parametrize("change", [{"seed": 1}, {"tokens_per_step": 80}, {"context_length": 24}])
def test_the_state_of_another_stream_is_refused(make: Make, change: dict[str, int]) -> None:
    state = make().state_dict()
    with pytest.raises(DataError, match="not that of the interrupted run"):
        make(**change).load_state_dict(state)
    make(micro_batch_size=5, rank=1, world_size=2).load_state_dict(state)


def originals(batch: Batch) -> list[tuple[int, ...]]:
    """The text a row was made of: no noise, no special tokens, in no order."""
    if batch.decoder_ids is None:
        ids = torch.where(batch.targets != -100, batch.targets, batch.ids)
    else:
        ids = torch.cat([batch.ids, batch.targets], dim=1)
    return [tuple(sorted(i for i in row if 3 < i < 265)) for row in ids.tolist()]


@pytest.mark.parametrize("kind", ["full-sentences", "plain", "spans", "continuation", "pairs"])
def test_each_epoch_gives_every_text_once_in_another_order_with_other_noise(shards: TokenShards, kind: str) -> None:
    loader = RowLoader(ROWS[kind](shards, 48), tokens_per_step=48)
    n = loader.rows_in_epoch(0)
    epochs = [[batch for _ in range(n) for batch in loader.next_step()] for _ in range(3)]
    assert loader.epoch == 3 and loader.row == 0
    texts = [[text for batch in epoch for text in originals(batch)] for epoch in epochs]
    assert Counter(texts[0]) == Counter(texts[1]) == Counter(texts[2])
    assert texts[0] != texts[1] != texts[2]
    if kind != "pairs":  # pairs have no noise
        made = [Counter(row for batch in epoch for row in batch_rows(batch)) for epoch in epochs]
        assert made[0] != made[1] != made[2]


@pytest.mark.parametrize("kind", ROWS)
def test_held_out_rows_are_the_same_whoever_looks(shards: TokenShards, kind: str) -> None:
    rows = ROWS[kind](shards, 20)
    expected = step_rows(list(row_batches(rows, 3)))
    assert len(expected) == len(rows)
    assert step_rows(list(row_batches(ROWS[kind](shards, 20), 64))) == expected
    shared = [step_rows(list(row_batches(rows, 2, rank=rank, world_size=3))) for rank in range(3)]
    assert [shared[i % 3][i // 3] for i in range(len(expected))] == expected
    some = step_rows(list(row_batches(rows, 2, max_tokens=85)))
    assert len(some) == 4 and some == [expected[i * len(rows) // 4] for i in range(4)]


def test_the_seed_changes_noise_and_order(make: Make) -> None:
    a, b = ([row for step in islice(make(seed=seed), 4) for row in step_rows(step)] for seed in (0, 1))
    assert (a == b) == isinstance(make(), StreamLoader)  # a stream has one order


def test_pieces_by_hand(tmp_path: Path) -> None:
    """Documents of 7, 1 and 4 tokens, each with its end: 0…7, 8…9, 10…14."""
    shards = make_shards(tmp_path, ["abcdefg", "x", "abcd"])
    pieces = chunks(shards, 3)
    found = zip(pieces.starts.tolist(), pieces.stops.tolist(), pieces.documents.tolist(), strict=True)
    assert list(found) == [(0, 2, 0), (2, 4, 0), (4, 7, 0), (10, 12, 2), (12, 14, 2)]
    pieces = windows(shards, 6)
    assert list(zip(pieces.starts.tolist(), pieces.stops.tolist(), strict=True)) == [(0, 6), (6, 12), (9, 15)]
    head, tail = shards._part(0, 3, "head"), shards._part(3, 15, "tail")  # a document cut before its end keeps all
    assert chunks(head, 9).stops.tolist() == [3] and chunks(tail, 9).stops.tolist() == [4, 11]
    with pytest.raises(DataError, match="no document of 9 tokens"):
        chunks(shards, 3, least=9)


def test_streams_by_hand(tmp_path: Path) -> None:
    """15 tokens, 14 predictions in 2 streams of 7, windows of 3: 3 + 3 + 1. Documents: a–g, x, a–d."""
    shards = make_shards(tmp_path, ["abcdefg", "x", "abcd"])
    text = shards[0:15].tolist()
    loader = StreamLoader(shards, tokens_per_step=6, context_length=3)
    steps = [batch for _ in range(4) for batch in loader.next_step()]
    first, second, third, again = steps
    assert first.ids.tolist() == [text[0:3], text[7:10]] and first.targets.tolist() == [text[1:4], text[8:11]]
    assert second.ids.tolist() == [text[3:6], text[10:13]]
    assert third.ids.tolist() == [[text[6], 0, 0], [text[13], 0, 0]]
    assert third.documents is not None and third.documents.tolist() == [[0, -1, -1], [0, -1, -1]]
    assert third.targets.tolist() == [[text[7], -100, -100], [text[14], -100, -100]]
    assert [batch.positions.tolist() for batch in steps if batch.positions is not None] == [
        [[0, 1, 2], [0, 1, 0]],  # the second stream begins with the end before x, then x's end begins a–d
        [[3, 4, 5], [1, 2, 3]],
        [[6, 0, 0], [4, 0, 0]],
        [[0, 1, 2], [0, 1, 0]],
    ]
    assert first.documents is not None and first.documents.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert [batch.stream for batch in steps] == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert torch.equal(again.ids, first.ids)
    whole = StreamLoader(shards, tokens_per_step=6, context_length=3, document_mask=False)
    (batch,) = whole.next_step()
    (batch,) = whole.next_step()
    assert batch.positions is not None and batch.positions.tolist() == [[3, 4, 5], [3, 4, 5]]
    assert batch.documents is None


def test_streams_say_which_rows_they_continue(shards: TokenShards) -> None:
    def of(rank: int, micro: int) -> list[Any]:
        loader = StreamLoader(
            shards, tokens_per_step=70, context_length=10, micro_batch_size=micro, rank=rank, world_size=2
        )
        return [batch.stream for _ in range(2) for batch in loader.next_step()]

    assert of(0, 2) == [(0, 0), (2, 0), (0, 1), (2, 1)] and of(1, 2) == [(0, 0), (2, 0), (0, 1), (2, 1)]
    assert of(0, 8) == [(0, 0), (0, 1)]
    with pytest.raises(DataError, match="a step reads"):
        StreamLoader(shards, tokens_per_step=10**4, context_length=1)


def test_streams_predict_every_token_once(shards: TokenShards) -> None:
    batches = list(stream_batches(shards, 16, 5))
    seen = [[t for batch in batches for t in batch.targets[row].tolist() if t != -100] for row in range(5)]
    assert [t for row in seen for t in row] == shards[1 : len(shards)].tolist()
    assert all(batch.positions is not None for batch in batches)
    assert sum(batch.n_bytes for batch in batches) == shards.n_bytes - int(shards.token_bytes[shards[0:1]].sum())


def test_a_short_text_has_fewer_streams(tmp_path: Path) -> None:
    short = make_shards(tmp_path, ["abc"])
    (batch,) = stream_batches(short, 16, 50)
    assert batch.n_targets == len(short) - 1


def test_the_beginnings_of_streams_stand_for_all(shards: TokenShards) -> None:
    some, every = (list(stream_batches(shards, 16, 5, max_tokens=most)) for most in (200, None))
    assert len(some) == 2 < len(every)
    assert all(torch.equal(a.targets, b.targets) for a, b in zip(some, every, strict=False))
