"""What every architecture offers to the trainer, the checkpoints, the objectives and the generation.

Shapes: B batch, T tokens, D model width, E width of the embedding (D unless it is factorised), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from seodang.errors import UsageError
from seodang.models.cache import Cache, KVCache
from seodang.models.config import ModelConfig
from seodang.models.layers import Dropout
from seodang.models.linear import product

Kind = Literal["causal", "masked", "seq2seq"]
UNLIMITED = 2**31 - 1
"""`max_tokens` of a model whose positions do not end."""


class Model(nn.Module):
    """A network over tokens. `forward` gives hidden states, `logits` turns them into scores over the vocabulary."""

    kind: ClassVar[Kind]
    """causal: predicts the next token; masked: sees both sides; seq2seq: encodes a source and decodes a target."""

    recurrent: ClassVar[bool] = False
    """Whether its memory is a state, which training carries from one window of a text to the next."""

    layers: nn.ModuleList
    head: nn.Linear | None
    """The output matrix where it is not the embedding; made by `own_head`, last, as the papers' codes do."""
    classifier: nn.Linear | None
    """The last matrix of a fine-tuned model's class head; made by `own_classifier`, behind everything else."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = table(config.vocab_size, config.d_embed or config.d_model)
        self.head_dropout = Dropout(config.head_dropout)
        self.run_block: Callable[..., Any] | None = None  # set by training/activations.py, to keep less of each

    def own_head(self) -> nn.Linear | None:
        """A new output matrix; None where it is the embedding."""
        width = self.config.d_embed or self.config.d_model
        absent = self.config.tied or self.config.heads == ()
        return None if absent else nn.Linear(width, self.config.vocab_size, bias=False)

    def own_classifier(self) -> nn.Linear | None:
        """A new Wy (GPT-1, eq. 3), which has no bias; None in a model without classes."""
        config = self.config
        return nn.Linear(config.d_model, config.n_classes, bias=False) if config.n_classes else None

    # -- from hidden states to scores ------------------------------------------------------------------------------

    @property
    def output_weight(self) -> nn.Parameter:
        """The matrix (V, E) that turns states into logits; the embedding itself when they are tied."""
        matrix = self.embed if self.head is None else self.head
        assert isinstance(matrix.weight, nn.Parameter)
        return matrix.weight

    @property
    def output_bias(self) -> nn.Parameter | None:
        """What is added to the logits (V,), in families that have it."""
        return None

    def to_output(self, hidden: Tensor) -> Tensor:
        """What the output matrix multiplies (…, E), from hidden states (…, D)."""
        if not self.predicts_tokens:
            raise UsageError(
                "scores over the vocabulary of a classifier without an output matrix",
                "the program that fine-tuned it kept only the class head",
                "classify with it, or use the model that it was made from",
            )
        return hidden

    @property
    def predicts_tokens(self) -> bool:
        """Whether it has an output matrix: not if another program kept only a fine-tuned decoder's class head."""
        return self.config.tied or self.config.heads != ()

    def logits(self, hidden: Tensor) -> Tensor:
        """Raw scores (…, V) from hidden states (…, D)."""
        scores = product(self.to_output(hidden), self.output_weight, self.output_bias)
        cap = self.config.logit_softcap
        return scores if cap is None else cap * torch.tanh(scores / cap)

    def fingerprint(self, ids: Tensor) -> Tensor:
        """All that the model says about `ids` (B, T), (B, T, any width): what two copies of it must agree on."""
        hidden = self(ids)
        said = [self.logits(hidden) if self.predicts_tokens else hidden]
        return torch.cat([*said, self.class_logits(hidden)] if self.classifier is not None else said, dim=-1)

    # -- from hidden states to classes -----------------------------------------------------------------------------

    def text_vectors(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the class head reads of each text (B, D): h_l^m, the state of its last token (GPT-1, sec. 3.2).

        mask (B, T): True for real tokens, on whichever side the padding is; what stands there is never read.
        """
        return hidden[:, -1] if mask is None else at(hidden, mask.shape[1] - 1 - mask.long().flip(1).argmax(dim=1))

    def class_logits(self, vectors: Tensor) -> Tensor:
        """Scores (…, C) of the classes from `text_vectors` (…, D): h·Wy (GPT-1, eq. 3)."""
        if self.classifier is None:
            raise UsageError(
                "classes of a model without a class head",
                "it has not been fine-tuned for a task",
                "seodang finetune --model … --task … --data …",
            )
        return self.classifier(self.head_dropout(vectors))

    # -- what a token costs -----------------------------------------------------------------------------------------

    def n_matmul_parameters(self) -> int:
        """Parameters that every token is multiplied with: all matrices but the input and position tables."""
        tables = {id(module.weight) for module in self.modules() if isinstance(module, nn.Embedding)}
        matrices = sum(p.numel() for p in self.parameters() if p.dim() >= 2 and id(p) not in tables)
        return matrices + (self.output_weight.numel() if id(self.output_weight) in tables else 0)

    def spared_parameters(self) -> int:
        """How many of those training spares a token on average, as only some tokens are predicted."""
        return 0

    def keys_seen(self, length: int) -> int:
        """Keys that a token of a text of `length` tokens is compared with, added up over the layers."""
        config = self.config
        n_local = len(config.local_layers)
        return (config.n_layers - n_local) * length + n_local * min(length, config.window or length)

    def numbers_kept(self) -> int | None:
        """Numbers that a layer keeps of every token for the backward pass, where it is no Transformer's block."""
        return None

    # -- generation ------------------------------------------------------------------------------------------------

    @property
    def max_tokens(self) -> int:
        """The most tokens of a text."""
        return self.config.context_length

    def new_cache(self, batch: int, capacity: int) -> Cache:
        """An empty cache for `batch` texts of up to `capacity` tokens, in the weights' type and place."""
        weight = self.output_weight
        return KVCache(self.config, batch, capacity, weight.dtype, weight.device)

    # -- fresh weights ---------------------------------------------------------------------------------------------

    def residual_std(self) -> float:
        """Standard deviation of the projections that write into the residual stream."""
        return self.config.init_std

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None, *, zero_residual: bool = False) -> None:
        """Fresh weights as the family's paper says: N(0, init_std), biases 0, gains 1.

        `zero_residual`: the projections that write into the residual stream are 0 instead, so that at first every
        block adds nothing (Zhang et al. 2019, Fixup, sec. 3). The other weights are the same with it as without.
        """
        for name, parameter in self.named_parameters():
            self.init_parameter(name, parameter, generator, zero_residual)

    @torch.no_grad()
    def fresh_weights(
        self, generator: torch.Generator, *, zero_residual: bool = False
    ) -> Iterator[tuple[str, Tensor]]:
        """(name, value) of what `init_weights` would set, one after the other; the model may be on the meta device."""
        for name, parameter in self.named_parameters():
            value = torch.empty(parameter.shape, dtype=parameter.dtype)
            self.init_parameter(name, value, generator, zero_residual)
            yield name, value

    def init_parameter(
        self, name: str, parameter: Tensor, generator: torch.Generator | None, zero_residual: bool
    ) -> None:
        """Set one parameter. A family whose paper says something else overrides this."""
        if parameter.dim() >= 2:
            into_residual = name.endswith(("attention.out.weight", "cross.out.weight", "mlp.down.weight"))
            std = self.config.init_std if not into_residual else 0.0 if zero_residual else self.residual_std()
            nn.init.normal_(parameter, std=std, generator=generator)
        else:
            nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)


def table(rows: int, width: int) -> nn.Embedding:
    """An embedding with unset weights."""
    # nn.Embedding(rows, width) draws normal numbers, which on the meta device first imports torch.compile: a second
    return nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)


def at(hidden: Tensor, places: Tensor) -> Tensor:
    """The state of each row at its place: (B, T, D), (B,) → (B, D)."""
    return hidden[torch.arange(len(hidden), device=hidden.device), places]
