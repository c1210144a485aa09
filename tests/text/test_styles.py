"""Vocabularies in each family's style: special tokens and their roles, frames, saved and read by transformers."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from seodang.errors import DataError, UsageError
from seodang.text.roles import ENCODER_ROLES, ROLES
from seodang.text.styles import FAMILIES, STYLES, Kind, StyleName, style_of_family
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer

MIXED = "서당에서  아이들이 Hello, 세계! 42\n lowest 🙂 ㅋㅋㅠㅠ ½ </s> <0x41> [MASK]<extra_id_0>"


@pytest.fixture(scope="module")
def trained(lines: list[str]) -> dict[str, Tokenizer]:
    return {style: train_tokenizer(lines, vocab_size=600, style=style) for style in get_args(StyleName)}


@pytest.mark.parametrize("style", get_args(StyleName))
def test_transformers_reads_every_style(style: str, trained: dict[str, Tokenizer], tmp_path: Path) -> None:
    """Ids, frames, segments, decoding and the part that each special token plays."""
    transformers = pytest.importorskip("transformers")
    ours = trained[style]
    ours.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = MIXED.split(" </s>")[0]  # transformers takes special tokens that are spelled out for the tokens
    for a, b in ((text, None), (text, "서당개"), ("", None), ("가", "b c")):
        ids, segments = ours.encode_pair(a, b)
        expected = theirs(a, b, return_token_type_ids=True)
        assert (ids, segments) == (expected["input_ids"], expected["token_type_ids"])
    ids = ours.encode(text)
    assert theirs(text, add_special_tokens=False)["input_ids"] == ids
    assert theirs.decode(ids) == ours.decode(ids)
    for role in (*ROLES, *ENCODER_ROLES):
        assert getattr(theirs, role + "_id") == getattr(ours, role.removesuffix("_token") + "_id"), role
    assert set(theirs.all_special_ids) == ours.special_ids
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint() == ours.fingerprint() and again.encode(MIXED) == ours.encode(MIXED)
    assert again.sentinel_ids == ours.sentinel_ids and again.document_end_id == ours.document_end_id


@pytest.mark.parametrize("style", get_args(StyleName))
@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_goes_with_every_style(kind: Kind, style: StyleName, lines: list[str]) -> None:
    tokenizer = train_tokenizer(lines, kind, 600, style=style)
    rules = STYLES[style]
    assert [tokenizer.token_of(id) for id in range(len(rules.special(kind)))] == rules.special(kind)
    last = range(tokenizer.vocab_size - len(rules.last), tokenizer.vocab_size)
    assert [tokenizer.token_of(id) for id in last] == list(rules.last)
    assert tokenizer.vocab_size <= 600 and tokenizer.document_end_id in tokenizer.special_ids
    assert not set(tokenizer.encode(MIXED)) & tokenizer.special_ids - {tokenizer.unk_id}
    assert (tokenizer.chat_template is not None) == (style == "gpt")
    if kind in ("bpe", "unigram"):  # nothing is unknown, nothing is lost
        assert tokenizer.decode(tokenizer.encode(MIXED)) == MIXED and tokenizer.has_bytes


@pytest.mark.parametrize(
    ("style", "single", "pair", "segments"),
    [
        ("bert", "[CLS] a [SEP]", "[CLS] a [SEP] b [SEP]", [0, 0, 0, 1, 1]),
        ("albert", "[CLS] a [SEP]", "[CLS] a [SEP] b [SEP]", [0, 0, 0, 1, 1]),
        ("roberta", "<s> a </s>", "<s> a </s> </s> b </s>", [0] * 6),
        ("t5", "a </s>", "a </s> b </s>", [0] * 4),
        ("marian", "a </s>", "a b </s>", [0] * 3),
        ("gpt", "a", "a b", [0, 1]),
    ],
)
def test_frames(style: str, single: str, pair: str, segments: list[int], trained: dict[str, Tokenizer]) -> None:
    tokenizer = trained[style]
    parts = {"a": tokenizer.encode("the lowest"), "b": tokenizer.encode("강가에서")}

    def ids(frame: str) -> list[list[int]]:
        return [parts.get(part) or [tokenizer.id_of(part) or 0] for part in frame.split()]

    assert tokenizer.encode_pair("the lowest") == (sum(ids(single), []), [0] * len(sum(ids(single), [])))
    expected = [segment for segment, part in zip(segments, ids(pair), strict=True) for _ in part]
    assert tokenizer.encode_pair("the lowest", "강가에서") == (sum(ids(pair), []), expected)
    with pytest.raises(DataError, match="surrogate"):
        tokenizer.encode_pair("fine", "ab\ud83d")


def test_parts_that_special_tokens_play(trained: dict[str, Tokenizer]) -> None:
    bert, roberta, albert, t5, marian, gpt = (
        trained[name] for name in ("bert", "roberta", "albert", "t5", "marian", "gpt")
    )
    assert (bert.pad_id, bert.unk_id, bert.cls_id, bert.sep_id, bert.mask_id) == (0, 1, 2, 3, 4)
    assert (bert.bos_id, bert.eos_id, bert.end_of_text_id, bert.document_end_id) == (None, None, None, 3)
    assert (roberta.bos_id, roberta.pad_id, roberta.eos_id, roberta.unk_id, roberta.mask_id) == (0, 1, 2, 3, 4)
    assert (roberta.cls_id, roberta.sep_id, roberta.document_end_id, roberta.add_bos) == (0, 2, 2, True)
    assert (albert.pad_id, albert.unk_id, albert.cls_id, albert.sep_id, albert.mask_id) == (0, 1, 2, 3, 4)
    assert (t5.pad_id, t5.eos_id, t5.unk_id, t5.bos_id, t5.document_end_id) == (0, 1, 2, None, 1)
    top = t5.vocab_size - 1
    assert t5.sentinel_ids == [*range(top, top - 100, -1)] and t5.token_of(top) == "<extra_id_0>"
    assert (marian.eos_id, marian.unk_id, marian.pad_id, marian.document_end_id) == (0, 1, 2, 0)
    assert (gpt.cls_id, gpt.sep_id, gpt.mask_id, gpt.sentinel_ids, gpt.document_end_id) == (None, None, None, [], 0)


def test_a_mask_takes_the_space_before_it_where_the_family_does(trained: dict[str, Tokenizer]) -> None:
    roberta = trained["roberta"]
    assert roberta.encode("the <mask>", allow_special=True) == [*roberta.encode("the"), 4]


def test_families_name_kind_and_style() -> None:
    assert style_of_family("electra") == ("wordpiece", "bert") and style_of_family("bart") == ("bpe", "roberta")
    assert style_of_family("t5v11") == ("unigram", "t5") and style_of_family("seq2seq") == ("bpe", "marian")
    assert style_of_family("albert") == ("unigram", "albert") and style_of_family("gru") == ("bpe", "gpt")
    assert set(FAMILIES.values()) == set(STYLES)
    with pytest.raises(UsageError, match="did you mean 'roberta'"):
        style_of_family("robert")
    with pytest.raises(UsageError, match="unknown style 'brt'"):
        train_tokenizer(["text"], style="brt")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="361 or more"):  # 3 + 100 special tokens, 256 bytes and 2
        train_tokenizer(["text"], vocab_size=300, style="t5")
