"""Qwen 2 and 2.5 (Yang et al. 2024, sec. 2.2) and Qwen 3 (Yang et al. 2025, sec. 2)."""

from __future__ import annotations

from seodang.models.layers import Attention, RMSNorm
from seodang.models.llama import Llama


class Qwen2(Llama):
    """LLaMA with biases on queries, keys and values, and on nothing else; upper layers may be local."""

    def attention(self, layer: int) -> Attention:
        return Attention(self.config, layer, fused=False, out_bias=False)


class Qwen3(Llama):
    """LLaMA with an RMSNorm over each head's queries and keys, in place of Qwen 2's biases."""

    def attention(self, layer: int) -> Attention:
        return Attention(self.config, layer, fused=False, norm=RMSNorm)
