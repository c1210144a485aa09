"""Rotary positions in GGUF: a base, a scaling, and for Llama 3.1's bands a table of divisors in place of settings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from seodang.checkpoints.gguf.metadata import COPY_AGAIN, Metadata
from seodang.checkpoints.layouts.base import cannot_express
from seodang.errors import DataError
from seodang.models.config import ModelConfig, RoPE
from seodang.models.positions import rotary_frequencies

TABLE = "rope_freqs.weight"
"""llama.cpp divides rotation frequency i by entry i."""


def rope_settings(config: ModelConfig) -> dict[str, Any]:
    """The keys of `config.rope`, without the architecture in front.

    Raises UsageError for a scaling that GGUF cannot state.
    """
    rope = config.rope
    assert rope is not None
    turned = int(config.d_head * rope.share)
    keys: dict[str, Any] = {"rope.freq_base": float(rope.theta), "rope.dimension_count": turned}
    if rope.scaling in ("linear", "yarn"):
        keys |= {"rope.scaling.type": rope.scaling, "rope.scaling.factor": float(rope.factor)}
    if rope.scaling == "yarn":
        if not rope.truncate:
            raise cannot_express("GGUF", "truncate = False in its YaRN scaling", "llama.cpp rounds the two limits")
        _, attention = rotary_frequencies(rope, config.d_head, config.context_length, 0)
        keys |= {
            "rope.scaling.original_context_length": rope.original_context or config.context_length,
            "rope.scaling.attn_factor": attention / _temperature(rope.factor),
            "rope.scaling.yarn_beta_fast": float(rope.beta_fast),
            "rope.scaling.yarn_beta_slow": float(rope.beta_slow),
        }
    return keys


def rope_table(config: ModelConfig) -> np.ndarray | None:
    """What `rope_freqs.weight` holds (d_head/2,): plain frequencies ÷ scaled ones; None where it is not needed.

    Raises UsageError for frequencies that change with the length of the text.
    """
    rope = config.rope
    if rope is None or rope.scaling in ("none", "linear", "yarn"):
        return None
    fixed = rope.short_factor == rope.long_factor and rope.attention_factor == 1.0
    if rope.scaling == "dynamic" or (rope.scaling == "longrope" and not fixed):
        raise cannot_express("GGUF", f"{rope.scaling} rotary scaling", "there the frequencies are the same always")
    plain, _ = rotary_frequencies(RoPE(theta=rope.theta), config.d_head, config.context_length, 0)
    scaled, _ = rotary_frequencies(rope, config.d_head, config.context_length, 0)
    return (plain / scaled).numpy()


def rope_of(file: Metadata, d_head: int, context_length: int, theta: float = 10000.0) -> RoPE:
    """The settings in a file's keys, or those that explain its table. Raises DataError for an unknown scaling."""
    theta = file.decimal("rope.freq_base", theta)
    if TABLE in file.shapes:
        return _from_table(file, theta, d_head, context_length)
    kind = file.setting("rope.scaling.type") or "none"
    factor = file.decimal("rope.scaling.factor", file.number("rope.scale_linear", float, 1.0))
    if kind in ("none", "linear"):
        return RoPE(theta=theta) if factor in (0.0, 1.0) else RoPE(theta=theta, scaling="linear", factor=factor)
    if kind == "yarn":
        attention = file.decimal("rope.scaling.attn_factor", 1.0)
        return RoPE(
            theta=theta,
            scaling="yarn",
            factor=factor,
            original_context=file.setting("rope.scaling.original_context_length"),
            beta_fast=file.decimal("rope.scaling.yarn_beta_fast", 32.0),
            beta_slow=file.decimal("rope.scaling.yarn_beta_slow", 1.0),
            attention_factor=None if attention == 1.0 else attention * _temperature(factor),
        )
    raise DataError(f"{file.origin} scales positions by {kind!r}", "not supported", "supported: linear, yarn")


def _temperature(factor: float) -> float:
    """What llama.cpp multiplies YaRN's attention factor with (Peng et al. 2023, sec. 3.4)."""
    return 1.0 if factor <= 1 else 1 + 0.1 * math.log(factor)


def _from_table(file: Metadata, theta: float, d_head: int, context_length: int) -> RoPE:
    """The table by which llama.cpp divides each rotation frequency: Llama 3.1's bands, or any other table.

    llama.cpp's converter keeps the table and drops the settings it came from. Those of the published models
    are tried; a table that they do not explain is kept as it is, in the one scaling that carries a table.
    """
    table = torch.from_numpy(file.data(TABLE).copy()).float()
    plain, _ = rotary_frequencies(RoPE(theta=theta), d_head, context_length, 0)
    if len(table) != len(plain):
        raise DataError(f"{file.origin}: {TABLE} has {len(table)} entries", f"not {len(plain)}", COPY_AGAIN)
    factor = float(f"{float(table.max()):.7g}")
    bands = RoPE(theta=theta, scaling="llama3", factor=factor, original_context=8192)
    found, _ = rotary_frequencies(bands, d_head, context_length, 0)
    if torch.allclose(found, plain / table, rtol=1e-5):
        return bands
    factors = tuple(float(value) for value in table)
    return RoPE(
        theta=theta,
        scaling="longrope",
        short_factor=factors,
        long_factor=factors,
        original_context=context_length,
        attention_factor=1.0,
    )
