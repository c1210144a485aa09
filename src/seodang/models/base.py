"""What every architecture offers to the trainer, the checkpoints, the objectives and the generation.

Shapes: B batch, T tokens, D model width, E width of the embedding (D unless it is factorised), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seodang.models.cache import Cache, KVCache
from seodang.models.config import ModelConfig

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

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = table(config.vocab_size, config.d_embed or config.d_model)
        self.run_block: Callable[..., Any] | None = None  # set by training/activations.py, to keep less of each

    def own_head(self) -> nn.Linear | None:
        """A new output matrix; None where it is the embedding."""
        width = self.config.d_embed or self.config.d_model
        return None if self.config.tied else nn.Linear(width, self.config.vocab_size, bias=False)

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
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Raw scores (…, V) from hidden states (…, D)."""
        scores = F.linear(self.to_output(hidden), self.output_weight, self.output_bias)
        cap = self.config.logit_softcap
        return scores if cap is None else cap * torch.tanh(scores / cap)

    def fingerprint(self, ids: Tensor) -> Tensor:
        """All that the model says about `ids` (B, T), (B, T, any width): what two copies of it must agree on."""
        return self.logits(self(ids))

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
