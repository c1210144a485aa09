"""SentencePiece's .model files of the unigram type: against all ways to cut a text, and against `sentencepiece`."""

from __future__ import annotations

import io
import json
import struct
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from seodang.errors import DataError
from seodang.text.sentencepiece import read_model, tokenizer_from_pieces
from seodang.text.tokenizer import Tokenizer
from seodang.text.vocabularies import load

PIECES = [("▁서당", -2.0), ("서당", -3.0), ("에서", -2.5), ("▁", -1.5), ("서", -4.0), ("당", -4.5), ("에", -3.5),
          ("▁a", -3.0), ("ab", -3.2), ("a", -4.0), ("b", -4.2), ("</", -5.0), ("s", -5.0), (">", -5.0),
          ("ba", -30.0)]  # fmt: skip
SCORES = dict(PIECES)


def message(*fields: tuple[int, bytes | int | float]) -> bytes:
    """A protocol-buffer message: bytes, varints, and floats as fixed32."""

    def varint(value: int) -> bytes:
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    out = b""
    for number, value in fields:
        if isinstance(value, bytes):
            out += varint(number << 3 | 2) + varint(len(value)) + value
        elif isinstance(value, float):
            out += varint(number << 3 | 5) + struct.pack("<f", value)
        else:
            out += varint(number << 3) + varint(value % (1 << 64))
    return out


def write_model(
    path: Path, *, model_type: int = 1, kinds: dict[str, int] | None = None, special: tuple[str, ...] = (),
    normalizer: tuple[Any, ...] = ((1, b"identity"), (4, 0)), ids: tuple[int, ...] = (2, -1, 1, 0),
) -> Path:  # fmt: skip
    """T5's layout (<pad>, </s>, <unk>), then `special` control pieces, then PIECES."""
    control = [("<pad>", 3), ("</s>", 3), ("<unk>", 2), *((name, 3) for name in special)]
    rows = [message((1, name.encode()), (2, 0.0), (3, kind)) for name, kind in control]
    rows += [
        message((1, piece.encode()), (2, score), (3, (kinds or {}).get(piece, 1))) for piece, score in PIECES
    ]
    trainer = message((3, model_type), *zip(range(40, 44), ids, strict=True))
    path.write_bytes(message(*((1, row) for row in rows), (2, trainer), (3, message(*normalizer))))
    return path


def spelled(tokenizer: Tokenizer, rows: list[list[int]]) -> list[list[str]]:
    return [[tokenizer.token_of(id) for id in ids] for ids in rows]


def best_cut(text: str) -> list[str]:
    """The cut with the greatest sum of scores, found by trying all; unknown characters cost 10 more than the least."""
    if not text:
        return []
    penalty = min(SCORES.values()) - 10
    found: list[tuple[float, list[str]]] = []

    def cut(rest: str, total: float, done: list[str]) -> None:
        if not rest:
            found.append((total, done))
        for end in range(1, len(rest) + 1):
            if rest[:end] in SCORES:
                cut(rest[end:], total + SCORES[rest[:end]], [*done, rest[:end]])
        if rest and rest[0] not in SCORES:
            unknown = done if done[-1:] == ["<unk>"] else [*done, "<unk>"]
            cut(rest[1:], total + penalty, unknown)

    cut("▁" + text.replace(" ", "▁"), 0.0, [])
    return max(found)[1]


@pytest.mark.parametrize("text", ["서당에서", "서당 서당에서", "abba a", "서x에  당", "🙂🙂서", "", " a", "aab당"])
def test_the_most_probable_cut_is_found(text: str, tmp_path: Path) -> None:
    tokenizer = load(write_model(tmp_path / "spiece.model"))
    ids = tokenizer.encode(text)
    assert [tokenizer.token_of(id) for id in ids] == best_cut(text)
    if tokenizer.unk_id not in ids:
        assert tokenizer.decode(ids) == text


def test_special_tokens_spelled_out_are_text(tmp_path: Path) -> None:
    tokenizer = load(write_model(tmp_path / "m.model", kinds={"▁서당": 5}))
    ids = tokenizer.encode("</s> 서당 <pad>")
    assert not {0, 1} & set(ids) and "▁서당" not in map(tokenizer.token_of, ids)  # the unused piece neither
    assert [tokenizer.token_of(id) for id in tokenizer.encode("</s>")][1:] == ["<unk>", "<unk>", "s", ">"]
    assert tokenizer.encode("a</s>", allow_special=True) == [*tokenizer.encode("a"), 1]


def test_user_defined_pieces_always_win(tmp_path: Path) -> None:
    for kind, cut in ((1, ["▁", "ab", "a"]), (4, ["▁a", "ba"])):
        tokenizer = load(write_model(tmp_path / "m.model", kinds={"ba": kind}))
        assert [tokenizer.token_of(id) for id in tokenizer.encode("aba")] == cut


def test_normalisation_is_the_files_own(tmp_path: Path) -> None:
    trim = load(write_model(tmp_path / "a.model", normalizer=((1, b"identity"),)))
    assert trim.encode("  a   b ") == trim.encode("a b") and trim.encode("   ") == []
    assert spelled(trim, trim.encode_segments([("a", False), (" a", False)])) == [["▁a"], ["▁a"]]
    bare = load(write_model(tmp_path / "b.model", normalizer=((1, b"identity"), (3, 0), (4, 0))))
    assert spelled(bare, [bare.encode("a  a")]) == [["a", "▁", "▁a"]] and bare.decode(bare.encode(" a")) == " a"


@pytest.mark.parametrize(
    ("config", "special", "frame", "roles"),
    [
        ({"model_type": "t5"}, (), ([], [1]), {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": None}),
        ({"model_type": "albert"}, ("[CLS]", "[SEP]", "[MASK]"), ([3], [4]), {"cls_id": 3, "sep_id": 4, "mask_id": 5}),
        ({"model_type": "xlm-roberta"}, (), ([0], [2]), {"cls_id": 0, "pad_id": 1, "sep_id": 2, "mask_id": 19}),
        ({}, ("<s>",), ([], []), {"eos_id": 1, "sentinel_ids": []}),
    ],
)
def test_folders_of_families(
    config: dict[str, str], special: tuple[str, ...], frame: tuple[list[int], list[int]], roles: dict[str, Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    write_model(tmp_path / "spiece.model", special=special)
    if config:
        (tmp_path / "config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.load(tmp_path)
    assert {name: getattr(tokenizer, name) for name in roles} == roles
    assert tokenizer.encode_pair("서당")[0] == [*frame[0], *tokenizer.encode("서당"), *frame[1]]
    if config.get("model_type") == "t5":
        assert tokenizer.sentinel_ids == list(range(tokenizer.vocab_size - 1, tokenizer.vocab_size - 101, -1))
    tokenizer.save(tmp_path / "again")
    again = Tokenizer.load(tmp_path / "again")
    assert again.fingerprint() == tokenizer.fingerprint() and again.encode("</s>서당") == tokenizer.encode("</s>서당")


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="model type 3"):
        read_model(write_model(tmp_path / "words.model", model_type=3))
    kiwi = {"decoder": {"type": "Kiwi"}, "model": {"vocab": []}}
    (tmp_path / "kor.json").write_text(json.dumps(kiwi))
    with pytest.raises(DataError, match="analyser Kiwi"):
        load(tmp_path / "kor.json")


def test_unigram_from_a_tokenizer_json_keeps_special_tokens_out_of_text(tmp_path: Path) -> None:
    """T5's own tokenizer.json: its model holds </s> with a score that would win."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    backend = Backend(models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *PIECES], 2, False))
    words = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), words])
    backend.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    backend.add_special_tokens(["<pad>", "</s>", "<unk>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)
    segments = tokenizer.encode_segments([("a", True), ("서당", False)])
    assert spelled(tokenizer, segments) == [["▁a"], ["▁서당"]]  # a space goes before every word
    assert 1 not in tokenizer.encode("a</s>") and tokenizer.decode(tokenizer.encode("서당 ab")) == "서당 ab"
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint() == tokenizer.fingerprint()


# -- against the sentencepiece package ----------------------------------------------------------------------------

ODD = ["  앞뒤  한글 ", "ㅋㅋㅋ ㅠㅠ ㅋㅠ", "½ ① ＡＢＣ ﬁ", "가나\n다라\t마", "🙂👩‍👩‍👧 龍", "<0x41>", "", 
       "e\u0301 \u00a0x\u3000y", unicodedata.normalize("NFD", "한국어 café")]  # fmt: skip
OPTIONS: list[dict[str, Any]] = [
    {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    {"normalization_rule_name": "nmt_nfkc_cf", "user_defined_symbols": "서당,("},
    {"add_dummy_prefix": False, "split_by_whitespace": False},
    {"model_type": "bpe"},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids=range(len(OPTIONS)))
def test_equals_sentencepiece(options: dict[str, Any], lines: list[str], tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    stream = io.BytesIO()
    size = {"vocab_size": 500 if "byte_fallback" in options else 200, "hard_vocab_limit": "bpe" in options.values()}
    settings = {"model_type": "unigram", "minloglevel": 2, "num_threads": 1} | size | options
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=stream, **settings)
    (tmp_path / "m.model").write_bytes(stream.getvalue())
    theirs = sentencepiece.SentencePieceProcessor(model_proto=stream.getvalue())
    ours = tokenizer_from_pieces(read_model(tmp_path / "m.model"))
    for text in [*lines[:5], *ODD]:
        assert ours.encode(text) == theirs.encode(text), text
    assert (ours.unk_id, ours.eos_id) == (theirs.unk_id(), theirs.eos_id())
