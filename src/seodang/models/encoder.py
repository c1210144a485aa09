"""What all encoders share: embeddings, blocks that see both sides, and the heads of pre-training (BERT, sec. 3).

Shapes: B batch, T tokens, D model width, E width of the embedding (D unless it is factorised), V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seodang.errors import FitError, UsageError
from seodang.models.attention import attention_mask
from seodang.models.base import Model, at, table
from seodang.models.cache import Cache
from seodang.models.config import Activation, ModelConfig
from seodang.models.layers import ACTIVATIONS, MLP, Attention, Dropout, PostNormBlock, compute_type

PREDICTED = 0.15
"""Share of the tokens that are masked and predicted (BERT, sec. 3.1); the scores of no other are computed."""


class Encoder(Model):
    """A Transformer that sees both sides: BERT's parts, of which a family names what differs.

    Heads are what `config.heads` lists: "pooler" (tanh of a matrix on [CLS]), "masked" (the token that was masked),
    "sentence" (two classes of a pair, from the pooler). Asking for one that the model lacks is a UsageError.
    """

    kind = "masked"
    HEADS: ClassVar[tuple[str, ...]] = ("pooler", "masked", "sentence")
    """The heads of the family's pre-training, which a config that names none has."""
    OTHER_HEADS: ClassVar[tuple[str, ...]] = ()
    """Heads that a folder of the family may have besides."""
    TRANSFORM: ClassVar[Activation | None] = None
    """The transform's activation, where it is not that of the blocks."""
    CLASS_LAYER: ClassVar[Literal["tanh", "gelu"] | None] = None
    """The activation of a layer that the class head has of its own, where it does not read the pooler."""

    def __init__(self, config: ModelConfig) -> None:
        config = replace(config, heads=self.chosen_heads(config))
        super().__init__(config)
        width = config.d_embed or config.d_model
        self.positions = table(config.context_length + self.first_position, width)
        self.segments = table(config.n_segments, width) if config.n_segments else None
        self.embed_norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.dropout = Dropout(config.embedding_dropout)
        self.project = self.projection(width)
        self.layers = self.blocks()
        self.pooler = nn.Linear(config.d_model, config.d_model) if self.has("pooler") else None
        self.sentence = nn.Linear(config.d_model, 2) if self.has("sentence") else None
        self.transform = nn.Linear(config.d_model, width) if self.has("masked") else None
        self.transform_norm = nn.LayerNorm(width, eps=config.norm_eps) if self.has("masked") else None
        self.activation = ACTIVATIONS[self.TRANSFORM or config.activation]
        self.token_bias = nn.Parameter(torch.empty(config.vocab_size)) if self.has("masked") else None
        self.head = self.own_head() if self.has("masked") else None
        own_layer = config.n_classes and self.CLASS_LAYER is not None
        self.class_layer = nn.Linear(config.d_model, config.d_model) if own_layer else None
        self.classifier = self.own_classifier()

    def chosen_heads(self, config: ModelConfig) -> tuple[str, ...]:
        """The heads of `config`, always in one order. Raises UsageError for one that the family does not have."""
        known = self.OTHER_HEADS + self.HEADS
        for head in config.heads or ():
            if head not in known:
                raise UsageError(
                    f"a model of the family {config.family!r} with the head {head!r}",
                    "its pre-training has no such head",
                    "choose from " + ", ".join(known),
                )
        heads = self.HEADS if config.heads is None else tuple(head for head in known if head in config.heads)
        if "sentence" in heads and "pooler" not in heads:
            raise UsageError("a sentence head without a pooler", "it reads what the pooler gives", "add the pooler")
        if config.n_classes and self.CLASS_LAYER is None and "pooler" not in heads:
            raise UsageError("a class head without a pooler", "it reads what the pooler gives", "add the pooler")
        return heads

    def own_classifier(self) -> nn.Linear | None:
        config = self.config
        return nn.Linear(config.d_model, config.n_classes) if config.n_classes else None

    @property
    def first_position(self) -> int:
        """The row of the position table that a text's first token gets."""
        return 0

    @property
    def predictor(self) -> Encoder:
        """The encoder that predicts masked tokens: itself, or ELECTRA's generator."""
        return self

    def has(self, head: str) -> bool:
        """Whether the model has this head."""
        return head in (self.config.heads or ())

    def projection(self, width: int) -> nn.Linear | None:
        """From the embedding's width to the model's; None where they are one."""
        return None if width == self.config.d_model else nn.Linear(width, self.config.d_model)

    def blocks(self) -> nn.ModuleList:
        """The layers, each with weights of its own."""
        return nn.ModuleList(self.block(layer) for layer in range(self.config.n_layers))

    def block(self, layer: int) -> PostNormBlock:
        """The original Transformer's block (Vaswani et al. 2017, sec. 3.1), which sees both sides."""
        config = self.config
        return PostNormBlock(config, Attention(config, layer, fused=False, causal=False), MLP(config), nn.LayerNorm)

    # -- hidden states ---------------------------------------------------------------------------------------------

    def forward(
        self,
        ids: Tensor,
        *,
        segments: Tensor | None = None,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D) of the tokens `ids` (B, T).

        segments (B, T): token types, all 0 by default. positions (B, T): places in the text, counted by default from
        the start, and with a `mask` from each row's first real token. documents (B, T): attention stays within a
        document. mask (B, T): True for real tokens. Raises FitError when a position lies beyond the context.
        """
        config, n = self.config, ids.shape[1]
        if positions is None:
            positions = torch.arange(n, device=ids.device) if mask is None else self.places(mask)
        if n > config.context_length and int(positions.max()) >= config.context_length:
            raise FitError(
                f"{n} tokens do not fit the model",
                f"it has learned positions for {config.context_length}",
                "shorten the text, or use a model with a longer context",
            )
        x = self.embedded(ids, segments, positions)
        drops = self.training and config.attention_dropout > 0
        kind, place = compute_type(x), x.device
        seen = attention_mask(n, n, documents, mask, dtype=kind, device=place, dropout=drops, causal=False)
        for layer in self.sequence():
            x = layer(x, seen) if self.run_block is None else self.run_block(layer, x, seen)
        return x

    def places(self, mask: Tensor) -> Tensor:
        """0, 1, 2 … from each row's first real token on (B, T)."""
        return (mask.long().cumsum(1) - 1).clamp_(min=0)

    def embedded(self, ids: Tensor, segments: Tensor | None, positions: Tensor) -> Tensor:
        """dropout(norm(token + position + segment)), brought to the width of the blocks: (B, T, D)."""
        x = self.embed(ids) + self.positions(positions + self.first_position)
        if self.segments is not None:
            x = x + (self.segments.weight[0] if segments is None else self.segments(segments))
        x = self.dropout(self.embed_norm(x))
        return x if self.project is None else self.project(x)

    def sequence(self) -> list[nn.Module]:
        """The blocks in the order in which they are applied."""
        return list(self.layers)

    # -- what the heads say ----------------------------------------------------------------------------------------

    @property
    def output_bias(self) -> nn.Parameter | None:
        return self.token_bias

    def to_output(self, hidden: Tensor) -> Tensor:
        """norm(activation(hidden · W)) (…, E): what BERT's code calls the transform."""
        if self.transform is None or self.transform_norm is None:
            raise self.lacks("masked", "it gives no scores over the vocabulary")
        return self.transform_norm(self.activation(self.transform(hidden)))

    def pooled(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """tanh(W · h + b) of each row's first token, its first real one where a `mask` (B, T) is given: (B, D)."""
        if self.pooler is None:
            raise self.lacks("pooler", "it has no vector of a whole text")
        return torch.tanh(self.pooler(first_token(hidden, mask)))

    def sentence_logits(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scores (B, 2) of the classes of a pair: next sentence (BERT, sec. 3.1), sentence order (ALBERT, sec. 3.1)."""
        if self.sentence is None:
            raise self.lacks("sentence", "it does not tell how two sentences belong together")
        return self.sentence(self.pooled(hidden, mask))

    def text_vectors(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the class head reads (B, D): what the pooler gives (BERT, sec. 4.1), or the first token's state."""
        return self.pooled(hidden, mask) if self.CLASS_LAYER is None else first_token(hidden, mask)

    def class_logits(self, vectors: Tensor) -> Tensor:
        if self.class_layer is not None:
            inner = self.class_layer(self.head_dropout(vectors))
            vectors = torch.tanh(inner) if self.CLASS_LAYER == "tanh" else F.gelu(inner)
        return super().class_logits(vectors)

    def lacks(self, head: str, means: str) -> UsageError:
        """The error for a head that the model does not have."""
        has = ", ".join(self.config.heads or ()) or "none"
        return UsageError(
            f"this model has no {head!r} head",
            f"{means}; its heads: {has}",
            "use a folder that was published with it, or pre-train the model with fresh heads",
        )

    def fingerprint(self, ids: Tensor) -> Tensor:
        hidden = self(ids)
        seen = [self.logits(hidden) if self.has("masked") else hidden]
        if self.has("pooler"):
            whole = self.sentence_logits(hidden) if self.has("sentence") else self.pooled(hidden)
            seen.insert(0, whole[:, None].expand(-1, ids.shape[1], -1))
        if self.classifier is not None:
            seen.append(self.class_logits(self.text_vectors(hidden))[:, None].expand(-1, ids.shape[1], -1))
        return torch.cat(seen, dim=-1)

    # -- what a token costs, generation, fresh weights -------------------------------------------------------------

    def n_matmul_parameters(self) -> int:
        """All matrices that each token is multiplied with; the pooler and what reads it see one token of a text."""
        matrices = sum(p.numel() for layer in self.sequence() for p in layer.parameters() if p.dim() >= 2)
        matrices += 0 if self.project is None else self.project.weight.numel()
        return matrices + (0 if self.transform is None else self.transform.weight.numel() + self.output_weight.numel())

    def spared_parameters(self) -> int:
        if self.transform is None:
            return 0
        return round((1 - PREDICTED) * (self.transform.weight.numel() + self.output_weight.numel()))

    def new_cache(self, batch: int, capacity: int) -> Cache:
        raise UsageError(
            "a masked model does not generate",
            "each of its states looks at the tokens behind it as well, so none can be kept when one is added",
            "fill in masked tokens with `fill`, or use a decoder",
        )

    def init_parameter(
        self, name: str, parameter: Tensor, generator: torch.Generator | None, zero_residual: bool
    ) -> None:
        """Matrices and tables from N(0, init_std) cut off at two standard deviations, as the released BERT code
        draws them; biases 0, gains 1."""
        into_residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
        if parameter.dim() < 2:
            super().init_parameter(name, parameter, generator, zero_residual)
            return
        std = self.config.init_std
        nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std, generator=generator)
        if zero_residual and into_residual:  # drawn all the same, as the other weights do not depend on it
            nn.init.zeros_(parameter)


def first_token(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """The state of each row's first token, its first real one where a `mask` (B, T) is given: (B, D)."""
    return hidden[:, 0] if mask is None else at(hidden, mask.long().argmax(dim=1))
