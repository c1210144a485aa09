"""A batch moves and is cut with everything that belongs to its rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seodang.data.batch import Batch


def whole() -> Batch:
    """Five rows: an encoder's with every field."""
    ids = torch.arange(20).view(5, 4)
    documents = torch.tensor([[0, 0, 1, -1]] * 5)
    return Batch(
        ids,
        torch.arange(15).view(5, 3),
        documents,
        torch.tensor([[0, 1, 0, 0]] * 5),
        n_bytes=9,
        segments=torch.tensor([[0, 0, 1, 0]] * 5),
        labels=torch.tensor([0, 1, -100, 0, 1]),
        decoder_ids=torch.arange(15).view(5, 3) + 100,
        draws=torch.rand(5, 4, dtype=torch.float64),
        stream=(3, 7),
    )


TENSORS = ("ids", "targets", "documents", "positions", "segments", "labels", "decoder_ids", "draws")


def test_rows_are_cut_with_all_that_belongs_to_them() -> None:
    batch = whole()
    parts = batch.split(2)
    assert [len(part.ids) for part in parts] == [2, 2, 1]
    for name in TENSORS:
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
    assert [part.stream for part in parts] == [(3, 7), (5, 7), (7, 7)]
    assert [part.n_bytes for part in parts] == [9, 0, 0]
    assert sum(part.n_tokens for part in parts) == batch.n_tokens == 15
    assert sum(part.n_targets for part in parts) == batch.n_targets == 15
    (bare,) = Batch(batch.ids, batch.ids).split(8)
    assert bare.stream is None and bare.labels is None and bare.documents is None and bare.n_tokens == 20


def test_a_batch_moves_whole() -> None:
    batch = whole()
    moved = batch.to("meta")
    assert all(getattr(moved, name).device.type == "meta" for name in TENSORS)
    assert moved.stream == batch.stream and moved.n_bytes == 9


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("targets", torch.zeros(2, 4)),
        ("segments", torch.zeros(2, 2)),
        ("labels", torch.zeros(3)),
        ("labels", torch.zeros(2, 1)),
        ("decoder_ids", torch.zeros(1, 3)),
        ("draws", torch.zeros(3)),
    ],
)
def test_shapes_that_do_not_agree_are_named(name: str, value: torch.Tensor) -> None:
    fields: dict[str, Any] = {"ids": torch.zeros(2, 3), "targets": torch.zeros(2, 3), name: value}
    with pytest.raises(ValueError, match=name):
        Batch(**fields)


def test_the_targets_are_the_decoders() -> None:
    Batch(torch.zeros(2, 3), torch.zeros(2, 5), decoder_ids=torch.zeros(2, 5))
    with pytest.raises(ValueError, match="targets"):
        Batch(torch.zeros(2, 3), torch.zeros(2, 3), decoder_ids=torch.zeros(2, 5))


def test_rows_of_several_sequences() -> None:
    """(B, S, T): two rows, of two answers and of one."""
    ids = torch.arange(16).view(2, 2, 4)
    documents = torch.tensor([[[0, 0, 0, -1], [0, 0, 0, 0]], [[0, 0, -1, -1], [-1, -1, -1, -1]]])
    batch = Batch(ids, ids + 1, documents, segments=torch.zeros_like(ids), labels=torch.tensor([0.5, 2.0]))
    assert batch.n_tokens == 9
    assert batch.last.tolist() == [[2, 3], [1, 0]]
    second = batch.split(1)[1]
    assert torch.equal(second.ids, ids[1:]) and second.labels is not None and second.labels.tolist() == [2.0]
    assert batch.to("cpu").labels is not None
    flat = batch.sequences()
    assert flat.ids.shape == (4, 4) and flat.labels is None
    assert flat.documents is not None and flat.documents[2].tolist() == [0, 0, -1, -1]
    assert torch.equal(flat.last, batch.last.flatten())
    with pytest.raises(ValueError, match="labels"):
        Batch(ids, ids, labels=torch.zeros(2, 2))


def test_without_padding_the_last_position_is_the_end() -> None:
    ids = torch.zeros(3, 5, dtype=torch.int64)
    assert Batch(ids, ids).last.tolist() == [4, 4, 4]
