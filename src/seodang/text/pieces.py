"""Tables of tokens, as GGUF and llama2.c store them → a `tokenizers` pipeline with the same ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from seodang.errors import DataError, suggest

UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 2, 3, 4, 5, 6
"""GGUF's token types (gguf.TokenType); 1 is an ordinary token."""

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SMOLLM_SPLITS = (r"\p{N}", GPT2_SPLIT)
_LLAMA3 = (
    _CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_CASED = (  # a word: capitals and then small letters, or the other way about
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
)
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_O200K = _CASED % (_CONTRACTIONS + "?", _CONTRACTIONS + "?") + r"|\p{N}{1,3}" + _TAIL
_TEKKEN = _CASED % ("", "") + r"|\p{N}" + _TAIL

_SPLITS: dict[str, tuple[str, ...]] = {
    "gpt-2": (GPT2_SPLIT,),
    "smollm": SMOLLM_SPLITS,
    "llama-bpe": (_LLAMA3,),
    "qwen2": (_QWEN2,),
    "gpt-4o": (_O200K,),
    "tekken": (_TEKKEN,),
}
_ALIASES = {
    # a file that names none was made before names existed, from GPT-2's own pre-tokenisation
    **dict.fromkeys(("", "default", "gpt2", "mpt", "olmo", "jais", "phi-2", "roberta-bpe", "gigachat"), "gpt-2"),
    **dict.fromkeys(("starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), "smollm"),
    **dict.fromkeys(("llama3", "llama-v3", "dbrx", "smaug-bpe", "falcon3", "pixtral"), "llama-bpe"),
    **dict.fromkeys(("stablelm2", "deepseek-r1-qwen", "megrez", "hunyuan"), "qwen2"),
    **dict.fromkeys(("llama4", "o200k"), "gpt-4o"),
}
_NFC = {"qwen2", "deepseek-r1-qwen"}
_WHOLE_WORDS_FIRST = {"llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "tekken", "llama4"}
"""Vocabularies where a word that is a token is that token, whatever the merges say (`ignore_merges`)."""


def byte_level_backend(
    tokens: Sequence[str],
    merges: Sequence[str | tuple[str, str]],
    types: Sequence[int] | None,
    pre: str,
    special: Mapping[str, int],
    add_prefix_space: bool,
    nfc: bool | None = None,
) -> Any:
    """See `Tokenizer.from_bpe`. `pre` is one of tokenizer.ggml.pre's names."""
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    name = _ALIASES.get(pre, pre)
    if name not in _SPLITS:
        raise DataError(
            f"unknown pre-tokenizer {pre!r}",
            "splitting the text by another rule would give other ids than the model was trained on",
            suggest(pre, [*_SPLITS, *_ALIASES]),
        )
    vocabulary = _vocabulary(tokens)
    pairs = [_pair(merge, row, vocabulary) for row, merge in enumerate(merges, 1)]
    model = models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=pre in _WHOLE_WORDS_FIRST)
    backend = Backend(model)
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in _SPLITS[name]]
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*splits, last])
    backend.decoder = decoders.ByteLevel()
    rules: list[Any] = [normalizers.NFC()] if (pre in _NFC if nfc is None else nfc) else []
    if add_prefix_space:
        rules.append(normalizers.Prepend(" "))
    if rules:
        backend.normalizer = normalizers.Sequence(rules)
    _declare(backend, tokens, types, special)
    return backend


def split_patterns(rules: Sequence[Mapping[str, Any]]) -> tuple[str, ...] | None:
    """The regular expressions by which a byte-level pre-tokenizer cuts text into words, one after the other.

    None for a pre-tokenizer that does anything else.
    """
    if not rules or rules[-1]["type"] != "ByteLevel":
        return None
    *splits, last = rules
    found = [_pattern(rule) for rule in splits] + [GPT2_SPLIT] * bool(last.get("use_regex", True))
    return None if None in found else tuple(pattern for pattern in found if pattern is not None)


def _pattern(rule: Mapping[str, Any]) -> str | None:
    """The regular expression whose matches a rule makes words of their own; None for any other rule."""
    if rule["type"] == "Digits" and rule.get("individual_digits"):
        return r"\p{N}"
    if rule["type"] == "Split" and rule["behavior"] == "Isolated" and not rule.get("invert"):
        return rule["pattern"].get("Regex")
    return None


def pre_tokenizer_name(patterns: tuple[str, ...], whole_words_first: bool, nfc: bool) -> str | None:
    """The name in tokenizer.ggml.pre that stands for these rules, one that says `nfc` too where there is one."""
    names = [
        name
        for name in (*_SPLITS, *_ALIASES)
        if name and _SPLITS[_ALIASES.get(name, name)] == patterns and (name in _WHOLE_WORDS_FIRST) == whole_words_first
    ]
    return next((name for name in names if (name in _NFC) == nfc), names[0] if names else None)


def sentencepiece_types(tokens: Sequence[str]) -> tuple[list[str], list[int]]:
    """Names and types for a table that stores none, as llama2.c's: 0 <unk>, 1 <s>, 2 </s>, then bytes."""
    names = [*("<unk>", "<s>", "</s>")[: len(tokens)], *tokens[3:]]
    kinds = [UNKNOWN, CONTROL, CONTROL][: len(tokens)]
    return names, kinds + [BYTE if re.fullmatch(r"<0x[0-9A-F]{2}>", token) else 1 for token in tokens[3:]]


def sentencepiece_backend(
    tokens: Sequence[str],
    scores: Sequence[float],
    types: Sequence[int],
    special: Mapping[str, int],
    unk_id: int | None,
    add_space_prefix: bool,
) -> Any:
    """See `Tokenizer.from_sentencepiece`.

    SentencePiece joins the two neighbours whose joint piece has the best score, again and again. That is BPE with
    a merge for every way a piece is made of two others, ranked by the piece's score.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers

    if not len(tokens) == len(scores) == len(types):
        raise DataError(
            "the tokenizer's tables do not fit together",
            f"{len(tokens)} tokens, {len(scores)} scores, {len(types)} types",
            "copy or convert the model again",
        )
    names = [token if kind in (CONTROL, UNKNOWN) else token.replace(" ", "\u2581")
             for token, kind in zip(tokens, types, strict=True)]  # fmt: skip
    vocabulary = _vocabulary(names)
    plain = {name: id for name, id in vocabulary.items() if types[id] in (1, USER_DEFINED)}
    model = models.BPE(
        vocab=vocabulary,
        merges=merges_by_score(plain, scores),
        unk_token=None if unk_id is None else names[unk_id],
        fuse_unk=True,
        byte_fallback=any(kind == BYTE for kind in types),
    )
    backend = Backend(model)
    space = normalizers.Replace(" ", "\u2581")
    prefix = [normalizers.Prepend("\u2581")] if add_space_prefix else []
    backend.normalizer = normalizers.Sequence([*prefix, space])
    strip = [decoders.Strip(" ", left=1, right=0)] if add_space_prefix else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    _declare(backend, names, types, special)
    return backend


def merges_by_score(vocabulary: Mapping[str, int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """Every (left, right) whose join is a piece, best score first; of one piece, the shorter left first."""
    ranked = []
    for piece, id in vocabulary.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary:
                ranked.append((-scores[id], id, cut, left, right))
    return [(left, right) for _, _, _, left, right in sorted(ranked)]


def _vocabulary(tokens: Sequence[str]) -> dict[str, int]:
    vocabulary: dict[str, int] = {}
    for id, token in enumerate(tokens):
        if vocabulary.setdefault(token, id) != id:
            raise DataError(
                f"the token {token!r} occurs twice in the vocabulary",
                f"it has the ids {vocabulary[token]} and {id}",
                "copy or convert the model again",
            )
    return vocabulary


def _pair(merge: str | tuple[str, str], row: int, vocabulary: Mapping[str, int]) -> tuple[str, str]:
    left, _, right = merge.partition(" ") if isinstance(merge, str) else (merge[0], "", merge[1])
    if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
        raise DataError(
            f"merge {row} of the tokenizer does not fit its vocabulary",
            f"{left!r}, {right!r} or both joined are not tokens",
            "copy or convert the model again",
        )
    return left, right


def _declare(
    backend: Any, tokens: Sequence[str], types: Sequence[int] | None, special: Mapping[str, int]
) -> None:
    """Declare control and unknown tokens special, and user-defined ones as words that are never cut."""
    from tokenizers import AddedToken

    kinds = list(types) if types is not None else [1] * len(tokens)
    for id, (token, kind) in enumerate(zip(tokens, kinds, strict=True)):
        if kind in (CONTROL, UNKNOWN) or special.get(token) == id:
            backend.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == USER_DEFINED:
            backend.add_tokens([AddedToken(token, special=False, normalized=False)])
    for token, id in special.items():
        if backend.token_to_id(token) != id:
            raise DataError(f"the special token {token!r} is not id {id}", "the tables disagree", "check both")
