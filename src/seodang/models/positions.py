"""Sinusoidal positions, rotary positions and their scalings.

Shapes: B batch, T time, H heads, d head width, R = d/2 rotation frequencies.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seodang.models.config import RoPE


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """sin and cos of position / 10000^(2i/width) (Vaswani et al. 2017, sec. 3.5): (…, width) in float32.

    All sines stand before all cosines, as in Marian's models; the paper's order is a permutation of it, which its
    learned matrices would undo.
    """
    # in float64: the 500th position times a rounded frequency is wrong in the fourth digit. Apple's GPUs have none
    where = torch.device("cpu") if positions.device.type == "mps" else positions.device
    i = torch.arange((width + 1) // 2, dtype=torch.float64, device=where)
    angles = positions.to(where, torch.float64)[..., None] * 10000 ** (-2 * i / width)
    return torch.cat((angles.sin(), angles[..., : width // 2].cos()), dim=-1).to(positions.device, torch.float32)


def rotary_frequencies(rope: RoPE, d_head: int, context_length: int, length: int) -> tuple[Tensor, float]:
    """Angular frequencies (R,) in radians per token and the factor on cos and sin.

    Su et al. 2021 (RoFormer), eq. 15: θ_i = theta^(-2i/d). `length` is the number of positions in use, which
    the "dynamic" and "longrope" scalings look at.
    """
    exponent = torch.arange(0, d_head, 2, dtype=torch.int64).float() / d_head
    original = rope.original_context or context_length
    match rope.scaling:
        case "none":
            return 1.0 / rope.theta**exponent, 1.0
        case "linear":  # Chen et al. 2023: positions interpolated
            return 1.0 / rope.theta**exponent / rope.factor, 1.0
        case "dynamic":  # NTK-aware: the base grows with the text, once it is longer than the trained context
            used = max(length, original)
            growth = rope.factor * used / original - (rope.factor - 1)
            return 1.0 / (rope.theta * growth ** (d_head / (d_head - 2))) ** exponent, 1.0
        case "llama3":
            return _llama3(1.0 / rope.theta**exponent, rope, original), 1.0
        case "yarn":
            return _yarn(1.0 / rope.theta**exponent, rope, d_head, original)
        case "longrope":
            factors = rope.long_factor if length > original else rope.short_factor
            stretch = context_length / original if rope.factor == 1.0 else rope.factor
            default = math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0
            scale = default if rope.attention_factor is None else rope.attention_factor
            return 1.0 / (torch.tensor(factors) * rope.theta**exponent), scale


def _llama3(frequencies: Tensor, rope: RoPE, original: int) -> Tensor:
    """Llama 3.1: long waves slowed by `factor`, short ones kept, a linear passage between."""
    turns = original * frequencies / (2 * math.pi)  # full turns within the original context
    passage = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    keep = passage.clamp(0, 1)
    return keep * frequencies + (1 - keep) * frequencies / rope.factor


def _yarn(frequencies: Tensor, rope: RoPE, d_head: int, original: int) -> tuple[Tensor, float]:
    """YaRN (Peng et al. 2023), sec. 3.2 (NTK by parts) and 3.4 (attention temperature)."""

    def dimension(turns: float) -> float:  # the dimension that turns so many times in the original context
        return d_head * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = dimension(rope.beta_fast), dimension(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, d_head - 1)
    ramp = (torch.arange(d_head // 2).float() - low) / max(high - low, 0.001)
    slow = ramp.clamp(0, 1)

    def temperature(scale: float = 1.0) -> float:
        return 1.0 if rope.factor <= 1 else 0.1 * scale * math.log(rope.factor) + 1.0

    factor = rope.attention_factor
    if factor is None:
        both = rope.mscale and rope.mscale_all_dim
        factor = temperature(rope.mscale) / temperature(rope.mscale_all_dim) if both else temperature()  # type: ignore[arg-type]
    return frequencies * (1 - slow) + frequencies / rope.factor * slow, factor


def rotation(rope: RoPE, d_head: int, context_length: int, positions: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of the angles at `positions` (B, T) or (T,): two tensors (B or 1, 1, T, share · d), fp32."""
    adaptive = rope.scaling in ("dynamic", "longrope")
    length = int(positions.max()) + 1 if adaptive else 0
    frequencies, factor = rotary_frequencies(rope, int(d_head * rope.share), context_length, length)
    angles = positions.float()[..., None] * frequencies.to(positions.device)
    angles = torch.cat((angles, angles), dim=-1)
    angles = angles[:, None] if angles.dim() == 3 else angles[None, None]
    return angles.cos() * factor, angles.sin() * factor


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x (B, H, T, d): numbers i and i + d/2 are a pair (the GPT-NeoX and Hugging Face layout).

    Where cos and sin are narrower than d, the numbers behind them stay as they are.
    """
    if cos.shape[-1] < x.shape[-1]:
        turned, rest = x.split((cos.shape[-1], x.shape[-1] - cos.shape[-1]), dim=-1)
        return torch.cat((rotate(turned, cos, sin), rest), dim=-1)
    first, second = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat((-second, first), dim=-1) * sin.to(x.dtype)
