"""Unigram language model vocabularies (Kudo 2018): put together, and kept from mistaking text for special tokens.

A text is cut into the pieces whose probabilities have the greatest product (Viterbi). Spaces are part of the pieces:
`▁` stands for one, and one is put before the text (SentencePiece, Kudo & Richardson 2018).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

SPACE = "\u2581"
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""The pieces that stand for bytes of characters without a piece (byte fallback)."""

_CHUNKS = re.compile(rf"{SPACE}?[^\s{SPACE}]+|{SPACE}|\s+")


def unigram_backend(
    pieces: Sequence[tuple[str, float]],
    unk_id: int | None,
    special: Iterable[str],
    *,
    normalizers: Sequence[Any] = (),
    byte_fallback: bool = True,
    add_space_prefix: bool = True,
) -> Any:
    """A pipeline over (piece, log probability). `normalizers` come before spaces are marked.

    Unlike SentencePiece's own default nothing is lost: line ends and runs of spaces stay, unless `normalizers` change
    them, so that decoding gives the normalised text back.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models
    from tokenizers import normalizers as rules
    from tokenizers import pre_tokenizers as splits

    backend = Backend(models.Unigram(list(pieces), unk_id, byte_fallback))
    prefix = [rules.Prepend(SPACE)] if add_space_prefix else []
    backend.normalizer = rules.Sequence([*normalizers, *prefix, rules.Replace(" ", SPACE)])
    # words apart are the same pieces and are remembered, if no piece goes beyond a word
    if not any(SPACE in piece[1:] for piece, _ in pieces):
        backend.pre_tokenizer = splits.Metaspace(SPACE, prepend_scheme="never", split=True)
    strip = [decoders.Strip(" ", left=1, right=0)] if add_space_prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    guard(backend, [*special, *(BYTES if byte_fallback else ())])
    return backend


def guard(backend: Any, names: Iterable[str]) -> None:
    """Keep `names` that a text spells out from being found as pieces: the text is cut after their first character.

    A unigram model looks pieces up in the text itself, and its vocabulary holds the special tokens too. No piece is
    found across the cut, and unknown characters on both sides of it are two unknown tokens.
    """
    from tokenizers import Regex, pre_tokenizers

    rests: dict[str, list[str]] = {}
    pieces = backend.get_vocab(with_added_tokens=False)
    for name in sorted(name for name in set(names) if len(name) > 1 and name in pieces):
        rests.setdefault(name[0], []).append(re.escape(name[1:]))
    pattern = "|".join(f"{re.escape(first)}(?={'|'.join(tails)})" for first, tails in rests.items())
    if not pattern:
        return
    cut = pre_tokenizers.Split(Regex(pattern), "merged_with_previous")
    before = backend.pre_tokenizer
    if before is None:
        backend.pre_tokenizer = cut
    elif json.loads(cut.__getstate__()) not in _rules(json.loads(before.__getstate__())):
        backend.pre_tokenizer = pre_tokenizers.Sequence([before, cut])


def _rules(rule: dict[str, Any]) -> list[dict[str, Any]]:
    inner = rule.get("pretokenizers")
    return [rule] if inner is None else [each for item in inner for each in _rules(item)]


def unigram_splitter() -> Callable[[str], list[tuple[str, Any]]]:
    """Text → the stretches that a piece may lie in, spaces marked: a space begins one, and so do another script,
    digits, punctuation and other white space (as in SentencePiece's training)."""
    from tokenizers import pre_tokenizers

    scripts = pre_tokenizers.Sequence([pre_tokenizers.UnicodeScripts(), pre_tokenizers.Digits()])

    def split(text: str) -> list[tuple[str, Any]]:
        result = []
        for chunk in _CHUNKS.findall(text.replace(" ", SPACE)):
            body = chunk.removeprefix(SPACE)
            runs = [run for run, _ in scripts.pre_tokenize_str(body)] or [""]
            runs[0] = chunk[: len(chunk) - len(body)] + runs[0]
            result += [(run, None) for run in runs]
        return result

    return split
