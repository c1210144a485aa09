"""T5 (Raffel et al. 2020), and 1.1 of its released code.

Shapes: B batch, T queries, S keys, D model width, H heads, F inner width of the MLP.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from seodang.models.attention import Mask
from seodang.models.base import UNLIMITED, table
from seodang.models.config import ModelConfig
from seodang.models.encoder_decoder import AttentiveEncoderDecoder, CrossAttention, PreNormDecoderBlock
from seodang.models.layers import ACTIVATIONS, MLP, Attention, Dropout, GatedMLP, PreNormBlock, RMSNorm, compute_type


def relative_bucket(offset: Tensor, *, both_sides: bool, buckets: int, distance: int) -> Tensor:
    """The bucket of each offset = key's place − query's place (Shaw et al. 2018 in T5's form, sec. 2.1).

    Let N be the buckets of one direction: half of them where keys behind the query are seen (`both_sides`), whose
    offsets then take the upper half, and n = |offset|. Half of N have one distance each; the others grow by powers:
        n                                                          for n < N/2,
        min(N − 1, N/2 + ⌊ln(n/(N/2)) / ln(distance/(N/2)) · N/2⌋)   from there on.
    """
    start = torch.zeros_like(offset)
    if both_sides:
        buckets //= 2
        start = (offset > 0) * buckets
        n = offset.abs()
    else:
        n = (-offset).clamp(min=0)
    exact = buckets // 2
    # n = 0 belongs to the first line; its logarithm is only kept finite
    power = (n.clamp(min=1).float() / exact).log() / math.log(distance / exact) * (buckets - exact)
    far = (exact + power.long()).clamp(max=buckets - 1)
    return start + torch.where(n < exact, n, far)


class DroppedActivation(nn.Module):
    """dropout(activation(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.function = ACTIVATIONS[config.activation]
        self.dropout = Dropout(config.residual_dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.function(x))


class T5(AttentiveEncoderDecoder):
    """RMSNorm before each part and at the end, relative positions shared by all layers of a side, no 1/√d, no biases.

    Dropout as in the released code: of both sides' inputs and outputs, of attention's probabilities, of what each
    part adds, and within the MLP.
    """

    dense_masks = True
    mlp_type: type[MLP] = MLP

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.output_dropout = Dropout(config.embedding_dropout)

    def furnish(self, side: Any) -> None:
        side.relative = table(self.config.relative_buckets, self.config.n_heads)
        side.norm = RMSNorm(self.config.d_model, eps=self.config.norm_eps)

    def mlp(self) -> MLP:
        """down(dropout(relu(up(x))))."""
        mlp = self.mlp_type(self.config)
        mlp.activation = DroppedActivation(self.config)
        return mlp

    def encoder_block(self, layer: int) -> PreNormBlock:
        config = self.config
        return PreNormBlock(config, Attention(config, layer, fused=False, causal=False), self.mlp(), RMSNorm)

    def decoder_block(self, layer: int) -> PreNormDecoderBlock:
        config = self.config
        attention, cross = Attention(config, layer, fused=False), CrossAttention(config, layer)
        return PreNormDecoderBlock(config, attention, cross, self.mlp(), RMSNorm)

    def seen(self, side: Any, mask: Mask | None, n_new: int, n_all: int) -> Mask | None:
        """To every score, a number of each head for the bucket of the distance: (B or 1, H, T, S)."""
        weight = side.relative.weight
        keys = torch.arange(n_all, device=weight.device)
        offset = keys[None, :] - keys[n_all - n_new :, None]
        config = self.config
        bucket = relative_bucket(
            offset, both_sides=side is not self, buckets=config.relative_buckets, distance=config.relative_distance
        )
        scores = side.relative(bucket).to(compute_type(weight)).permute(2, 0, 1)[None]
        return scores if mask is None else scores + mask

    def after(self, side: Any, x: Tensor) -> Tensor:
        return self.output_dropout(side.norm(x))

    def to_output(self, hidden: Tensor) -> Tensor:
        """A tied matrix has rows of length √D: they are scaled back (sec. 3.1.1's code)."""
        return hidden * self.config.d_model**-0.5 if self.config.tied else hidden

    @property
    def max_tokens(self) -> int:
        """No limit: the last bucket has no end."""
        return UNLIMITED

    def init_parameter(
        self, name: str, parameter: Tensor, generator: torch.Generator | None, zero_residual: bool
    ) -> None:
        """Mesh TensorFlow's: N(0, 1/fan-in), queries 1/√d smaller as scores are not scaled, tables N(0, 1); all of
        them times `init_std`, which is 1 in the paper."""
        config = self.config
        d_attention = config.n_heads * config.d_head
        stds = {
            "embed": 1.0,
            "head": config.d_model**-0.5,
            "relative": config.d_model**-0.5,
            "q": (config.d_model * config.d_head) ** -0.5,
            "k": config.d_model**-0.5,
            "v": config.d_model**-0.5,
            "out": d_attention**-0.5,
            "up": config.d_model**-0.5,
            "gate": config.d_model**-0.5,
            "down": config.d_ff**-0.5,
        }
        if parameter.dim() < 2:
            nn.init.ones_(parameter)
            return
        module = name.split(".")[-2]
        std = 0.0 if zero_residual and module in ("out", "down") else config.init_std * stds[module]
        nn.init.normal_(parameter, std=std, generator=generator)


class T5v11(T5):
    """1.1: a gated MLP (Shazeer 2020), an output matrix of its own that nothing scales."""

    mlp_type = GatedMLP
