"""Rotary positions in config.json: `rope_theta` and `rope_scaling` (transformers 4), `rope_parameters` (5)."""

from __future__ import annotations

from typing import Any

from seodang.checkpoints.layouts.base import choice
from seodang.errors import DataError
from seodang.models.config import RoPE

_SCALINGS = {name: name for name in ("linear", "dynamic", "yarn", "llama3", "longrope")} | {"default": "none"}
_SHARED = ("factor", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow")
_OPTIONAL = ("mscale", "mscale_all_dim", "truncate", "attention_factor")
_READS: dict[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor", "beta_fast", "beta_slow", "truncate", "attention_factor", "mscale", "mscale_all_dim"),
    "longrope": ("attention_factor",),
}
_TRAINED_CONTEXT = ("llama3", "yarn", "longrope")


def rope_from(config: dict[str, Any], *, partial: bool = False) -> RoPE:
    """`rope_theta` with `rope_scaling` (v4), or `rope_parameters` (v5) → RoPE. Raises DataError when unsupported.

    partial: the family can turn a part of each head.
    """
    values = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    theta = values.get("rope_theta") or config.get("rope_theta") or 10000.0
    values["rope_type"] = values.get("rope_type") or values.get("type")
    scaling = choice(values, "rope_type", _SCALINGS, "default")
    share = float(values.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0)
    if share != 1.0 and not partial:
        raise DataError("config.json rotates a part of each head", "whole heads only", "use another model")
    if scaling == "none":
        return RoPE(theta=float(theta), share=share)
    original = None
    if scaling in _TRAINED_CONTEXT:
        original = values.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
    fields: dict[str, Any] = {key: float(values[key]) for key in _SHARED if values.get(key) is not None}
    fields |= {key: values[key] for key in _OPTIONAL if values.get(key) is not None}
    fields = {key: value for key, value in fields.items() if key in (*_READS[scaling], "factor")}
    if "factor" not in fields and scaling != "longrope":
        if scaling != "yarn" or not original:
            raise DataError(f"config.json scales positions ({scaling}) without a factor", "", "add the factor")
        fields["factor"] = config["max_position_embeddings"] / original
    if scaling == "longrope":
        fields["short_factor"] = tuple(float(value) for value in values.get("short_factor") or ())
        fields["long_factor"] = tuple(float(value) for value in values.get("long_factor") or ())
        head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        pairs = int(head * share) // 2
        if {len(fields["short_factor"]), len(fields["long_factor"])} != {pairs}:
            raise DataError("config.json's longrope factors do not fit", f"two lists of {pairs} numbers are needed", "")
    return RoPE(theta=float(theta), share=share, scaling=scaling, original_context=original, **fields)


def rope_to(rope: RoPE) -> dict[str, Any]:
    """RoPE → the entries of config.json that both readers need: one for v4, one for v5."""
    if rope.scaling == "none":
        values: dict[str, Any] = {"rope_type": "default"}
    else:
        values = {"rope_type": rope.scaling} | {key: getattr(rope, key) for key in _READS[rope.scaling]}
        if rope.scaling in _TRAINED_CONTEXT and rope.original_context:
            values["original_max_position_embeddings"] = rope.original_context
        if rope.scaling == "longrope":
            values |= {"short_factor": list(rope.short_factor), "long_factor": list(rope.long_factor)}
            values |= {"factor": rope.factor} if rope.factor != 1.0 else {}
        values = {key: value for key, value in values.items() if value is not None}
    values |= {"partial_rotary_factor": rope.share} if rope.share != 1.0 else {}
    return {
        "rope_theta": rope.theta,
        "rope_scaling": None if rope.scaling == "none" else values,
        "rope_parameters": {**values, "rope_theta": rope.theta},
    }
