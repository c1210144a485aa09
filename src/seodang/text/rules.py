"""What a tokenizer's pipeline does at the edges: spaces it puts in front, and the bytes that a token stands for."""

from __future__ import annotations

import json
import re
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

_SPACE = "\u2581"  # ▁, SentencePiece's space

TRIM = "^ +| +$"
"""The rule that drops spaces at both ends of a text, as a regular expression whose matches go."""


def rules_of(part: Any) -> list[dict[str, Any]]:
    """A normalizer, pre-tokenizer or decoder as tokenizer.json writes it: its rules one after another."""
    return flatten(None if part is None else json.loads(part.__getstate__()))


def flatten(rule: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A rule that is a sequence of rules, as these; none as no rules."""
    if rule is None:
        return []
    for key in ("decoders", "normalizers", "pretokenizers"):
        if isinstance(rule.get(key), list):
            return [inner for item in rule[key] for inner in flatten(item)]
    return [rule]


def prefix_of(backend: Backend) -> str:
    """Where a space is put before the text: "none", "first" (of the text) or "always" (after specials too)."""
    for rule in rules_of(backend.normalizer) + rules_of(backend.pre_tokenizer):
        if rule["type"] == "WhitespaceSplit":  # what follows puts one before every word
            return "none"
        if rule["type"] == "Metaspace" and rule.get("prepend_scheme", "always") != "never":
            return str(rule.get("prepend_scheme", "always"))
        if rule["type"] == "Prepend" or (rule["type"] == "ByteLevel" and rule.get("add_prefix_space")):
            return "always"
    return "none"


def without_prefix(backend: Backend) -> Backend:
    """The same vocabulary, putting no space before a text."""
    from tokenizers import Tokenizer as Backend

    whole = json.loads(backend.to_str())
    whole["normalizer"] = _without(whole["normalizer"])
    whole["pre_tokenizer"] = _without(whole["pre_tokenizer"])
    bare = Backend.from_str(json.dumps(whole))
    bare.encode_special_tokens = True
    return bare


def _without(rule: Any) -> Any:
    if isinstance(rule, list):
        return [_without(item) for item in rule if not _at_edges(item)]
    if not isinstance(rule, dict) or _at_edges(rule):
        return None
    changed = {key: _without(value) if isinstance(value, list) else value for key, value in rule.items()}
    changed |= {"prepend_scheme": "never"} if "prepend_scheme" in rule else {}
    return changed | ({"add_prefix_space": False} if "add_prefix_space" in rule else {})


def _at_edges(rule: dict[str, Any]) -> bool:
    return rule.get("type") == "Prepend" or rule.get("pattern") == {"Regex": TRIM}


class Spelling:
    """How the tokens of a vocabulary spell text: as "bytes" (GPT-2), "pieces" (SentencePiece) or "words"."""

    def __init__(self, backend: Backend) -> None:
        self.decoder = rules_of(backend.decoder)
        self.word_end = getattr(backend.model, "end_of_word_suffix", None)
        self.inside = getattr(backend.model, "continuing_subword_prefix", None)

    @cached_property
    def kind(self) -> str:
        kinds = {rule["type"] for rule in self.decoder}
        if "ByteLevel" in kinds:
            return "bytes"
        return "pieces" if kinds & {"ByteFallback", "Metaspace"} else "words"

    @cached_property
    def drops_first_space(self) -> bool:
        """SentencePiece puts a space before the text; its decoder takes it away."""
        return self.kind == "pieces" and any(
            (rule["type"] == "Strip" and rule.get("start", 0) > 0)
            or (rule["type"] == "Metaspace" and rule.get("prepend_scheme", "always") != "never")
            for rule in self.decoder
        )

    @property
    def joined(self) -> bool:
        """Whether words are decoded without spaces between them."""
        return any(rule["type"] == "Fuse" for rule in self.decoder)

    @property
    def exact(self) -> bool:
        """Whether the bytes of tokens, joined, are the text, but for a space at its end."""
        return self.kind != "words" or bool(self.word_end) or self.joined

    def to_bytes(self, token: str) -> bytes:
        """The bytes that an ordinary token stands for; a word is itself and the space that parts it from another."""
        if self.kind == "bytes":
            table = bytes_of_characters()
            if all(character in table for character in token):
                return bytes(table[character] for character in token)
            return token.encode("utf-8")
        if self.kind == "pieces":
            byte = re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", token)
            return bytes([int(byte[1], 16)]) if byte else token.replace(_SPACE, " ").encode("utf-8")
        if self.word_end:
            return (token.removesuffix(self.word_end) + " " * token.endswith(self.word_end)).encode("utf-8")
        if self.inside and token.startswith(self.inside):
            return token.removeprefix(self.inside).encode("utf-8")
        return (token if self.joined else " " + token).encode("utf-8")


@cache
def bytes_of_characters() -> dict[str, int]:
    """GPT-2's printable character for each byte (encoder.py, bytes_to_unicode), turned round."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
