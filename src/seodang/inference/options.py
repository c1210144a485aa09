"""The keywords of everything that generates, and how they meet a model's own defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from seodang.errors import UsageError, suggest
from seodang.inference.dola import REPETITION_PENALTY
from seodang.inference.sampling import Settings
from seodang.inference.schema import grammar_of

FILTERS = ("top_k", "top_p", "min_p")


class Options(TypedDict, total=False):
    """What is not given, or None, comes from the model's generation_config.json (its sampling numbers only if it
    says do_sample), and else is greedy. A top-k, top-p or min-p without a temperature means temperature 1."""

    max_new_tokens: int
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    seed: int
    stop: str | Sequence[str]
    num_beams: int
    length_penalty: float
    min_new_tokens: int
    no_repeat_ngram_size: int
    dola: str | Sequence[int] | None
    schema: Mapping[str, Any] | bool | str | None
    regex: str | None
    choices: Sequence[str] | None


_RULES = {
    "min_new_tokens": "min_new_tokens",
    "no_repeat_ngram_size": "no_repeat_ngram_size",
    "forced_bos_token_id": "forced_first_id",
    "forced_eos_token_id": "forced_last_id",
    "decoder_start_token_id": "start_id",
}
"""Entries of a generation_config that any model's settings take over → their names here."""

_NEUTRAL: dict[str, Any] = {
    "encoder_no_repeat_ngram_size": 0, "encoder_repetition_penalty": 1.0, "diversity_penalty": 0.0,
    "num_beam_groups": 1, "exponential_decay_length_penalty": None, "sequence_bias": None, "typical_p": 1.0,
    "penalty_alpha": None, "guidance_scale": None, "begin_suppress_tokens": None, "force_words_ids": None,
    "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "forced_decoder_ids": None,
}  # fmt: skip
"""Entries that change a text and that this package does not have → what they are when they change nothing."""


def ignored(defaults: Mapping[str, Any], *, seq2seq: bool = False) -> list[str]:
    """Entries of a generation_config, as "name = value", that would change a text in `transformers` and not here."""
    beams = {} if seq2seq else {"num_beams": 1, "min_length": 0}  # which only encoder-decoders take from there
    found = [
        f"{name} = {defaults[name]}"
        for name, neutral in {**_NEUTRAL, **beams}.items()
        if name in defaults and defaults[name] not in (neutral, None)
    ]
    if defaults.get("early_stopping") not in (None, True, False):
        found.append(f"early_stopping = {defaults['early_stopping']}")
    if any(len(words) > 1 for words in defaults.get("bad_words_ids") or ()):
        found.append("bad_words_ids of several tokens")
    if isinstance(defaults.get("forced_eos_token_id"), list):
        found.append(f"forced_eos_token_id = {defaults['forced_eos_token_id']}")
    return found


def merge(
    options: Mapping[str, Any], defaults: Mapping[str, Any], end_ids: frozenset[int], *, seq2seq: bool = False
) -> Settings:
    """The settings that `options` amount to; `defaults` is the model's generation_config, of which an encoder-decoder
    (`seq2seq`) also takes its beams and lengths.

    Raises UsageError for an unknown option and for a value out of range.
    """
    known = Options.__annotations__
    for name in options:
        if name not in known:
            raise UsageError(f"unknown option {name!r}", "no such option exists", suggest(name, known))
    given = {name: value for name, value in options.items() if value is not None}
    stop = given.pop("stop", ())
    merged: dict[str, Any] = {}
    if "repetition_penalty" in defaults:
        merged["repetition_penalty"] = float(defaults["repetition_penalty"])
    _contrast(given, merged)
    greedy = given.get("temperature") == 0 or given.get("num_beams", 1) > 1
    if defaults.get("do_sample") and not greedy:
        merged["temperature"] = float(defaults.get("temperature") or 1.0)
        merged |= {name: defaults[name] for name in FILTERS if defaults.get(name) is not None}
    elif any(name in given for name in FILTERS):
        merged["temperature"] = 1.0
    merged |= _rules(defaults, end_ids)
    if not seq2seq:
        merged.pop("forced_first_id", None)  # it forces what stands first of all, which a prompt does
    else:
        merged = {**_beams_and_lengths(defaults), **merged}
        if {**merged, **given}.get("temperature") and "num_beams" not in given:
            merged["num_beams"] = 1  # who asks for chance gets no search
    if (grammar := grammar_of(*(given.pop(name, None) for name in ("schema", "regex", "choices")))) is not None:
        merged = {name: value for name, value in merged.items() if not name.startswith("forced")} | {"grammar": grammar}
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    return Settings(**{**merged, **given}, stop=stops, stop_ids=tuple(sorted(end_ids))).check()


def _contrast(given: dict[str, Any], merged: dict[str, Any]) -> None:
    """DoLa's layers in one form, and the repetition penalty that its paper has where nobody says another."""
    if (layers := given.get("dola")) is not None:
        given["dola"] = layers if isinstance(layers, str) else tuple(layers)
        merged.setdefault("repetition_penalty", REPETITION_PENALTY)


def _rules(defaults: Mapping[str, Any], end_ids: frozenset[int]) -> dict[str, Any]:
    rules: dict[str, Any] = {
        ours: defaults[theirs] for theirs, ours in _RULES.items() if isinstance(defaults.get(theirs), int)
    }
    # bad words never include an end, as in `transformers`
    never = {words[0] for words in defaults.get("bad_words_ids") or () if len(words) == 1} - end_ids
    never |= set(defaults.get("suppress_tokens") or ())
    return {**rules, "banned_ids": tuple(sorted(never))}


def _beams_and_lengths(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a generation_config says of an encoder-decoder's search. Its lengths count the start token."""
    found = {name: defaults[name] for name in ("num_beams", "length_penalty") if defaults.get(name) is not None}
    if defaults.get("early_stopping") is True:
        found["early_stopping"] = True
    if defaults.get("max_new_tokens") or defaults.get("max_length"):
        found["max_new_tokens"] = defaults.get("max_new_tokens") or max(1, defaults["max_length"] - 1)
    if defaults.get("min_length"):
        found["min_new_tokens"] = max(0, defaults["min_length"] - 1)
    return found
