"""The keywords of everything that generates, and how they meet a model's own defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from seodang.errors import UsageError, suggest
from seodang.inference.sampling import Settings

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


def merge(options: Mapping[str, Any], defaults: Mapping[str, Any], end_ids: frozenset[int]) -> Settings:
    """The settings that `options` amount to; `defaults` is the model's generation_config.

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
    greedy = given.get("temperature") == 0 or given.get("num_beams", 1) > 1
    if defaults.get("do_sample") and not greedy:
        merged["temperature"] = float(defaults.get("temperature") or 1.0)
        merged |= {name: defaults[name] for name in FILTERS if defaults.get(name) is not None}
    elif any(name in given for name in FILTERS):
        merged["temperature"] = 1.0
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    return Settings(**{**merged, **given}, stop=stops, stop_ids=tuple(sorted(end_ids))).check()
