"""Gemma 2 (Gemma team 2024, sec. 2) and Gemma 3 (Gemma team 2025, sec. 2).

Shapes: B batch, T tokens, D model width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seodang.models.attention import Mask
from seodang.models.cache import KVCache
from seodang.models.config import ModelConfig
from seodang.models.decoder import Decoder
from seodang.models.layers import Attention, Block, GatedMLP, RMSNorm, Rotation


class GemmaNorm(RMSNorm):
    """x / √(mean x² + ε) · (1 + weight): in two bytes a number near 1 has few digits, the weight has its own."""

    def gain(self) -> Tensor:
        return 1 + self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))


class GemmaBlock(Block):
    """x + norm'(f(norm(x))): a norm before and one after attention and MLP (Gemma 2, sec. 2)."""

    def __init__(self, config: ModelConfig, attention: Attention, mlp: GatedMLP) -> None:
        super().__init__(config, attention, mlp, GemmaNorm)
        self.attention_out_norm = GemmaNorm(config.d_model, eps=config.norm_eps)
        self.mlp_out_norm = GemmaNorm(config.d_model, eps=config.norm_eps)

    def forward(
        self, x: Tensor, mask: Mask | None, rotation: Rotation | None = None, cache: KVCache | None = None
    ) -> Tensor:
        seen = self.attention(self.attention_norm(x), mask, rotation, cache)
        x = x + self.dropout(self.attention_out_norm(seen))
        return x + self.dropout(self.mlp_out_norm(self.mlp(self.mlp_norm(x))))


class Gemma2(Decoder):
    """Embeddings times √D, norms around each part, GeGLU, local and global layers by turns, soft caps on the scores of
    attention and on the logits (sec. 2)."""

    def embedded(self, ids: Tensor) -> Tensor:
        scale = torch.tensor(math.sqrt(self.config.d_model), dtype=self.embed.weight.dtype)  # rounded, as published
        return self.embed(ids) * scale.item()

    def block(self, layer: int) -> GemmaBlock:
        return GemmaBlock(self.config, self.attention(layer), GatedMLP(self.config))

    def attention(self, layer: int) -> Attention:
        """The attention of block number `layer`."""
        return Attention(self.config, layer, fused=False)

    def final_norm(self) -> nn.Module:
        return GemmaNorm(self.config.d_model, eps=self.config.norm_eps)

    def init_parameter(
        self, name: str, parameter: Tensor, generator: torch.Generator | None, zero_residual: bool
    ) -> None:
        if name.endswith("norm.weight"):
            nn.init.zeros_(parameter)  # a factor of 1
        else:
            super().init_parameter(name, parameter, generator, zero_residual)


class Gemma3(Gemma2):
    """Gemma 2 with a norm of queries and keys in place of the soft caps, five local layers to a global one, and their
    own rotary positions (sec. 2)."""

    def attention(self, layer: int) -> Attention:
        return Attention(self.config, layer, fused=False, norm=GemmaNorm)
