"""What all decoders share: h0 = U·We (+ Wp); h_l = block(h_{l-1}); P(u) = softmax(h_n·Weᵀ) (GPT-1, eq. 2).

Shapes: B batch, T new tokens, S all tokens (cached ones too), D model width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seodang.errors import FitError
from seodang.models.attention import attention_mask, tree_mask
from seodang.models.base import Model, table
from seodang.models.cache import KVCache
from seodang.models.config import ModelConfig
from seodang.models.layers import Dropout, compute_type
from seodang.models.positions import rotation


class Decoder(Model):
    """A causal Transformer. A family supplies its blocks, its final norm and its initialisation."""

    kind = "causal"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.positions = None if config.rope else table(config.context_length, config.d_model)
        self.dropout = Dropout(config.embedding_dropout)
        self.layers = nn.ModuleList(self.block(layer) for layer in range(config.n_layers))
        self.norm = self.final_norm()
        self.head = self.own_head()
        self.classifier = self.own_classifier()
        self.is_local = [layer in config.local_layers for layer in range(config.n_layers)]

    def block(self, layer: int) -> nn.Module:
        """The family's block number `layer`: (x, mask, rotation, cache) → x."""
        raise NotImplementedError

    def final_norm(self) -> nn.Module:
        """The norm behind the last block."""
        raise NotImplementedError

    def embedded(self, ids: Tensor) -> Tensor:
        """Token vectors (B, T, D), to which learned positions are added."""
        return self.embed(ids)

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        mask: Tensor | None = None,
        visible: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D) behind the final norm of the tokens `ids` (B, T).

        positions (B, T): places to embed, counted by default from the start or from the cache's length, and
        with a `mask` from each row's first real token. documents (B, T): attention stays within a document.
        mask (B, S): True for real tokens; S counts the cached tokens too. visible (B, T, S): what each token may see,
        when a row holds texts that share a beginning; the positions are needed then.
        Raises FitError when a learned position lies beyond the context.
        """
        config = self.config
        n_past = cache.length if cache is not None else 0
        n_new, n_all = ids.shape[1], n_past + ids.shape[1]
        if positions is None:
            if mask is not None:
                positions = (mask.long().cumsum(1) - 1).clamp_(min=0)[:, n_past:]
            else:
                positions = torch.arange(n_past, n_all, device=ids.device)
        x = self.embedded(ids)
        if self.positions is not None:
            if n_all > config.context_length and int(positions.max()) >= config.context_length:
                raise FitError(
                    f"{n_all} tokens do not fit the model",
                    f"it has learned positions for {config.context_length}",
                    "shorten the text, or use a model with a longer context",
                )
            x = x + self.positions(positions)
        x = self.dropout(x)
        drops = self.training and config.attention_dropout > 0
        masks, turns = {}, {}
        for local in set(self.is_local):
            window, rope = (config.window, config.rope_local or config.rope) if local else (None, config.rope)
            kind, dense = compute_type(x), config.attention_softcap is not None
            if visible is not None:
                masks[local] = tree_mask(visible, positions, window, dtype=kind, dense=dense)
            else:
                masks[local] = attention_mask(
                    n_new, n_all, documents, mask,
                    dtype=kind, device=x.device, dropout=drops, window=window, dense=dense,
                )  # fmt: skip
            turns[local] = None if rope is None else rotation(rope, config.d_head, config.context_length, positions)
        for layer, local in zip(self.layers, self.is_local, strict=True):
            inputs = (x, masks[local], turns[local], cache)
            x = layer(*inputs) if self.run_block is None else self.run_block(layer, *inputs)
        return self.norm(x)
