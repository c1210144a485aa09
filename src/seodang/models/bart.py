"""BART (Lewis et al. 2020).

Shapes: B batch, T tokens, D model width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from seodang.models.base import table
from seodang.models.transformer import PostNormEncoderDecoder

OFFSET = 2
"""Rows of the positions' tables before the first place: fairseq kept them for padding."""


class BART(PostNormEncoderDecoder):
    """The original Transformer with GELU and N(0, 0.02) (sec. 2.1), learned positions, and a norm of the embeddings."""

    def furnish(self, side: Any) -> None:
        side.positions = table(self.config.context_length + OFFSET, self.config.d_model)
        side.embedding_norm = nn.LayerNorm(self.config.d_model, eps=self.config.norm_eps)

    def before(self, side: Any, ids: Tensor, positions: Tensor) -> Tensor:
        x: Tensor = side.embedding_norm(self.embed(ids) + side.positions(positions + OFFSET))
        return x
