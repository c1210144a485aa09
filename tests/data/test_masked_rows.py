"""Rows of encoders, looked at one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seodang.data.masked_rows import MaskedRows, Mode
from seodang.data.rows import Row, RowLoader, collate, row_batches
from seodang.data.shards import TokenShards
from seodang.data.special import SpecialIds
from seodang.errors import DataError
from tests.data.conftest import ByteTokenizer
from tests.data.test_rows import CLS, MASK, SEP, make_shards, special


def clean(row: Row) -> list[int]:
    """The row before it was masked."""
    return np.where(row.targets != -100, row.targets, row.ids).tolist()


def text_of(ids: list[int]) -> str:
    return ByteTokenizer().decode([i for i in ids if i < 265])


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> TokenShards:
    """Forty documents; every sentence says which document it belongs to and which number it has."""
    texts = [" ".join(f"{chr(97 + d % 26)}{d} says {s}." for s in range(30)) for d in range(40)]
    return make_shards(tmp_path_factory.mktemp("stories"), texts)


def halves(row: Row) -> tuple[str, str]:
    ids = clean(row)
    cut = ids.index(SEP)
    assert ids[0] == CLS and ids[-1] == SEP and ids.count(SEP) == 2
    assert row.segments is not None and row.segments.tolist() == [0] * (cut + 1) + [1] * (len(ids) - cut - 1)
    return text_of(ids[1:cut]), text_of(ids[cut + 1 : -1])


def test_next_sentences(stories: TokenShards) -> None:
    rows = MaskedRows(stories, special(), length=64, mode="nsp")
    whole = stories.read(0, len(stories)).tolist()
    text = text_of(whole)
    labels = []
    for index in range(len(rows)):
        row = rows.make(index, np.random.default_rng([0, 0, index]))
        first, second = halves(row)
        assert len(row.ids) <= 64 and row.label in (0, 1)
        if row.label == 0:
            assert first + second in text
        else:
            own = text_of(stories.documents(int(rows.pieces.documents[index])).tolist())
            assert second in text and (len(second) < 8 or second not in own)
        labels.append(row.label)
    assert abs(np.mean(labels) - 0.5) < 4 * 0.5 / len(labels) ** 0.5
    short = sum(len(row.ids) < 50 for row in (rows.make(i, np.random.default_rng([1, 0, i])) for i in range(len(rows))))
    assert 0.03 < short / len(rows) < 0.15  # a tenth is shorter, by any amount


def test_nothing_but_the_text_tells_which_sentence_is_next(stories: TokenShards) -> None:
    """Both kinds of second part are as long and begin alike: behind the end of a sentence."""
    rows = MaskedRows(stories, special(), length=64, mode="nsp", short=0)
    made = [rows.make(i, np.random.default_rng([0, 0, i])) for i in range(len(rows))]
    lengths = {label: np.mean([len(halves(row)[1]) for row in made if row.label == label]) for label in (0, 1)}
    assert abs(lengths[0] - lengths[1]) < 4
    assert all(halves(row)[1][0] == " " for row in made)  # a sentence begins with its space


def test_one_document_gives_far_sentences(tmp_path: Path) -> None:
    text = "".join(f"{i:04d}" for i in range(300))
    rows = MaskedRows(make_shards(tmp_path / "one", [text]), special(), length=43, mode="nsp", short=0)
    far = []
    for index in range(len(rows)):
        row = rows.make(index, np.random.default_rng([0, 1, index]))
        first, second = halves(row)
        assert first in text and second in text
        if row.label == 1 and min(len(first), len(second)) > 7:
            far.append(abs(text.index(first) - text.index(second)))
    assert len(far) > 5 and min(far) > 40
    small = make_shards(tmp_path / "small", ["abcdefghij" * 4])
    with pytest.raises(DataError, match="too small for next-sentence"):
        MaskedRows(small, special(), length=33, mode="nsp")
    MaskedRows(small, special(), length=33, mode="sop")


def test_sentence_order(stories: TokenShards) -> None:
    rows = MaskedRows(stories, special(), length=64, mode="sop", longest_ngram=3, short=0)
    text = text_of(stories.read(0, len(stories)).tolist())
    made = [rows.make(i, np.random.default_rng([0, 0, i])) for i in range(len(rows))]
    for row in made:
        first, second = halves(row)
        assert (second + first if row.label else first + second) in text
    assert abs(np.mean([row.label for row in made if row.label is not None]) - 0.5) < 4 * 0.5 / len(made) ** 0.5


def test_full_sentences_are_full_and_cross_documents(stories: TokenShards) -> None:
    rows = MaskedRows(stories, special(), length=50, mode="full-sentences")
    text = stories.read(0, len(stories))
    crossed = 0
    for index in range(len(rows)):
        row = rows.make(index, np.random.default_rng(index))
        ids = clean(row)
        assert len(ids) == 50 and ids[0] == CLS and ids[-1] == SEP and row.segments is None
        start = min(48 * index, len(text) - 48)
        assert ids[1:-1] == np.where(text == 0, SEP, text)[start : start + 48].tolist()[: len(ids) - 2]
        crossed += SEP in ids[1:-1]
    assert crossed >= 39


def test_masked_anew_in_every_epoch(stories: TokenShards) -> None:
    """Dynamic masking: about 1 - 2·0.15 + … of a text's tokens are masked in one of ten epochs, not 15 %."""
    rows = MaskedRows(stories, special(), length=50, mode="plain")
    seen = [rows.make(3, np.random.default_rng([0, epoch, 3])).targets != -100 for epoch in range(10)]
    once = np.mean(np.any(seen, axis=0)[1:-1])
    assert abs(once - (1 - 0.85**10)) < 0.2 and all(s.sum() == round(0.15 * (len(s) - 2)) for s in seen)


def test_special_tokens_stay_and_never_come_in(stories: TokenShards) -> None:
    modes: tuple[Mode, ...] = ("nsp", "full-sentences", "plain")
    for mode in modes:
        rows = MaskedRows(stories, special(), length=64, mode=mode, share=0.9)
        for batch in row_batches(rows, 16, max_tokens=4000):
            original = torch.where(batch.targets != -100, batch.targets, batch.ids)
            special_place = (original <= 3) | (original >= 265)
            assert not (batch.targets[special_place] != -100).any()
            changed = (batch.ids != original) & (batch.ids != MASK)
            assert changed.any() == (mode != "plain")  # ELECTRA puts no other tokens in
            assert ((batch.ids[changed] > 3) & (batch.ids[changed] < 265)).all()


def test_electra_masks_85_percent_of_the_chosen(stories: TokenShards) -> None:
    """And leaves the others as they are (the released code, pretrain_helpers.mask)."""
    rows = MaskedRows(stories, special(), length=64, mode="plain", share=0.9)
    chosen = [batch.ids[batch.targets != -100] for batch in row_batches(rows, 16, max_tokens=40_000)]
    masked = torch.cat(chosen) == MASK
    assert len(masked) > 4000 and abs(masked.float().mean() - 0.85) < 4 * (0.85 * 0.15 / len(masked)) ** 0.5


def test_padding_by_hand() -> None:
    class Plain(MaskedRows):
        length, pad = 40, 1

        def __init__(self) -> None: ...

    a = Row(np.array([2, 265, 3]), np.array([-100, 9, -100]), np.array([0, 0, 0]), 1, draws=np.array([0.1, 0.2, 0.3]))
    b = Row(np.arange(4, 37), np.full(33, -100), np.ones(33, dtype=np.int64), 0, draws=np.zeros(33), n_bytes=2.4)
    batch = collate([a, b], Plain())
    assert batch.ids.shape == (2, 40) and batch.ids[0].tolist() == [2, 265, 3] + [1] * 37
    assert batch.targets[0, :4].tolist() == [-100, 9, -100, -100]
    assert batch.documents is not None and batch.documents[0].tolist() == [0] * 3 + [-1] * 37
    assert batch.segments is not None and batch.segments[1].tolist() == [1] * 33 + [0] * 7
    assert batch.labels is not None and batch.labels.tolist() == [1, 0] and batch.n_bytes == 2
    assert batch.draws is not None and batch.draws.dtype == torch.float64
    assert batch.draws[0, :4].tolist() == [0.1, 0.2, 0.3, 0]
    assert collate([a], Plain()).ids.shape == (1, 32)


def test_a_tokenizer_without_the_tokens_is_named(stories: TokenShards) -> None:
    with pytest.raises(DataError, match="no mask token"):
        MaskedRows(stories, special(mask=None), length=50, mode="plain")
    with pytest.raises(ValueError, match="no text fits"):
        MaskedRows(stories, special(), length=4, mode="nsp")


def test_ids_of_a_tokenizer() -> None:
    tokenizer = ByteTokenizer()
    vars(tokenizer).update(
        cls_id=None, sep_id=None, mask_id=265, bos_id=2, eos_id=3, document_end_id=0, sentinel_ids=[266, 267]
    )
    ids = SpecialIds.of(tokenizer)
    assert (ids.cls, ids.sep, ids.bos, ids.eos, ids.mask, ids.pad) == (2, 3, 2, 3, 265, 1)
    assert ids.sentinels == (266, 267) and ids.special == {0, 1, 2, 3}
    assert ids.ordinary.tolist() == list(range(4, 265)) and ids.sentence_ends[4 + ord(".")]
    vars(tokenizer).update(cls_id=7, bos_id=None)
    assert SpecialIds.of(tokenizer).bos == 7


def test_a_loader_takes_the_context_from_its_rows(stories: TokenShards) -> None:
    loader = RowLoader(MaskedRows(stories, special(), length=50, mode="plain"), tokens_per_step=210)
    assert loader.tokens_per_step == 200 and loader.notes == ["batch of 210 tokens rounded to 200: 4 rows of 50"]


def test_no_number_is_wider_than_a_gpu_takes(stories: TokenShards) -> None:
    batch = next(row_batches(MaskedRows(stories, special(), length=64, mode="plain")))
    kinds = {value.dtype for value in vars(batch).values() if isinstance(value, torch.Tensor)}
    assert kinds == {torch.int64, torch.float32}  # Apple's GPUs have no float64
