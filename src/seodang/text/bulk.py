"""Texts in bulk → ids: by `gigatoken` where it is installed and gives the same ids, by `tokenizers` otherwise.

`gigatoken` splits and merges as `tokenizers` does, 10 to 50 times as fast, for byte-level BPE whose pre-tokenizer it
knows and for SentencePiece BPE with byte fallback. What it would do otherwise than we want is settled beforehand:

* It takes every special token that is spelled out in a text for the token; for us it is text. It is not told of them.
* Where every digit is a piece of its own (SmolLM2, StarCoder), which it does not know, each digit is declared a word
  that is never cut, with the digit's own id.
* Three scripts whose letters compose since Unicode 16 (NFC), which the two libraries know from different versions on,
  are left to `tokenizers` in the way that follows.
* A byte without a token (SmolLM2's vocabulary lacks some), and a digit of several tokens, get an id beyond the
  vocabulary; a text in which one turns up is encoded by `tokenizers`.

Anything else it might not do alike makes `gigatoken_encoder` decline. And one sample of every list of texts is
encoded by both: should they ever differ, `Disagreement` is raised, and nothing that was encoded is to be kept.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seodang.text.pieces import GPT2_SPLIT, SMOLLM_SPLITS, split_patterns
from seodang.text.rules import bytes_of_characters, flatten

if TYPE_CHECKING:
    from seodang.text.tokenizer import Tokenizer

Encoded = tuple[NDArray[np.uint32], NDArray[np.int64]]
"""The ids of all texts one after another, and how many each text has."""

CACHED_BYTES = 1 << 27
"""Text after which gigatoken is set up anew (0.1 s): its table of words seen grows without bound."""

SAMPLE = 1024
"""Characters of a list of texts that both libraries encode."""

_NEW_COMPOSITIONS = (range(0x11380, 0x11400), range(0x16100, 0x16140), range(0x16D40, 0x16D80))
"""Tulu-Tigalari, Gurung Khema, Kirat Rai."""

_PROBES = (
    "It's 2024: we'll   see\n\n\nthe <|endoftext|>\ttabs, <s>,\r\n\x00\x04\x7f and 3.14159 ½ ² Ⅻ"
    " 👩‍👩‍👧 café cafe\u0301.",
    "서당개 삼 년이면 풍월을 읊는다. 한글 12,345원, ㅋㅋㅋ 漢字 かな\u3000끝\u00a0\u200b  ",
    "a" * 300 + " " * 300 + "가" * 300 + "!" * 300 + "\n" * 300,
)


class BulkEncoder(Protocol):
    """Encodes lists of texts; `name` says what does the work."""

    name: str

    def encode(self, texts: Sequence[str]) -> Encoded: ...


class Disagreement(Exception):
    """gigatoken gave other ids than tokenizers."""


class PlainEncoder:
    """Anything that has `encode_batch`; `Tokenizer`'s runs on all processors."""

    name = "tokenizers"

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of `texts`. Raises DataError for a lone surrogate."""
        rows = self.tokenizer.encode_batch(texts)
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter(chain.from_iterable(rows), np.uint32, int(counts.sum())), counts


class GigatokenEncoder:
    """gigatoken over the same vocabulary. Made by `gigatoken_encoder`."""

    name = "gigatoken"

    def __init__(self, tokenizer: Tokenizer, pipeline: dict[str, Any], first_unknown: int) -> None:
        self.tokenizer, self._pipeline, self._first_unknown = tokenizer, json.dumps(pipeline), first_unknown
        self._plain = PlainEncoder(tokenizer)
        asked = os.environ.get("TOKENIZERS_PARALLELISM", "").lower()
        # unset, gigatoken decides: on all processors, but not in the worker of a pool of processes
        self._parallel = asked not in ("off", "false", "f", "no", "n", "0") if asked else None
        self._set_up()

    def _set_up(self) -> None:
        import gigatoken

        self._backend = gigatoken.Tokenizer.from_json(self._pipeline)
        self._bytes = self._calls = 0

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The ids of `texts`. Raises DataError for a lone surrogate, Disagreement where tokenizers gives other ids."""
        try:
            data = [text.encode("utf-8") for text in texts]
        except UnicodeEncodeError:
            return self._plain.encode(texts)  # names what is wrong
        self._bytes += sum(map(len, data))
        if self._bytes > CACHED_BYTES:
            self._set_up()
        ids, counts = self._encode(data, texts)
        self._check(texts)
        return ids, counts

    def _check(self, texts: Sequence[str]) -> None:
        self._calls += 1
        sample = [texts[self._calls % len(texts)][:SAMPLE]] if texts else []
        ids, _ = self._encode([text.encode("utf-8") for text in sample], sample)
        if not np.array_equal(ids, self._plain.encode(sample)[0]):
            raise Disagreement(sample[0])

    def _encode(self, data: list[bytes], texts: Sequence[str]) -> Encoded:
        ids, counts = _flat(self._backend.encode_batch(data, parallel=self._parallel))
        unknown = np.flatnonzero(ids >= self._first_unknown)
        if not len(unknown):
            return ids, counts
        ends = np.cumsum(counts)
        parts, done = [], 0
        for row in np.unique(np.searchsorted(ends, unknown, side="right")).tolist():
            exact, _ = self._plain.encode([texts[row]])
            parts += [ids[done : ends[row] - counts[row]], exact]
            done, counts[row] = int(ends[row]), len(exact)
        return np.concatenate([*parts, ids[done:]]), counts


def _flat(rows: Any) -> Encoded:
    """What gigatoken returns: an awkward array, or, where that package is missing, a list of arrays."""
    if isinstance(rows, list):
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.concatenate(rows) if rows else np.empty(0, np.uint32), counts
    import awkward

    return awkward.to_numpy(awkward.flatten(rows)), awkward.to_numpy(awkward.num(rows)).copy()


def gigatoken_encoder(tokenizer: Any) -> GigatokenEncoder | None:
    """gigatoken for this tokenizer, or None where it is not installed or not known to give the same ids."""
    from seodang.text.tokenizer import Tokenizer

    if not isinstance(tokenizer, Tokenizer) or find_spec("gigatoken") is None:
        return None
    pipeline = tokenizer.pipeline()
    first_unknown = tokenizer.vocab_size
    suited = _sentencepiece(pipeline) if pipeline["model"].get("byte_fallback") else _byte_level(pipeline, tokenizer)
    if not suited:
        return None
    try:
        encoder = GigatokenEncoder(tokenizer, pipeline, first_unknown)
        for probe in _PROBES:
            encoder.encode([probe[at : at + SAMPLE] for at in range(0, len(probe), SAMPLE)])
    except (Disagreement, ValueError, RuntimeError):
        return None
    return encoder


def _is_bpe(pipeline: dict[str, Any]) -> bool:
    """BPE without GPT-1's and BERT's marks and without dropout; also leaves out the special tokens."""
    model = pipeline["model"]
    pipeline["added_tokens"] = [token for token in pipeline["added_tokens"] if not token["special"]]
    marks = ("continuing_subword_prefix", "end_of_word_suffix", "dropout")
    return model["type"] == "BPE" and not any(model.get(mark) for mark in marks)


def _sentencepiece(pipeline: dict[str, Any]) -> bool:
    """Whether it is SentencePiece BPE that gigatoken encodes alike: all bytes, no words that are never cut."""
    vocabulary = pipeline["model"]["vocab"]
    has_bytes = all(f"<0x{byte:02X}>" in vocabulary for byte in range(256))
    return has_bytes and _is_bpe(pipeline) and not pipeline["added_tokens"]


def _byte_level(pipeline: dict[str, Any], tokenizer: Tokenizer) -> bool:
    """Whether it is byte-level BPE that gigatoken encodes alike; writes into `pipeline` what it has to be told."""
    model = pipeline["model"]
    normal = {rule["type"] for rule in flatten(pipeline["normalizer"])}
    rules = flatten(pipeline["pre_tokenizer"])
    if not (_is_bpe(pipeline) and model.get("unk_token") is None and normal <= {"NFC"} and rules):
        return False
    odd = ("lstrip", "rstrip", "single_word", "normalized")
    if any(token[flag] for token in pipeline["added_tokens"] for flag in odd):
        return False
    patterns, last = split_patterns(rules), rules[-1]
    if patterns is None or last.get("add_prefix_space"):
        return False
    by_itself = bool(last.get("use_regex", True))
    unknown = tokenizer.vocab_size
    if patterns == SMOLLM_SPLITS and not (pipeline["added_tokens"] or normal):
        pipeline["added_tokens"] = _digits(tokenizer, unknown)
        patterns = (GPT2_SPLIT,)
    if normal:
        pipeline["added_tokens"] += [_uncut(chr(code), unknown) for block in _NEW_COMPOSITIONS for code in block]
    if patterns == (GPT2_SPLIT,):
        pipeline["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    elif not patterns or by_itself:
        return False
    missing = [character for character in bytes_of_characters() if character not in model["vocab"]]
    model["vocab"] |= {character: id for id, character in enumerate(missing, unknown + 1)}
    return True


def _digits(tokenizer: Tokenizer, unknown: int) -> list[dict[str, Any]]:
    r"""Every \p{N} as a word that is never cut: with its own id, or, where it takes several tokens, with `unknown`."""
    digits = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] == "N"]
    pairs = zip(digits, tokenizer.encode_batch(digits), strict=True)
    return [_uncut(digit, ids[0] if len(ids) == 1 else unknown) for digit, ids in pairs]


def _uncut(text: str, id: int) -> dict[str, Any]:
    """An added token that is found wherever the text is, before anything else."""
    flags = dict.fromkeys(("special", "lstrip", "rstrip", "single_word", "normalized"), False)
    return {"id": id, "content": text, **flags}
