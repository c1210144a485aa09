"""LLaMA (Touvron et al. 2023a, 2023b) and models of its layout: SmolLM2, TinyLlama, Llama 3."""

from __future__ import annotations

from torch import nn

from seodang.models.decoder import Decoder
from seodang.models.layers import Attention, GatedMLP, PreNormBlock, RMSNorm


class Llama(Decoder):
    """RMSNorm before each part, rotary positions, SwiGLU, grouped-query attention, no biases (sec. 2.2)."""

    def block(self, layer: int) -> PreNormBlock:
        config = self.config
        return PreNormBlock(config, self.attention(layer), GatedMLP(config), RMSNorm)

    def attention(self, layer: int) -> Attention:
        """The attention of block number `layer`."""
        return Attention(self.config, layer, fused=False)

    def final_norm(self) -> nn.Module:
        return RMSNorm(self.config.d_model, eps=self.config.norm_eps)
