"""What all encoder-decoders share (Vaswani et al. 2017, sec. 3): a source is encoded once, a target decoded from it.

Shapes: B batch, S source tokens, T new target tokens, D model width, K key-value heads, d head width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from seodang.errors import FitError, UsageError
from seodang.models.attention import Mask, attend, attention_mask, cross_mask
from seodang.models.base import UNLIMITED, Model
from seodang.models.cache import KVCache
from seodang.models.config import ModelConfig
from seodang.models.layers import MLP, Attention, Block, Dropout, compute_type


@dataclass(frozen=True)
class Memory:
    """What an encoder has made of its sources, for any number of passes of the decoder."""

    states: Tensor
    """(B, S, D)."""
    mask: Tensor | None = None
    """(B, S), True for real tokens; None: all are."""

    @property
    def batch(self) -> int:
        """Sources."""
        return self.states.shape[0]

    def select(self, rows: Tensor) -> Memory:
        """These sources in this order, any of them several times."""
        fields = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **{name: value.index_select(0, rows) for name, value in fields.items()})


class EncoderDecoder(Model):
    """The interface: `encode` sources, then `forward` over targets with what that gave."""

    kind = "seq2seq"
    classifier = None

    def __init__(self, config: ModelConfig) -> None:
        if config.n_classes:
            raise UsageError(
                f"a class head on a {config.family} model",
                "an encoder-decoder answers with text",
                "fine-tune a decoder or an encoder, or teach it the labels as texts: seodang pretrain --task pairs",
            )
        super().__init__(config)

    def encode(self, ids: Tensor, *, mask: Tensor | None = None, documents: Tensor | None = None) -> Memory:
        """What the sources `ids` (B, S) say. mask (B, S): True for real tokens; documents (B, S): -1 is padding.

        Padding on either side changes nothing. Raises FitError for a source of more than `max_source_tokens`.
        """
        raise NotImplementedError

    @property
    def max_source_tokens(self) -> int:
        """The most tokens of a source. `max_tokens` is that of a target."""
        return self.max_tokens

    def new_cache(self, batch: int, capacity: int, memory: Memory | None = None) -> Any:
        """An empty cache for `batch` targets of up to `capacity` tokens from as many sources, kept in it."""
        raise NotImplementedError

    def fingerprint(self, ids: Tensor) -> Tensor:
        return self.logits(self(ids, memory=self.encode(ids)))  # one text is the source and the target

    @staticmethod
    def source_mask(mask: Tensor | None, documents: Tensor | None) -> Tensor | None:
        """(B, S), True for what attention may see; None when that is everything. A row without a real token is seen
        whole: no softmax is empty."""
        if mask is None and documents is not None:
            mask = documents >= 0
        return None if mask is None else mask | ~mask.any(dim=1, keepdim=True)


class CrossAttention(Attention):
    """Attention of a target's tokens to a source's (sec. 3.2.3): queries from one, keys and values from the other."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__(config, layer, fused=False, causal=False)

    def keys_values(self, states: Tensor) -> Tensor:
        """Keys and values (2, B, K, S, d) of the source's states (B, S, D)."""
        states = states.to(compute_type(states))
        return torch.stack([part(states).unflatten(-1, (-1, self.d_head)).transpose(1, 2) for part in (self.k, self.v)])

    def forward(self, x: Tensor, mask: Mask | None, source: Any = None, cache: Any = None) -> Tensor:
        """x (B, T, D), source: its states (B, S, D), or its keys and values (2, B, K, S, d) → (B, T, D)."""
        keys, values = source if source.dim() == 5 else self.keys_values(source)
        q = self.q(x).unflatten(-1, (-1, self.d_head)).transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        y = attend(q, keys, values, mask, dropout, causal=False, scale=self.scale)
        return self.out(y.transpose(1, 2).flatten(2))


class DecoderBlock(Block):
    """Attention, then attention to the source, then MLP, each with a norm and a residual connection."""

    def __init__(
        self, config: ModelConfig, attention: Attention, cross: CrossAttention, mlp: MLP, norm: type[nn.Module]
    ) -> None:
        super().__init__(config, attention, mlp, norm)
        self.cross = cross
        self.cross_norm = norm(config.d_model, eps=config.norm_eps)


class PreNormDecoderBlock(DecoderBlock):
    """x + f(norm(x))."""

    def forward(
        self, x: Tensor, mask: Mask | None, source: Tensor, source_mask: Mask | None, cache: KVCache | None = None
    ) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), mask, None, cache))
        x = x + self.dropout(self.cross(self.cross_norm(x), source_mask, source))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class PostNormDecoderBlock(DecoderBlock):
    """norm(x + f(x)) (sec. 3.1)."""

    def forward(
        self, x: Tensor, mask: Mask | None, source: Tensor, source_mask: Mask | None, cache: KVCache | None = None
    ) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, mask, None, cache)))
        x = self.cross_norm(x + self.dropout(self.cross(x, source_mask, source)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))


class CrossCache(KVCache):
    """The target's keys and values so far, and the source's in every layer, which never change."""

    def __init__(self, config: ModelConfig, capacity: int, sources: Tensor, mask: Tensor | None) -> None:
        super().__init__(config, sources.shape[2], capacity, sources.dtype, sources.device)
        self.sources, self.mask = sources, mask

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order; of one source's beams, any number."""
        super().select(rows)
        self.sources = self.sources.index_select(2, rows)
        self.mask = None if self.mask is None else self.mask.index_select(0, rows)

    def n_bytes(self) -> int:
        """Size of the buffers and of what is held of the source."""
        return super().n_bytes() + self.sources.numel() * self.sources.element_size()


class Side(nn.Module):
    """The encoder: its blocks, and what its family puts before and behind them."""

    layers: nn.ModuleList
    norm: nn.Module
    positions: nn.Embedding | None


class AttentiveEncoderDecoder(EncoderDecoder):
    """An encoder and a decoder of attention. A family supplies their blocks and what stands around these."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.encoder = Side()
        for side in (self.encoder, self):
            self.furnish(side)
        self.dropout = Dropout(config.embedding_dropout)
        self.encoder.layers = nn.ModuleList(self.encoder_block(layer) for layer in range(config.n_encoder_layers))
        self.layers = nn.ModuleList(self.decoder_block(layer) for layer in range(config.n_layers))
        self.head = self.own_head()

    # -- what a family says ----------------------------------------------------------------------------------------

    def furnish(self, side: Any) -> None:
        """Give the encoder or the decoder (`side`) what is its own beside blocks: positions, norms."""

    def encoder_block(self, layer: int) -> nn.Module:
        """Block number `layer` of the encoder: (x, mask) → x."""
        raise NotImplementedError

    def decoder_block(self, layer: int) -> nn.Module:
        """Block number `layer` of the decoder: (x, mask, source, source mask, cache) → x."""
        raise NotImplementedError

    def before(self, side: Any, ids: Tensor, positions: Tensor) -> Tensor:
        """What the first block of a side reads (B, T, D)."""
        return self.embed(ids)

    def after(self, side: Any, x: Tensor) -> Tensor:
        """What the last block of a side gave, made ready for use."""
        return x

    def seen(self, side: Any, mask: Mask | None, n_new: int, n_all: int) -> Mask | None:
        """The mask of self-attention, to which a family may add its own scores."""
        return mask

    dense_masks = False
    """Masks of self-attention are wanted as one tensor (for `seen`)."""

    # -- the two passes --------------------------------------------------------------------------------------------

    def encode(self, ids: Tensor, *, mask: Tensor | None = None, documents: Tensor | None = None) -> Memory:
        """States (B, S, D) of the sources `ids` (B, S). mask (B, S): True for real tokens; documents: -1 is padding.

        Raises FitError for a source of more than `max_source_tokens`.
        """
        mask, length = self.source_mask(mask, documents), ids.shape[1]
        positions = _count(mask, 0, length, ids.device)
        _check_places(positions, length, self.max_source_tokens, "source")
        x = self.dropout(self.before(self.encoder, ids, positions))
        visible = self._mask(self.encoder, x, length, length, mask)
        for layer in self.encoder.layers:
            x = layer(x, visible) if self.run_block is None else self.run_block(layer, x, visible)
        return Memory(self.after(self.encoder, x), mask)

    def forward(
        self,
        ids: Tensor,
        *,
        memory: Memory | None = None,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: CrossCache | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D) of the targets' tokens `ids` (B, T), which see those before them and the source.

        memory: what `encode` gave; not needed with a cache, which holds what the blocks want of it. positions (B, T):
        places to embed, counted by default from the start or from the cache's length, and with a `mask` from each
        row's first real token. mask (B, cached + T): True for real tokens.
        Raises FitError when a learned position lies beyond the context.
        """
        n_past = cache.length if cache is not None else 0
        n_new, n_all = ids.shape[1], n_past + ids.shape[1]
        if positions is None:
            positions = _count(mask, n_past, n_all, ids.device)
        _check_places(positions, n_all, self.max_tokens, "target")
        x = self.dropout(self.before(self, ids, positions))
        visible = self._mask(self, x, n_new, n_all, mask)
        if cache is not None:
            sources: Any = cache.sources
            n_keys, source_mask = sources.shape[-2], cache.mask
        else:
            assert memory is not None, "a decoder needs a memory or a cache"
            sources = [memory.states] * len(self.layers)
            n_keys, source_mask = memory.states.shape[1], memory.mask
        heard = cross_mask(n_new, n_keys, source_mask, dtype=compute_type(x), device=x.device)
        for layer, source in zip(self.layers, sources, strict=True):
            inputs = (x, visible, source, heard, cache)
            x = layer(*inputs) if self.run_block is None else self.run_block(layer, *inputs)
        return self.after(self, x)

    def _mask(self, side: nn.Module, x: Tensor, n_new: int, n_all: int, mask: Tensor | None) -> Mask | None:
        visible = attention_mask(
            n_new, n_all, None, mask, dtype=compute_type(x), device=x.device, causal=side is self,
            dropout=self.training and self.config.attention_dropout > 0, dense=self.dense_masks,
        )  # fmt: skip
        return self.seen(side, visible, n_new, n_all)

    @torch.no_grad()
    def new_cache(self, batch: int, capacity: int, memory: Memory | None = None) -> CrossCache:
        """An empty cache for `batch` targets of up to `capacity` tokens, with the keys and values of their sources."""
        assert memory is not None and memory.batch == batch, "a cache needs the memory of as many sources"
        blocks = [layer for layer in self.layers if isinstance(layer, DecoderBlock)]
        sources = [block.cross.keys_values(memory.states) for block in blocks]
        return CrossCache(self.config, capacity, torch.stack(sources), memory.mask)

    # -- what a token costs -----------------------------------------------------------------------------------------

    def keys_seen(self, length: int) -> int:
        """Keys that a token of a target of `length` tokens, and one of a source as long, are compared with."""
        return (2 * self.config.n_layers + self.config.n_encoder_layers) * length


def _count(mask: Tensor | None, start: int, end: int, device: torch.device) -> Tensor:
    """Places start … end, with a mask (B, end) counted from each row's first real token: (B, T) or (T,)."""
    if mask is None:
        return torch.arange(start, end, device=device)
    return (mask.long().cumsum(1) - 1).clamp_(min=0)[:, start:]


def _check_places(positions: Tensor, length: int, limit: int, what: str) -> None:
    if limit < UNLIMITED and length > limit and int(positions.max()) >= limit:
        raise FitError(
            f"a {what} of {length} tokens does not fit the model",
            f"it has positions for {limit}",
            "shorten the text, or use a model with a longer context",
        )
