"""GPT-1 (Radford et al. 2018) and GPT-2 (Radford et al. 2019)."""

from __future__ import annotations

import math

from torch import nn

from seodang.models.decoder import Decoder
from seodang.models.layers import MLP, Attention, PostNormBlock, PreNormBlock


class GPT1(Decoder):
    """Learned positions, norms behind the residual sums, GELU, tied embeddings (sec. 4.1)."""

    def block(self, layer: int) -> PostNormBlock:
        config = self.config
        return PostNormBlock(config, Attention(config, layer, fused=True), MLP(config), nn.LayerNorm)

    def final_norm(self) -> nn.Module:
        return nn.Identity()  # the last block already ends with one


class GPT2(Decoder):
    """GPT-1 with the norms moved before attention and MLP, and one more at the end (sec. 2.3)."""

    def block(self, layer: int) -> PreNormBlock:
        config = self.config
        return PreNormBlock(config, Attention(config, layer, fused=True), MLP(config), nn.LayerNorm)

    def final_norm(self) -> nn.Module:
        return nn.LayerNorm(self.config.d_model, eps=self.config.norm_eps)

    def residual_std(self) -> float:
        """Sec. 2.3: scaled by 1/√N, N the number of residual sums: two in every block."""
        return self.config.init_std / math.sqrt(2 * self.config.n_layers)
