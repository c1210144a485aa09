"""Token shards: exact ids, exact bytes, reused when nothing changed, cut only where it cannot matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seodang.data import cuts, shards
from seodang.data.cuts import Cutter
from seodang.data.readers import Document
from seodang.data.shards import TokenShards, build_shards
from seodang.errors import DataError, FitError, SeodangError
from tests.data.conftest import ByteTokenizer

TEXTS = ["the cat sat", "서당 the", "hello\n\nthe end", "12 cats 😀"]


def write_texts(folder: Path, texts: list[str]) -> Path:
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return file


def library_tokenizer(tokens: Any) -> Any:
    """A tokenizer of the `tokenizers` library, in the clothes of ours."""

    class Library(ByteTokenizer):
        def encode(self, text: str) -> list[int]:
            return tokens.encode(text, add_special_tokens=False).ids

    return Library()


def bpe(pre_tokenizer: Any, normalizer: Any = None) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokens.normalizer = normalizer
    alphabet = [*pre_tokenizers.ByteLevel.alphabet(), "▁", "\n", " "]
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokens.train_from_iterator([sample.format("\n") + sample.format(" ") for sample in cuts._SAMPLES] * 3, trainer)
    return library_tokenizer(tokens)


def test_ids_documents_and_bytes(tmp_path: Path, tokenizer: ByteTokenizer) -> None:
    made = build_shards(write_texts(tmp_path, TEXTS), tokenizer, tmp_path / "out")
    assert made.n_documents == 4 and made.tokens.dtype == np.uint16
    for i, text in enumerate(TEXTS):
        assert made.documents(i).tolist() == [*tokenizer.encode(text), 0]
    assert made[2:5].tolist() == made.documents(0).tolist()[2:5]
    assert made.n_tokens == len(made) == sum(len(tokenizer.encode(text)) + 1 for text in TEXTS)
    assert made.document_bytes.tolist() == [len(text.encode()) for text in TEXTS]
    assert made.n_bytes == sum(len(text.encode()) for text in TEXTS) and made.bytes_ratio == 1.0
    assert made.token_bytes[:4].tolist() == [0, 0, 0, 0] and made.token_bytes[263] == len(" 서당".encode())


def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path, tokenizer: ByteTokenizer) -> None:
    tokenizer.vocab_size = 70_000
    tokenizer.token_bytes = lambda id: b"x"  # type: ignore[method-assign]
    made = build_shards(write_texts(tmp_path, TEXTS), tokenizer, tmp_path / "out")
    assert made.tokens.dtype == np.uint32 and made.documents(1).tolist() == [*tokenizer.encode(TEXTS[1]), 0]


def test_reused_until_data_or_tokenizer_change(tmp_path: Path, tokenizer: ByteTokenizer) -> None:
    file, out = write_texts(tmp_path, TEXTS), tmp_path / "out"
    first = build_shards(file, tokenizer, out)
    made = (out / "tokens.bin").stat().st_mtime_ns
    tokenizer.encode_batch = None  # type: ignore[method-assign,assignment]  # would fail if anything were encoded
    assert build_shards(file, tokenizer, out).fingerprint == first.fingerprint
    assert (out / "tokens.bin").stat().st_mtime_ns == made
    other = build_shards(file, ByteTokenizer("other"), out)
    assert other.fingerprint != first.fingerprint
    write_texts(tmp_path, TEXTS[:2])
    changed = build_shards(file, ByteTokenizer(), out)
    assert changed.n_documents == 2 and changed.fingerprint not in (first.fingerprint, other.fingerprint)


def test_nothing_is_left_when_it_fails(tmp_path: Path, tokenizer: ByteTokenizer) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "fine"}\n{broken\n')
    with pytest.raises(DataError, match="a.jsonl:2"):
        build_shards(file, tokenizer, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_what_cannot_be_built(tmp_path: Path, tokenizer: ByteTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_texts(tmp_path, TEXTS)
    with pytest.raises(SeodangError, match="in the way"):
        build_shards(file, tokenizer, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 3})())
    with pytest.raises(FitError, match="no room"):
        build_shards(file, tokenizer, tmp_path / "out")
    tokenizer.document_end_id = None
    with pytest.raises(DataError, match="no token that ends a document"):
        build_shards(file, tokenizer, tmp_path / "out")


def test_a_damaged_folder_is_refused_and_made_again(tmp_path: Path, tokenizer: ByteTokenizer) -> None:
    file, out = write_texts(tmp_path, TEXTS), tmp_path / "out"
    build_shards(file, tokenizer, out)
    (out / "tokens.bin").write_bytes((out / "tokens.bin").read_bytes()[:-2])
    with pytest.raises(DataError, match="not whole"):
        TokenShards.open(out)
    assert build_shards(file, tokenizer, out).n_documents == 4
    (out / "documents.npy").write_bytes(b"")
    with pytest.raises(DataError, match="no token shard folder"):
        TokenShards.open(out)


def test_a_long_document_gives_the_ids_of_the_whole(
    tmp_path: Path, tokenizer: ByteTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seodang.data.readers.PIECE", 300)
    monkeypatch.setattr("seodang.data.sources.CHUNK", 100)
    monkeypatch.setattr(shards, "BATCH_CHARACTERS", 400)
    monkeypatch.setattr(Cutter.__init__, "__defaults__", (64,))
    seen: list[int] = []
    encode_batch = tokenizer.encode_batch

    def counted(texts: list[str]) -> list[list[int]]:
        seen.append(max(len(text) for text in texts))
        return encode_batch(texts)

    tokenizer.encode_batch = counted  # type: ignore[method-assign]
    text = "the cat, the cat.\n\n서당개 삼 년이면  the  end 1234\n" * 100
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    made = build_shards(tmp_path / "a.txt", tokenizer, tmp_path / "out")
    assert made.documents(0).tolist() == [*tokenizer.encode(text), 0]
    assert made.n_documents == 1 and made.n_bytes == len(text.encode())
    assert max(seen) < 300 and len(seen) > 10  # the whole was never encoded at once


@settings(deadline=None, max_examples=60)
@given(st.text(st.sampled_from(list("ab1가é_'.!,\n\t  \u3000😀")), max_size=300), st.integers(1, 40))
def test_pieces_of_any_text_give_its_ids(text: str, size: int) -> None:
    pre_tokenizers = pytest.importorskip("tokenizers").pre_tokenizers
    tokenizer = bpe(pre_tokenizers.ByteLevel(add_prefix_space=False))
    cutter = Cutter(tokenizer, piece=8)
    assert cutter.characters == "\n "
    pieces = [text[i : i + size] for i in range(0, len(text), size)] or [""]
    documents = [Document(piece, "f", 1, continues=i + 1 < len(pieces)) for i, piece in enumerate(pieces)]
    out = list(cutter.cut(iter(documents)))
    assert "".join(piece for piece, _ in out) == text
    assert [ends for _, ends in out] == [False] * (len(out) - 1) + [True]
    assert sum(tokenizer.encode_batch([piece for piece, _ in out]), []) == tokenizer.encode(text)


def test_the_rule_is_tried_out_on_each_tokenizer() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    pre = tokenizers.pre_tokenizers
    gpt4 = r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre.Split(tokenizers.Regex(gpt4), "isolated")
    assert Cutter(bpe(pre.Sequence([split, pre.ByteLevel(use_regex=False)]))).characters == "\n "
    assert Cutter(bpe(pre.BertPreTokenizer())).characters == "\n "
    # these add a space to a text that begins with a newline, so it may only be cut before a space
    assert Cutter(bpe(pre.Metaspace(prepend_scheme="always"))).characters == " "
    assert Cutter(bpe(pre.ByteLevel(add_prefix_space=True))).characters == " "
    # Llama 2's adds one to every text
    normal = tokenizers.normalizers
    llama2 = normal.Sequence([normal.Prepend("▁"), normal.Replace(" ", "▁")])
    assert Cutter(bpe(pre.Split("▁", "merged_with_next"), llama2)).characters == ""


def test_a_tokenizer_that_cannot_be_cut_gets_documents_whole() -> None:
    class Counting(ByteTokenizer):
        def encode(self, text: str) -> list[int]:
            return [len(text)]

    cutter = Cutter(Counting(), piece=4)
    assert cutter.characters == ""
    pieces = [Document("ab cd ef ", "f", 1, True), Document("gh ij kl mn", "f", 1), Document("x", "f", 2)]
    assert list(cutter.cut(iter(pieces))) == [("ab cd ef gh ij kl mn", True), ("x", True)]


def test_text_without_spaces_is_cut_where_a_trial_shows_no_harm(tokenizer: ByteTokenizer) -> None:
    cutter = Cutter(tokenizer, piece=50)
    text = "。".join("가" * 7 for _ in range(100))
    out = [piece for piece, _ in cutter.cut(iter([Document(text, "f", 1)]))]
    assert len(out) > 5 and "".join(out) == text
    assert sum(tokenizer.encode_batch(out), []) == tokenizer.encode(text)


@pytest.mark.parametrize("seed", [0, 1])
def test_split_by_documents(tmp_path: Path, tokenizer: ByteTokenizer, seed: int) -> None:
    texts = [f"document {i} " + "x" * (i % 7) for i in range(200)]
    whole = build_shards(write_texts(tmp_path, texts), tokenizer, tmp_path / "out")
    train, held = whole.split(0.1, seed)
    parts = [part.documents(i).tolist() for part in (train, held) for i in range(part.n_documents)]
    assert sorted(parts) == sorted(whole.documents(i).tolist() for i in range(200))
    assert 0.08 < held.n_tokens / whole.n_tokens < 0.12
    assert train.n_tokens + held.n_tokens == whole.n_tokens and train.n_bytes + held.n_bytes == whole.n_bytes
    joined = [token for i in range(held.n_documents) for token in held.documents(i).tolist()]
    assert held[0 : len(held)].tolist() == joined and held[5:40].tolist() == joined[5:40]
    again = whole.split(0.1, seed)
    assert again[1].fingerprint == held.fingerprint != train.fingerprint
    assert np.array_equal(again[1].spans, held.spans)
    assert not np.array_equal(whole.split(0.1, seed + 1)[1].spans, held.spans)


def test_split_of_one_document_takes_its_end(tmp_path: Path, tokenizer: ByteTokenizer) -> None:
    text = "서당개 삼 년이면 " * 100
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    whole = build_shards(tmp_path / "a.txt", tokenizer, tmp_path / "out")
    train, held = whole.split(0.2)
    assert np.array_equal(np.r_[train[0 : len(train)], held[0 : len(held)]], whole[0 : len(whole)])
    assert held.n_tokens == round(0.2 * whole.n_tokens)
    assert train.n_bytes + held.n_bytes == len(text.encode())
    with pytest.raises(DataError, match="too small"):
        whole.split(1e-6)
