"""The original Transformer (Vaswani et al. 2017).

Shapes: B batch, T tokens, D model width, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from seodang.models.base import UNLIMITED, table
from seodang.models.config import ModelConfig
from seodang.models.encoder_decoder import AttentiveEncoderDecoder, CrossAttention, PostNormDecoderBlock
from seodang.models.layers import MLP, Attention, PostNormBlock
from seodang.models.positions import sinusoids


class PostNormEncoderDecoder(AttentiveEncoderDecoder):
    """Norms behind the residual sums (sec. 3.1), q, k and v apart, biases everywhere, a fixed bias of the logits.

    That bias (V,) is what MarianMT's and BART's publications carry; it is 0 in models made here, and is not trained.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.logits_bias = table(1, config.vocab_size).requires_grad_(False)

    def encoder_block(self, layer: int) -> PostNormBlock:
        config = self.config
        return PostNormBlock(config, Attention(config, layer, fused=False, causal=False), MLP(config), nn.LayerNorm)

    def decoder_block(self, layer: int) -> PostNormDecoderBlock:
        config = self.config
        attention, cross = Attention(config, layer, fused=False), CrossAttention(config, layer)
        return PostNormDecoderBlock(config, attention, cross, MLP(config), nn.LayerNorm)

    @property
    def output_bias(self) -> Any:
        """(V,), as published."""
        return self.logits_bias.weight[0]

    def init_parameter(
        self, name: str, parameter: Tensor, generator: torch.Generator | None, zero_residual: bool
    ) -> None:
        """N(0, init_std); no bias of the logits."""
        if name == "logits_bias.weight":
            nn.init.zeros_(parameter)
        else:
            super().init_parameter(name, parameter, generator, zero_residual)


class Transformer(PostNormEncoderDecoder):
    """Sinusoidal positions added to embeddings that are scaled by √D (sec. 3.4, 3.5) and shared three ways."""

    def before(self, side: Any, ids: Tensor, positions: Tensor) -> Tensor:
        width = self.config.d_model
        return self.embed(ids) * math.sqrt(width) + sinusoids(positions, width).to(self.embed.weight.dtype)

    @property
    def max_tokens(self) -> int:
        """No limit: the waves go on."""
        return UNLIMITED

    def init_parameter(
        self, name: str, parameter: Tensor, generator: torch.Generator | None, zero_residual: bool
    ) -> None:
        """As the authors' tensor2tensor: tables N(0, 1/D), so that √D times a row has length √D; matrices N(0, 2/(in +
        out)) (Glorot & Bengio 2010, eq. 16)."""
        if name in ("embed.weight", "head.weight"):
            nn.init.normal_(parameter, std=self.config.d_model**-0.5, generator=generator)
        elif parameter.dim() == 2 and name != "logits_bias.weight":
            into_residual = name.endswith((".out.weight", ".down.weight"))
            std = 0.0 if zero_residual and into_residual else math.sqrt(2 / sum(parameter.shape))
            nn.init.normal_(parameter, std=std, generator=generator)
        else:
            super().init_parameter(name, parameter, generator, zero_residual)
