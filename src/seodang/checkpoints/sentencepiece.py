"""SentencePiece vocabularies without the sentencepiece library: pieces, scores and types from their files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seodang.errors import DataError
from seodang.text.tokenizer import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""SentencePiece's piece types (sentencepiece_model.proto, ModelProto.SentencePiece.Type); GGUF uses the same."""

SPACE = "\u2581"
"""The character that stands for a space inside pieces."""


@dataclass(frozen=True)
class Pieces:
    """A vocabulary: the piece, score and type of each id."""

    tokens: list[str]
    scores: list[float]
    types: list[int]
    add_space_prefix: bool = True
    """Whether text is encoded as if a space stood before it (SentencePiece's add_dummy_prefix)."""


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
    """Read a SentencePiece `.model` file (protocol buffer ModelProto: 1 pieces, 3 normalizer_spec).

    Raises DataError when it is not one.
    """
    tokens: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    prefix = True
    try:
        for field, value in _fields(path.read_bytes()):
            if field == 1 and isinstance(value, bytes):
                piece = dict(_fields(value))
                text, score, kind = piece[1], piece.get(2, b"\0\0\0\0"), piece.get(3, NORMAL)
                if not isinstance(text, bytes) or not isinstance(score, bytes) or not isinstance(kind, int):
                    raise ValueError("a piece has fields of other types")
                tokens.append(text.decode("utf-8"))
                scores.append(struct.unpack("<f", score)[0])
                types.append(kind)
            elif field == 3 and isinstance(value, bytes):
                prefix = bool(dict(_fields(value)).get(3, 1))
    except (ValueError, KeyError, IndexError, struct.error) as error:
        raise DataError(f"{path} is not a SentencePiece model", str(error), "copy it again") from None
    if not tokens:
        raise DataError(f"{path} is not a SentencePiece model", "it holds no pieces", "copy it again")
    return Pieces(tokens, scores, types, prefix)


def tokenizer_from_pieces(pieces: Pieces) -> Tokenizer:
    """A Tokenizer that encodes as SentencePiece and llama2.c do."""
    return Tokenizer.from_sentencepiece(
        pieces.tokens, pieces.scores, pieces.types, add_space_prefix=pieces.add_space_prefix
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
