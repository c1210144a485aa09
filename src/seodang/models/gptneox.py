"""GPT-NeoX (Black et al. 2022), Pythia (Biderman et al. 2023) and Polyglot-Ko (Ko et al. 2023)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from seodang.models.attention import Mask
from seodang.models.cache import KVCache
from seodang.models.decoder import Decoder
from seodang.models.layers import MLP, Attention, Block, PreNormBlock, Rotation


class ParallelBlock(Block):
    """x + attention(norm(x)) + mlp(norm'(x)): both read the same x (sec. 2.1.2)."""

    def forward(
        self, x: Tensor, mask: Mask | None, rotation: Rotation | None = None, cache: KVCache | None = None
    ) -> Tensor:
        seen = self.dropout(self.attention(self.attention_norm(x), mask, rotation, cache))
        return x + seen + self.dropout(self.mlp(self.mlp_norm(x)))


class GPTNeoX(Decoder):
    """GPT-3, all dense, with parallel blocks, rotary positions in a part of each head, untied (sec. 2.1)."""

    def block(self, layer: int) -> Block:
        config = self.config
        kind = ParallelBlock if config.parallel_residual else PreNormBlock
        return kind(config, Attention(config, layer, fused=True), MLP(config), nn.LayerNorm)

    def final_norm(self) -> nn.Module:
        return nn.LayerNorm(self.config.d_model, eps=self.config.norm_eps)

    def residual_std(self) -> float:
        """Sec. 2.1.3: 2/(L·√D); what the sizes give all other matrices, √(2/5D), is there too."""
        return 2 / (self.config.n_layers * math.sqrt(self.config.d_model))
