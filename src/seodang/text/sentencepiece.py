"""SentencePiece vocabularies without the sentencepiece library: pieces, scores and types from their files."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seodang.errors import DataError
from seodang.text.rules import TRIM
from seodang.text.styles import SENTINELS, STYLES, StyleName, frame
from seodang.text.tokenizer import Tokenizer
from seodang.text.unigram import unigram_backend

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""SentencePiece's piece types (sentencepiece_model.proto, ModelProto.SentencePiece.Type); GGUF uses the same."""

SPACE = "\u2581"
"""The character that stands for a space inside pieces."""


@dataclass(frozen=True)
class Pieces:
    """A vocabulary: the piece, score and type of each id, and what SentencePiece does to a text first."""

    tokens: list[str]
    scores: list[float]
    types: list[int]
    add_space_prefix: bool = True
    """Whether text is encoded as if a space stood before it (SentencePiece's add_dummy_prefix)."""
    unigram: bool = False
    """Whether text is cut into the most probable pieces; otherwise neighbours are joined, as in BPE."""
    charsmap: bytes = b""
    """The compiled table of the normalisation, and its `normalization` name: nmt_nfkc, identity …"""
    normalization: str = ""
    trim: bool = False
    """Whether spaces at both ends are dropped and runs of spaces are one (remove_extra_whitespaces)."""
    roles: Mapping[str, int] = field(default_factory=dict)
    """unk_token, bos_token … → ids, where the file names them."""


def read_llama2c_vocabulary(path: Path, vocab_size: int) -> Pieces:
    """Read llama2.c's tokenizer file: int32 longest piece, then float32 score, int32 length and bytes per piece.

    That writer puts spaces for SentencePiece's space character and frames bos and eos with newlines; both are
    undone here. Raises DataError when the file ends early or holds another number of pieces.
    """
    data = path.read_bytes()
    tokens: list[str] = []
    scores: list[float] = []
    offset = 4
    try:
        while offset < len(data):
            score, length = struct.unpack_from("<fi", data, offset)
            piece = data[offset + 8 : offset + 8 + length]
            if length < 0 or len(piece) != length:
                raise struct.error("a piece is cut")
            tokens.append(piece.decode("utf-8"))
            scores.append(score)
            offset += 8 + length
    except (struct.error, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is not a llama2.c tokenizer", f"piece {len(tokens)} cannot be read: {error}", "copy it again"
        ) from None
    if len(tokens) != vocab_size:
        raise DataError(
            f"{path} does not fit the model",
            f"it holds {len(tokens)} pieces and the model has {vocab_size} embedding rows",
            "put the tokenizer that the model was trained with beside it",
        )
    tokens = [token.strip("\n") if token in ("\n<s>\n", "\n</s>\n") else token for token in tokens]
    return Pieces([token.replace(" ", SPACE) for token in tokens], scores, [_type_of(token) for token in tokens])


def _type_of(token: str) -> int:
    if token == "<unk>":
        return UNKNOWN
    if token in ("<s>", "</s>"):
        return CONTROL
    return BYTE if len(token) == 6 and token.startswith("<0x") and token.endswith(">") else NORMAL


def read_model(path: Path) -> Pieces:
    """Read a SentencePiece `.model` file of the types unigram and BPE.

    It is a protocol buffer (sentencepiece_model.proto, ModelProto: 1 pieces, 2 trainer_spec, 3 normalizer_spec).
    Raises DataError when it is not one, or of another type.
    """
    tokens: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    more: dict[str, Any] = {}
    try:
        for number, value in _fields(_bytes_of(path)):
            if number == 1 and isinstance(value, bytes):
                piece = dict(_fields(value))
                text, score, kind = piece[1], piece.get(2, b"\0\0\0\0"), piece.get(3, NORMAL)
                if not isinstance(text, bytes) or not isinstance(score, bytes) or not isinstance(kind, int):
                    raise ValueError("a piece has fields of other types")
                tokens.append(text.decode("utf-8"))
                scores.append(struct.unpack("<f", score)[0])
                types.append(kind)
            elif number == 2 and isinstance(value, bytes):
                more |= _trainer_spec(dict(_fields(value)))
            elif number == 3 and isinstance(value, bytes):
                more |= _normalizer_spec(dict(_fields(value)))
    except (ValueError, KeyError, IndexError, struct.error) as error:
        raise DataError(f"{path} is not a SentencePiece model", str(error), "copy it again") from None
    if not tokens:
        raise DataError(f"{path} is not a SentencePiece model", "it holds no pieces", "copy it again")
    return Pieces(tokens, scores, types, **more)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read", error.strerror or str(error), "check the path") from None


def _trainer_spec(fields: dict[int, int | bytes]) -> dict[str, Any]:
    """3 model_type (1 unigram, 2 BPE), 24 treat_whitespace_as_suffix, 40 to 43 ids of unk, bos, eos, pad (−1: none)."""
    kind = fields.get(3, 1)
    if not isinstance(kind, int) or kind not in (1, 2) or fields.get(24):
        raise ValueError(f"model type {kind!r} or its spaces behind the words are not supported")
    names = ("unk_token", "bos_token", "eos_token", "pad_token")
    ids = {name: fields.get(40 + at, (0, 1, 2, -1)[at]) for at, name in enumerate(names)}
    known = {name: id for name, id in ids.items() if isinstance(id, int) and 0 <= id < 1 << 31}
    return {"unigram": kind == 1, "roles": known}


def _normalizer_spec(fields: dict[int, int | bytes]) -> dict[str, Any]:
    """1 name, 2 precompiled_charsmap, 3 add_dummy_prefix, 4 remove_extra_whitespaces."""
    name, charsmap = fields.get(1, b""), fields.get(2, b"")
    if not isinstance(name, bytes) or not isinstance(charsmap, bytes):
        raise ValueError("the normalisation has fields of other types")
    return {
        "normalization": name.decode("utf-8"),
        "charsmap": charsmap,
        "add_space_prefix": bool(fields.get(3, 1)),
        "trim": bool(fields.get(4, 1)),
    }


def tokenizer_from_pieces(pieces: Pieces, config: Mapping[str, Any] | None = None) -> Tokenizer:
    """A Tokenizer that encodes as SentencePiece and llama2.c do.

    config  what tokenizer_config.json and config.json say, if anything: T5's get their sentinels, XLM-RoBERTa's their
            own order of ids, T5's and ALBERT's what stands around texts, and its special tokens are declared.
    """
    config = dict(config or {})
    if not pieces.unigram:
        return _bpe(pieces, config)
    family = _family(pieces, config)
    if family == "xlmr":
        pieces = _fairseq(pieces)
    names = {role: pieces.tokens[id] for role, id in pieces.roles.items() if id < len(pieces.tokens)}
    unknown = next((id for id, kind in enumerate(pieces.types) if kind == UNKNOWN), None)
    # control pieces are no text, and unused ones are never found in it
    special = [token for token, kind in zip(pieces.tokens, pieces.types, strict=True) if kind in (UNKNOWN, CONTROL)]
    unused = [token for token, kind in zip(pieces.tokens, pieces.types, strict=True) if kind == UNUSED]
    backend = unigram_backend(
        list(zip(pieces.tokens, _scores(pieces), strict=True)),
        unknown,
        [*special, *unused],
        normalizers=[*(_albert(config) if family == "albert" else ()), *_normalizers(pieces)],
        byte_fallback=BYTE in pieces.types,
        add_space_prefix=pieces.add_space_prefix,
    )
    if family == "t5":
        count = config.get("extra_ids", SENTINELS) if _is(config, "t5") else 0
        special += [f"<extra_id_{n}>" for n in reversed(range(count))]
    if family is None:
        from tokenizers import AddedToken

        backend.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    else:
        style: StyleName = "roberta" if family == "xlmr" else family
        frame(backend, style, "unigram", special)
        names |= {role: name for role, name in STYLES[style].roles.items() if name in special}
    config.pop("model_type", None)
    declared = {role: names[role] for role in names if names[role] in special}
    return Tokenizer(backend, config=declared | config, chat_template=config.get("chat_template"))


def _family(pieces: Pieces, config: Mapping[str, Any]) -> Any:
    """t5, albert, xlmr, or None for a vocabulary of nobody in particular."""
    if _is(config, "xlmroberta") or _is(config, "xlm-roberta"):
        return "xlmr"
    control = {token for token, kind in zip(pieces.tokens, pieces.types, strict=True) if kind != NORMAL}
    if {"[CLS]", "[SEP]", "[MASK]"} <= control:
        return "albert"
    t5 = pieces.tokens[:3] == ["<pad>", "</s>", "<unk>"] and "<s>" not in control
    return "t5" if t5 or _is(config, "t5") else None


def _is(config: Mapping[str, Any], family: str) -> bool:
    return any(family in str(config.get(key) or "").lower() for key in ("tokenizer_class", "model_type"))


def _fairseq(pieces: Pieces) -> Pieces:
    """XLM-RoBERTa's ids: <s>, <pad>, </s>, <unk>, then the file's pieces from its fourth on, then <mask>."""
    return replace(
        pieces,
        tokens=["<s>", "<pad>", "</s>", "<unk>", *pieces.tokens[3:], "<mask>"],
        scores=[0.0] * 4 + pieces.scores[3:] + [0.0],
        types=[CONTROL, CONTROL, CONTROL, UNKNOWN, *pieces.types[3:], CONTROL],
        roles={"bos_token": 0, "pad_token": 1, "eos_token": 2, "unk_token": 3},
    )


def _scores(pieces: Pieces) -> list[float]:
    """Scores as the search uses them: user-defined pieces have one that always wins (unigram_model.cc)."""
    best = max((score for score, kind in zip(pieces.scores, pieces.types, strict=True) if kind == NORMAL), default=0.0)
    return [
        len(token.encode("utf-8")) * best - 0.1 if kind == USER_DEFINED else score
        for token, score, kind in zip(pieces.tokens, pieces.scores, pieces.types, strict=True)
    ]


def _normalizers(pieces: Pieces) -> list[Any]:
    from tokenizers import Regex, normalizers

    rules: list[Any] = []
    if pieces.charsmap:
        rules += [normalizers.Precompiled(pieces.charsmap)]
        # which applies the table character by character; SentencePiece joins jamo to syllables with it
        rules += [normalizers.NFC()] * ("nfkc" in pieces.normalization)
    if pieces.trim:
        rules += [normalizers.Replace(Regex(TRIM), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    return rules


def _albert(config: Mapping[str, Any]) -> list[Any]:
    """What ALBERT's own code does to a text before SentencePiece sees it (tokenization.py, preprocess_text)."""
    from tokenizers import normalizers

    rules: list[Any] = [normalizers.Replace(quotes, '"') for quotes in ("``", "''")]
    rules += [] if config.get("keep_accents") else [normalizers.NFKD(), normalizers.StripAccents()]
    return rules + [normalizers.Lowercase()] * bool(config.get("do_lower_case", True))


def _bpe(pieces: Pieces, config: dict[str, Any]) -> Tokenizer:
    ids = {role: id for role, id in pieces.roles.items() if id < len(pieces.tokens)}
    return Tokenizer.from_sentencepiece(
        pieces.tokens,
        pieces.scores,
        pieces.types,
        add_space_prefix=pieces.add_space_prefix,
        normalizers=_normalizers(pieces),
        bos_id=ids.get("bos_token"),
        eos_id=ids.get("eos_token"),
        pad_id=ids.get("pad_token"),
        unk_id=ids.get("unk_token"),
        chat_template=config.get("chat_template"),
    )


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The (field number, value) pairs of one protocol-buffer message: varints as int, all else as bytes."""
    offset = 0

    def varint() -> int:
        nonlocal offset
        value = shift = 0
        while True:
            byte = data[offset]
            offset += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while offset < len(data):
        key = varint()
        wire = key & 7
        if wire == 0:
            yield key >> 3, varint()
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"wire type {wire} at byte {offset}")
        length = 8 if wire == 1 else 4 if wire == 5 else varint()
        if offset + length > len(data):
            raise ValueError("it is cut short")
        yield key >> 3, data[offset : offset + length]
        offset += length
