"""GPT-3 (Brown et al. 2020, sec. 2.1).

Shapes: B batch, T tokens, D model width.
"""

from __future__ import annotations

from torch import nn

from seodang.models.gpt import GPT2
from seodang.models.layers import MLP, Attention, PreNormBlock


class GPT3(GPT2):
    """GPT-2 with dense and locally banded layers by turns, as in the Sparse Transformer (sec. 2.1).

    The banded ones are the config's `local_layers`; the paper does not print the band, and the published sizes take
    GPT-Neo's 256. q, k and v are apart and without biases, as GPT-Neo publishes them. Of GPT-2's function that loses
    the queries' bias alone: a bias of k adds the same to all scores of a query, which the softmax does not see, and one
    of v, averaged with weights that sum to 1, is a part of the output projection's.
    """

    def block(self, layer: int) -> PreNormBlock:
        config = self.config
        attention = Attention(config, layer, fused=False, bias=False, out_bias=config.attention_bias)
        return PreNormBlock(config, attention, MLP(config), nn.LayerNorm)
