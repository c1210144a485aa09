"""ALBERT (Lan et al. 2020)."""

from __future__ import annotations

from torch import nn

from seodang.models.encoder import Encoder


class Albert(Encoder):
    """BERT with one block that is applied n_layers times, an embedding of fewer numbers than the model is wide, and
    the order of two sentences in place of the next one (sec. 3.1)."""

    def projection(self, width: int) -> nn.Linear:
        return nn.Linear(width, self.config.d_model)  # the released code has it where the widths are one as well

    def blocks(self) -> nn.ModuleList:
        return nn.ModuleList([self.block(0)])

    def sequence(self) -> list[nn.Module]:
        return list(self.layers) * self.config.n_layers
