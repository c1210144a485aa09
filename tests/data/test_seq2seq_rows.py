"""Rows of encoder-decoders, looked at one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seodang.data.readers import read_rows
from seodang.data.rows import collate
from seodang.data.seq2seq_rows import ContinuationRows, InfillingRows, PairRows, SpanCorruptionRows, taught
from seodang.data.shards import TokenShards
from seodang.data.text_pairs import TextPair, read_pairs
from seodang.errors import DataError
from tests.data.conftest import ByteTokenizer
from tests.data.test_noising import generator, rebuilt
from tests.data.test_rows import CLS, MASK, SEP, TEXTS, make_shards, special


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> TokenShards:
    return make_shards(tmp_path_factory.mktemp("corpus"), TEXTS)


def test_teacher_forcing_by_hand() -> None:
    """A decoder reads start, 7, 8 and predicts 7, 8, end; a shorter row is padded."""
    pairs = [TextPair(np.array([4, 5]), np.array([7, 8]), "f:1", 2), TextPair(np.array([6]), np.array([9]), "f:2", 1)]
    rows = PairRows(pairs, special(), length=3)
    batch = collate([rows.make(i, generator(0)) for i in range(2)], rows)
    assert batch.ids.tolist() == [[4, 5, SEP], [6, SEP, 1]]
    assert batch.decoder_ids is not None and batch.decoder_ids.tolist() == [[1, 7, 8], [1, 9, 1]]
    assert batch.targets.tolist() == [[7, 8, SEP], [9, SEP, -100]]
    assert batch.documents is not None and batch.documents.tolist() == [[0, 0, 0], [0, 0, -1]]
    assert batch.n_bytes == 3 and batch.n_tokens == 5 and batch.n_targets == 5
    rows = PairRows(pairs, special(), length=4, start=SEP, bos=True)
    row = rows.make(0, generator(0))
    assert row.ids.tolist() == [CLS, 4, 5, SEP] and row.targets.tolist() == [CLS, 7, 8, SEP]
    assert row.decoder_ids is not None and row.decoder_ids.tolist() == [SEP, CLS, 7, 8]
    with pytest.raises(DataError, match="f:1 is too long"):
        PairRows(pairs, special(), length=2)
    with pytest.raises(DataError, match="f:1 is too long"):
        PairRows(pairs, special(), length=3, decoder_length=2)
    with pytest.raises(DataError, match="no pairs"):
        PairRows([], special(), length=2)
    first = taught(np.array([1]), np.array([5, 6]), 0)
    assert first.decoder_ids is not None and first.decoder_ids.tolist() == [0, 5]


def test_spans_stand_for_the_text(shards: TokenShards) -> None:
    rows = SpanCorruptionRows(shards, special(), length=64)
    text = shards.read(0, len(shards))
    n_raw = int(rows.pieces.stops[0])
    for index in range(len(rows)):
        row = rows.make(index, generator(0, 0, index))
        window = text[rows.pieces.starts[index] : rows.pieces.stops[index]]
        assert row.ids[-1] == row.targets[-1] == SEP and len(row.ids) <= 64 and len(row.targets) <= rows.decoder_length
        assert rebuilt(row.ids[:-1], row.targets[:-1], list(special().sentinels)) == window[window != 0].tolist()
        assert row.decoder_ids is not None and row.decoder_ids.tolist() == [1, *row.targets[:-1]]
        noise = [i for i in row.targets.tolist() if 3 < i < 265]
        assert row.n_bytes == sum(len(ByteTokenizer().token_bytes(i)) for i in noise)
        assert len(noise) == round(0.15 * int((window != 0).sum()))
    assert len(rows) == -(-len(text) // n_raw)
    with pytest.raises(DataError, match="has 2 sentinels"):
        SpanCorruptionRows(shards, special(sentinels=(266, 267)), length=64)
    with pytest.raises(DataError, match="no eos token"):
        SpanCorruptionRows(shards, special(eos=None), length=64)


def test_infilling_rebuilds_the_document(shards: TokenShards) -> None:
    rows = InfillingRows(shards, special(), length=64)
    text = shards.read(0, len(shards))
    shares = []
    for index in range(len(rows)):
        row = rows.make(index, generator(0, 0, index))
        part = text[rows.pieces.starts[index] : rows.pieces.stops[index]].tolist()
        assert row.targets.tolist() == [CLS, *part, SEP] and 0 not in part
        assert row.decoder_ids is not None and row.decoder_ids.tolist() == [SEP, CLS, *part]
        assert row.ids[0] == CLS and row.ids[-1] == SEP and len(row.ids) <= 64
        kept = [i for i in row.ids[1:-1].tolist() if i != MASK]
        assert len(kept) == len(part) - round(0.3 * len(part)) or len(part) < 8
        shares.append(MASK in row.ids)
    assert np.mean(shares) > 0.8
    plain = InfillingRows(shards, special(), length=64, noises=[], start=1).make(0, generator(0))
    assert plain.ids.tolist() == plain.targets.tolist() and plain.decoder_ids is not None and plain.decoder_ids[0] == 1


def test_continuations(shards: TokenShards) -> None:
    rows = ContinuationRows(shards, special(), length=24)
    text = shards.read(0, len(shards)).tolist()
    cuts = set()
    for index in range(len(rows)):
        row = rows.make(index, generator(0, 0, index))
        start, stop = int(rows.pieces.starts[index]), int(rows.pieces.stops[index])
        assert row.ids[-1] == SEP and len(row.ids) <= 24 and len(row.targets) <= 24
        ends = text[stop] == 0
        rest = row.targets[:-1] if ends else row.targets
        assert (row.targets[-1] == SEP) == ends
        assert [*row.ids[:-1], *rest] == text[start:stop] and len(row.ids) > 1 and len(rest) > 0
        cuts.add(len(row.ids) / (stop - start))
    assert min(cuts) < 0.3 and max(cuts) > 0.7


def test_pairs_are_read_from_every_kind_of_row(tmp_path: Path) -> None:
    tokenizer = ByteTokenizer()
    two = ['{"Source": "the cat", "target": "서당", "id": 3}', '{"Source": "a", "target": "b"}']
    (tmp_path / "a.jsonl").write_text("\n".join(two))
    (tmp_path / "b.jsonl").write_text('{"prompt": "x", "completion": "yz"}\n')
    (tmp_path / "c.tsv").write_text("Good morning.\t안녕.\nBye.\t잘 가.\n")
    (tmp_path / "d.tsv").write_text("en\tko\nYes.\t네.\n")
    files = [tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.tsv", "d.tsv")]
    pairs, notes = read_pairs(read_rows(files), tokenizer, max_source=30, max_target=30)
    texts = [(tokenizer.decode(p.source.tolist()), tokenizer.decode(p.target.tolist())) for p in pairs]
    assert texts == [
        ("the cat", "서당"), ("a", "b"), ("x", "yz"), ("Good morning.", "안녕."), ("Bye.", "잘 가."), ("Yes.", "네.")
    ]  # fmt: skip
    assert pairs[0].n_bytes == 6 and notes == [] and pairs[3].where.endswith("c.tsv:1")
    pairs, notes = read_pairs(read_rows(files), tokenizer, max_source=8, max_target=30, max_lost=0.5)
    assert len(pairs) == 5 and "dropped as too long 1" in notes[0] and "c.tsv:1" in notes[0]
    with pytest.raises(DataError, match="1 of 6 rows would be lost") as error:
        read_pairs(read_rows(files), tokenizer, max_source=8, max_target=30)
    assert "a source has more than 8 tokens" in error.value.why and "--max-lost" not in error.value.fix


@pytest.mark.parametrize("row", ['{"source": "a", "target": " "}', '{"source": "a", "target": 3}', '{"a": "x"}'])
def test_rows_that_are_no_pairs_are_named(tmp_path: Path, row: str) -> None:
    (tmp_path / "a.jsonl").write_text(row + "\n")
    with pytest.raises(DataError, match=r"a.jsonl:1 is not a pair of texts"):
        read_pairs(read_rows(tmp_path / "a.jsonl"), ByteTokenizer(), max_source=9, max_target=9)
