"""ELECTRA (Clark et al. 2020): a small generator fills in masked tokens, a discriminator says which were replaced.

Shapes: B batch, T tokens, D width of the discriminator, E width of the embedding, G width of the generator.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from seodang.errors import UsageError
from seodang.models.config import ModelConfig
from seodang.models.encoder import Encoder
from seodang.models.layers import ACTIVATIONS

SHARED = ("embed", "positions", "segments", "embed_norm")
"""What generator and discriminator have together (sec. 3.2): the tables, and the norm behind them as in the released
code."""


class Electra(Encoder):
    """The discriminator: hidden states and `replaced_logits` are its own. With `config.generator_share` it has a
    `generator`, an encoder whose hidden states and `logits` over the vocabulary are of another width.

    A generator that was published alone is an Electra with the head "masked".
    """

    HEADS, OTHER_HEADS = ("replaced",), ("masked",)
    TRANSFORM = "gelu"
    CLASS_LAYER = "gelu"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        width, finds = config.d_model, self.has("replaced")
        self.replaced_transform = nn.Linear(width, width) if finds else None
        self.replaced = nn.Linear(width, 1) if finds else None
        self.generator = self.own_generator() if config.generator_share else None

    def own_generator(self) -> Electra:
        """An encoder of G = share · D that reads the discriminator's embeddings."""
        if self.has("masked"):
            raise UsageError(
                "an ELECTRA discriminator with a masked head and a generator",
                "its generator predicts the masked tokens",
                'leave "masked" out of its heads',
            )
        generator = Electra(generator_config(self.config))
        for name in SHARED:
            delattr(generator, name)
            generator.__dict__[name] = getattr(self, name)  # seen by its code, not among its own parameters
        return generator

    @property
    def predictor(self) -> Encoder:
        return self if self.generator is None else self.generator

    def generator_states(self, ids: Tensor, **context: Tensor | None) -> Tensor:
        """The generator's hidden states (B, T, G), where `forward` gives the discriminator's. The weights of a model
        that is shared out over processes are gathered for calls of the whole model only, such as this one."""
        return self.predictor(ids, **context)

    def to_output(self, hidden: Tensor) -> Tensor:
        if self.generator is not None:
            raise UsageError(
                "scores over the vocabulary from an ELECTRA discriminator",
                "its generator predicts tokens, from hidden states of its own",
                "use model.generator, or model.replaced_logits",
            )
        return super().to_output(hidden)

    def replaced_logits(self, hidden: Tensor) -> Tensor:
        """Scores (B, T) that a token is not the original: D(x, t) before the sigmoid (sec. 2)."""
        if self.replaced is None or self.replaced_transform is None:
            raise self.lacks("replaced", "it does not tell replaced tokens from original ones")
        inner = ACTIVATIONS[self.config.activation](self.replaced_transform(hidden))
        return self.replaced(inner).squeeze(-1)

    def fingerprint(self, ids: Tensor) -> Tensor:
        said = [super().fingerprint(ids)]
        if self.generator is not None:
            said.insert(0, self.generator.fingerprint(ids))
        if self.replaced is not None:
            said.append(self.replaced_logits(self(ids))[..., None])
        return torch.cat(said, dim=-1)

    def n_matmul_parameters(self) -> int:
        heads = [head for head in (self.replaced_transform, self.replaced) if head is not None]
        generator = 0 if self.generator is None else self.generator.n_matmul_parameters()
        return super().n_matmul_parameters() + sum(head.weight.numel() for head in heads) + generator

    def spared_parameters(self) -> int:
        return super().spared_parameters() + (0 if self.generator is None else self.generator.spared_parameters())

    def keys_seen(self, length: int) -> int:
        """Of both; a key of the generator counts as the share that it is of one of the discriminator."""
        mine = super().keys_seen(length)
        return mine if self.generator is None else mine + mine * self.generator.config.d_model // self.config.d_model


def generator_config(config: ModelConfig) -> ModelConfig:
    """The generator's sizes, from the discriminator's (sec. 3.2; the released code): as many layers, a share of the
    width, heads of 64, an inner width of 4 · G, tied to the embedding."""
    width = max(1, round(config.generator_share * config.d_model))
    heads = max(n for n in range(1, max(1, width // 64) + 1) if width % n == 0)
    return replace(
        config,
        d_model=width,
        n_heads=heads,
        n_kv_heads=heads,
        d_head=width // heads,
        d_ff=4 * width,
        d_embed=config.d_embed or config.d_model,
        heads=("masked",),
        tied=True,
        n_classes=0,
        head_dropout=0.0,
        generator_share=0.0,
    )
