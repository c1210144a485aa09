"""Folders that transformers' own tokenizer classes write, read by ours: ids, frames, roles, decoding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seodang.text.roles import ENCODER_ROLES, ROLES
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer

transformers = pytest.importorskip("transformers")

TEXTS = ["서당에서 아이들이  글을 배운다. ", " the lowest\nriver, don't", "🙂 龍 ½ 42", "", "각낙닥 Ünder ÉCOLE"]


def bpe(lines: list[str], first: list[str], last: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-level tables without special tokens of ours, with theirs at the front and at the end."""
    model = train_tokenizer(lines, "bpe", 500).pipeline()["model"]
    pieces = [token for token in model["vocab"] if not token.startswith("<|")]
    merges = [(left, right) for left, right in model["merges"]]
    return {token: id for id, token in enumerate([*first, *pieces, *last])}, merges


def unigram(lines: list[str], first: list[str], last: list[str]) -> list[tuple[str, float]]:
    model = train_tokenizer(lines, "unigram", 600).pipeline()["model"]
    pieces = [(piece, score) for piece, score in model["vocab"] if piece[0] != "<" or len(piece) == 1]
    return [*((name, 0.0) for name in first), *pieces, *((name, 0.0) for name in last)]


def made(family: str, lines: list[str]) -> Any:
    if family == "qwen":
        vocabulary, merges = bpe(lines, [], [])
        return transformers.Qwen2Tokenizer(vocab=vocabulary, merges=merges)
    if family in ("roberta", "bart"):
        vocabulary, merges = bpe(lines, ["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"])
        name = {"roberta": "RobertaTokenizer", "bart": "BartTokenizer"}[family]
        return getattr(transformers, name)(vocab=vocabulary, merges=merges)
    if family == "gemma":
        characters = sorted(set("".join(lines).replace(" ", "▁")))
        merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("서", "당"), ("▁", "▁")]
        names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256)), *characters]
        vocabulary = {token: id for id, token in enumerate([*names, *map("".join, merges)])}
        return transformers.GemmaTokenizer(vocab=vocabulary, merges=merges)
    if family == "t5":
        last = [f"<extra_id_{n}>" for n in reversed(range(100))]
        return transformers.T5Tokenizer(vocab=unigram(lines, ["<pad>", "</s>", "<unk>"], last))
    if family == "albert":
        return transformers.AlbertTokenizer(vocab=unigram(lines, ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], []))
    if family == "xlmr":
        pieces = unigram(lines, ["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"])
        return transformers.XLMRobertaTokenizer(vocab=pieces)
    tables = train_tokenizer(lines, "wordpiece", 500, style="bert").pipeline()["model"]["vocab"]
    return getattr(transformers, family)(vocab=tables, do_lower_case=False)


FAMILIES = ("qwen", "gemma", "roberta", "bart", "t5", "albert", "xlmr", "BertTokenizer", "ElectraTokenizer")


@pytest.mark.parametrize("family", FAMILIES)
def test_folders_of_transformers(family: str, lines: list[str], tmp_path: Path) -> None:
    theirs = made(family, lines)
    theirs.save_pretrained(tmp_path)
    ours = Tokenizer.load(tmp_path)
    for text in [*TEXTS, *lines[:5]]:
        ids = ours.encode(text)
        assert theirs(text, add_special_tokens=False)["input_ids"] == ids, text
        for b in (None, "두 번째 text"):
            expected = theirs(text, b, return_token_type_ids=True)
            assert ours.encode_pair(text, b) == (expected["input_ids"], expected["token_type_ids"]), (text, b)
        assert ours.decode(ids) == theirs.decode(ids)
    for role in (*ROLES, *ENCODER_ROLES):
        assert getattr(ours, role.removesuffix("_token") + "_id") == getattr(theirs, role + "_id"), role
    names = " ".join(theirs.all_special_tokens[:8])
    assert not set(ours.encode(names)) & ours.special_ids - {ours.unk_id}  # spelled out, they are text
    if family == "t5":
        assert ours.sentinel_ids == [theirs.convert_tokens_to_ids(f"<extra_id_{n}>") for n in range(100)]


def test_roberta_s_two_files(lines: list[str], tmp_path: Path) -> None:
    """vocab.json and merges.txt alone, as RoBERTa and BART were published."""
    theirs = made("roberta", lines)
    vocabulary, merges = bpe(lines, ["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"])
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n", "utf-8")
    ours = Tokenizer.load(tmp_path)
    for text in [*TEXTS, *lines[:5]]:
        assert ours.encode_pair(text, "b")[0] == theirs(text, "b")["input_ids"]
    mask = len(vocabulary) - 1
    assert (ours.cls_id, ours.pad_id, ours.sep_id, ours.unk_id, ours.mask_id) == (0, 1, 2, 3, mask)


@pytest.mark.parametrize(
    ("file", "text", "pieces"),
    [
        ("tok_bert/bert_base_uncased_vocab.txt", "Unaffable Korean", ["una", "##ffa", "##ble", "korean"]),
        ("tok_bert/koelectra_vocab.txt", "서당에서", ["서", "##당에서"]),
        ("tok_gpt1/encoder_bpe_40000.json", "The lowest model", ["the</w>", "lowest</w>", "model</w>"]),
        ("models_babyllama105/tok105.model", "a  cat", ["▁", "a", "▁", "c", "a", "t"]),
    ],
)
@pytest.mark.slow
def test_published_files(file: str, text: str, pieces: list[str]) -> None:
    path = Path(__file__).parents[3] / "shared" / "data" / file
    if not path.exists():
        pytest.skip("the file lies outside the project")
    tokenizer = Tokenizer.load(path)
    assert [tokenizer.token_of(id) for id in tokenizer.encode(text)] == pieces
