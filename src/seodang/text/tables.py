"""A tokenizer → the tables of tokens that GGUF stores: the inverse of `Tokenizer.from_bpe` and `from_sentencepiece`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seodang.errors import DataError
from seodang.text.pieces import (
    BYTE,
    CONTROL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    merges_by_score,
    pre_tokenizer_name,
    split_patterns,
)
from seodang.text.rules import flatten
from seodang.text.tokenizer import Tokenizer

NORMAL = 1
SPACE = "\u2581"  # ▁, SentencePiece's space


@dataclass(frozen=True)
class Tables:
    """One row for each id. `merges` and `pre` belong to byte-level BPE, `scores` to SentencePiece BPE."""

    tokens: list[str]
    types: list[int]
    merges: list[str] | None = None
    pre: str = "default"
    nfc: bool = False
    """Whether text is composed first, which no name in `pre` says."""
    scores: list[float] | None = None
    add_space_prefix: bool = False


def tables_of(tokenizer: Tokenizer, rows: int) -> Tables:
    """The tables of a tokenizer, filled up with unused tokens to `rows` (the model's embedding).

    Raises DataError, saying why, for a tokenizer that is neither byte-level BPE with a pre-tokenizer that llama.cpp
    knows nor SentencePiece BPE with byte fallback.
    """
    pipeline = tokenizer.pipeline()
    model = pipeline["model"]
    if model["type"] != "BPE":
        raise unfit(f"it is a {model['type']} vocabulary")
    for mark in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.get(mark):
            raise unfit(f"its {mark.replace('_', ' ')} is {model[mark]!r}, which llama.cpp does not know")
    build = _sentencepiece if model.get("byte_fallback") else _byte_level
    return build(pipeline, rows)


def unfit(why: str) -> DataError:
    """The error for a tokenizer that GGUF cannot express."""
    return DataError(
        "the tokenizer cannot be written into a GGUF file",
        why,
        "use a model with a byte-level BPE vocabulary (seodang tokenizer train --kind bpe) or LLaMA's SentencePiece",
    )


def _byte_level(pipeline: Mapping[str, Any], rows: int) -> Tables:
    model = pipeline["model"]
    rules = [rule["type"] for rule in flatten(pipeline["normalizer"])]
    if rules not in ([], ["NFC"]):
        raise unfit(f"it changes text first ({', '.join(rules)}), which llama.cpp does not")
    splits = flatten(pipeline["pre_tokenizer"])
    patterns = split_patterns(splits)
    if any(rule.get("add_prefix_space") for rule in splits):
        raise unfit("it puts a space before every text, which llama.cpp's byte-level BPE does not")
    pre = patterns and pre_tokenizer_name(patterns, bool(model.get("ignore_merges")), bool(rules))
    if not pre:
        raise unfit("it splits text into words by a rule that llama.cpp has no name for")
    if not model["merges"]:
        raise unfit("it has no merges, without which llama.cpp does not open a file")
    tokens, types = _rows(pipeline, rows)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return Tables(tokens, types, merges, pre, bool(rules))


def _sentencepiece(pipeline: Mapping[str, Any], rows: int) -> Tables:
    model = pipeline["model"]
    normal, splits = flatten(pipeline["normalizer"]), flatten(pipeline["pre_tokenizer"])
    known = {"Prepend", "Replace", "Metaspace", "Split"}
    others = [rule["type"] for rule in (*normal, *splits) if rule["type"] not in known]
    if others:
        raise unfit(f"it changes or splits text first ({', '.join(others)}), which llama.cpp does not")
    prefixed = any(rule["type"] == "Prepend" for rule in normal) or any(
        rule["type"] == "Metaspace" and rule.get("prepend_scheme", "always") != "never" for rule in splits
    )
    tokens, types = _rows(pipeline, rows)
    for id, token in enumerate(tokens):
        if types[id] == NORMAL and re.fullmatch(r"<0x[0-9A-F]{2}>", token):
            types[id] = BYTE
        if types[id] == CONTROL and token == model.get("unk_token"):
            types[id] = UNKNOWN
        if types[id] == USER_DEFINED:
            tokens[id] = token.replace(SPACE, " ")
    scores = _scores(model, types)
    return Tables(tokens, types, scores=scores, add_space_prefix=prefixed)


def _scores(model: Mapping[str, Any], types: Sequence[int]) -> list[float]:
    """Scores that rank pieces as their merges do: llama.cpp joins the two neighbours whose piece scores best."""
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    first: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        first.setdefault(left + right, rank)
    last = -float(len(merges))
    scores = [0.0 if kind != NORMAL else last for kind in types]
    for piece, rank in first.items():
        scores[model["vocab"][piece]] = -float(rank)
    plain = {piece: id for piece, id in model["vocab"].items() if types[id] in (NORMAL, USER_DEFINED)}
    if set(merges_by_score(plain, scores)) != set(merges):
        raise unfit("its merges are not those that SentencePiece makes of its pieces")
    return scores


def _rows(pipeline: Mapping[str, Any], rows: int) -> tuple[list[str], list[int]]:
    """The token and type of every id; ids without a token become unused ones, as llama.cpp's converter names them."""
    tokens = [f"[PAD{id}]" for id in range(rows)]
    types = [UNUSED] * rows
    for token, id in pipeline["model"]["vocab"].items():
        tokens[id], types[id] = token, NORMAL
    for added in pipeline["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    return tokens, types


def without_padding(tokens: Sequence[str], types: Sequence[int]) -> int:
    """How many rows there are without the unused tokens that fill the table up at its end."""
    count = len(tokens)
    while count and types[count - 1] == UNUSED and tokens[count - 1] == f"[PAD{count - 1}]":
        count -= 1
    return count
