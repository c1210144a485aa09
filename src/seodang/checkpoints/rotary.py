"""The two layouts of rotary weights: LLaMA's own pairs neighbours, Hugging Face and this package pair halves."""

from __future__ import annotations

from torch import Tensor


def halves_from_pairs(weight: Tensor, n_heads: int) -> Tensor:
    """Reorder the output rows of a query or key projection from neighbouring pairs to halves.

    Rotary frequency i turns rows (2i, 2i+1) of each head in the original LLaMA, in llama2.c and in GGUF, and
    rows (i, i + d_head/2) here. weight: (n_heads * d_head, D), or the bias (n_heads * d_head,).
    """
    rows = weight.shape[0]
    return weight.reshape(n_heads, rows // n_heads // 2, 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def pairs_from_halves(weight: Tensor, n_heads: int) -> Tensor:
    """The inverse of `halves_from_pairs`."""
    rows = weight.shape[0]
    return weight.reshape(n_heads, 2, rows // n_heads // 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)
