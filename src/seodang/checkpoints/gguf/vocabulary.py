"""Tokenizer and chat template ↔ the keys of a GGUF file; what is written encodes as the original does."""

from __future__ import annotations

from typing import Any

from seodang.checkpoints.gguf.metadata import Metadata
from seodang.errors import DataError
from seodang.text.pieces import UNUSED
from seodang.text.tables import tables_of, unfit, without_padding
from seodang.text.tokenizer import Tokenizer

_PREFIX = "tokenizer.ggml."
_NFC = "seodang.tokenizer.nfc"
"""Text is composed first. llama.cpp never does; it is given composed text."""

_IDS = {"bos_id": "bos", "eos_id": "eos", "unk_id": "unknown", "pad_id": "padding"}

PROBES = (
    "".join(map(chr, range(0x250))),
    "It's 2024: we'll   see\n\n\nthe DON'T\ttabs, <s>,\r\n and 3.14159 ½ ² Ⅻ  trailing  ",
    "서당개 삼 년이면 풍월을 읊는다. 한글 12,345원, ㅋㅋㅋ 漢字 かな Привет العربية ไทย\u3000끝\u00a0\u200b",
    "👩‍👩‍👧 🙂🇰🇷 café naïve ¿qué? x=1;y_2+=[3]*4 //end\n    def f(a, b):\n\t\treturn a<=b",
    "a" * 40 + " " * 40 + "가" * 40 + "!" * 40 + "\n" * 40 + "7" * 40,
)
"""Texts that the tokenizer read back must encode as the original does."""


def tokenizer_of(file: Metadata) -> Tokenizer | None:
    """The tokenizer in a file; None when there is none. Raises DataError for a kind that is not supported."""
    kind, tokens = file.value(_PREFIX + "model"), file.value(_PREFIX + "tokens")
    if kind is None or tokens is None or kind == "none":
        return None
    types = file.value(_PREFIX + "token_type") or [1] * len(tokens)
    rows = without_padding(tokens, types)
    bos, prefix = file.value(_PREFIX + "add_bos_token"), file.value(_PREFIX + "add_space_prefix")
    common: dict[str, Any] = {name: file.value(f"{_PREFIX}{key}_token_id") for name, key in _IDS.items()}
    common["chat_template"] = file.value("tokenizer.chat_template")
    if kind == "gpt2":
        return Tokenizer.from_bpe(
            tokens[:rows],
            file.value(_PREFIX + "merges") or [],
            types[:rows],
            pre=file.value(_PREFIX + "pre") or "gpt-2",
            add_bos=bool(bos),
            add_prefix_space=bool(prefix),
            nfc=file.value(_NFC),
            **common,
        )
    if kind == "llama":
        return Tokenizer.from_sentencepiece(
            tokens[:rows],
            (file.value(_PREFIX + "scores") or [0.0] * len(tokens))[:rows],
            types[:rows],
            add_space_prefix=True if prefix is None else bool(prefix),
            add_bos=True if bos is None else bool(bos),
            **common,
        )
    raise DataError(
        f"{file.origin} has a tokenizer of kind {kind!r}", "this package does not read it", "supported: gpt2, llama"
    )


def tokenizer_keys(tokenizer: Tokenizer | None, rows: int) -> dict[str, Any]:
    """The keys that hold `tokenizer`, one token for each of the model's `rows`.

    Raises DataError, saying why, for a tokenizer that GGUF cannot express.
    """
    if tokenizer is None:
        return {_PREFIX + "model": "none"}
    tables = tables_of(tokenizer, rows)
    keys: dict[str, Any] = {
        "model": "gpt2" if tables.scores is None else "llama",
        "pre": tables.pre,
        "tokens": tables.tokens,
        "token_type": tables.types,
        "scores": tables.scores,
        "merges": tables.merges,
        "add_bos_token": tokenizer.add_bos,
        "add_eos_token": False,
        "add_space_prefix": tables.add_space_prefix,
        **{f"{key}_token_id": getattr(tokenizer, name) for name, key in _IDS.items()},
        "eot_token_id": None if tokenizer.end_of_turn_id == tokenizer.eos_id else tokenizer.end_of_turn_id,
    }
    found = {_PREFIX + key: value for key, value in keys.items() if value is not None}
    if tables.merges is not None:
        found[_NFC] = tables.nfc
    if tokenizer.chat_template:  # the `gguf` package leaves empty texts out
        found["tokenizer.chat_template"] = tokenizer.chat_template
    return found


def check_same(ours: Tokenizer, theirs: Tokenizer | None, file: Metadata) -> None:
    """Raise DataError where `theirs`, read from the keys written for `ours`, encodes or decodes otherwise."""
    if theirs is None:
        raise unfit("nothing can be read back from its tables")
    for name in ("add_bos", "special_ids", "chat_template", *_IDS):
        stated, read = getattr(ours, name), getattr(theirs, name)
        if stated not in (None, "") and stated != read:
            raise unfit(f"read back from its tables, {name} is {read!r}, not {stated!r}")
    types = file.value(_PREFIX + "token_type")
    ids = [id for id in range(ours.vocab_size) if types[id] != UNUSED]
    for id in ids:
        before, after = ours.token_bytes(id), theirs.token_bytes(id)
        if before != after:
            raise unfit(f"read back from its tables, token {id} is {after!r}, not {before!r}")
    words = [ours.token_of(id) for id in ids if types[id] not in (1, 6)]
    texts = [*PROBES, *(f"a{word}b {word} c\n{word}" for word in words)]
    for text, ids, found in zip(texts, ours.encode_batch(texts), theirs.encode_batch(texts), strict=True):
        if ids != found:
            raise unfit(f"read back from its tables, it encodes {text[:60]!r} as other ids")

