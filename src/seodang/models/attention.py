"""Which keys a query may see, and softmax(q·kᵀ/√d)·v over them, in the form that each device computes fastest.

Shapes: B batch, T new tokens, S all tokens (cached ones too), H query heads, K key-value heads, G = H/K, d head width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

QUERIES = 128
"""Queries of a block: the products are large enough for a processor's peak, the scores small enough for its cache."""
_TREE_QUERIES = 32
"""The same where short texts stand side by side: each sees little more than itself."""

KERNELS = (
    "scaled_dot_product", *(f"{kind}_attention" for kind in ("blockwise", "flash", "flex", "efficient", "cudnn"))
)  # fmt: skip
"""What the names of attention's operators contain, ours and torch's."""


@dataclass(frozen=True)
class QueryBlocks:
    """Attention in blocks of queries, each with the stretch of keys that any of them may see.

    Nothing is computed for a key outside it: behind a causal block, before its documents or its window.
    """

    spans: tuple[tuple[int, int, int, int], ...]
    """Of each block: its first query and their end, its first key and their end."""
    biases: tuple[Tensor, ...]
    """Of each block: 0 or -inf, (B or 1, 1, queries or 1, keys), to add to the scores of its last keys."""

    def whole(self, n_keys: int) -> Tensor:
        """The same as one tensor to add to all scores, (B or 1, 1, queries, keys)."""
        rows = []
        for (start, end, first, last), bias in zip(self.spans, self.biases, strict=True):
            inside = F.pad(bias.expand(-1, -1, end - start, -1), (last - first - bias.shape[-1], 0))
            rows.append(F.pad(inside, (first, n_keys - last), value=-math.inf))
        return torch.cat(rows, dim=2)


Mask = Tensor | QueryBlocks | Any
"""Scores to add (B or 1, 1, T, S), query blocks (on a CPU), or FlexAttention's block mask (on CUDA)."""


def attention_mask(
    n_new: int,
    n_all: int,
    documents: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    dtype: torch.dtype,
    device: torch.device,
    dropout: bool = False,
    causal: bool = True,
    window: int | None = None,
    dense: bool = False,
) -> Mask | None:
    """What each query may see of its own text, aligned lower-right: the last query is the last key.

    causal: nothing behind itself. window: only the last so many tokens, itself included; the keys are then those that
    `KVCache.update` returns. documents (B, T): only the same document. mask (B, S): only real tokens. None stands for
    no restriction but the causal one. `dropout` says that it will follow, which FlexAttention does not have. dense: one
    tensor, to which scores are to be added, or None for no restriction at all.
    """
    n_keys = n_all if window is None else min(n_all - n_new, window - 1) + n_new
    window = None if window is None or window >= n_keys else window
    plain = documents is None and mask is None and window is None
    if plain and (n_new == 1 or (dense and not causal)):
        return None
    if plain and n_new == n_keys and not dense:
        if device.type != "cpu":
            return None
        return _causal_blocks(n_keys, dtype) if causal else _full_blocks(n_keys, n_keys)
    flex = device.type == "cuda" and causal and not dropout and window is None and mask is None and not dense
    if flex and documents is not None and n_new == n_keys:
        return _flex_mask(documents)
    query = torch.arange(n_all - n_new, n_all, device=device)[:, None]
    key = torch.arange(n_all - n_keys, n_all, device=device)[None, :]
    allowed = (key <= query)[None] if causal else query.new_ones(1, n_new, n_keys, dtype=torch.bool)
    if window is not None:
        allowed = allowed & (key > query - window) & (key < query + window)
    if documents is not None:
        allowed = allowed & (documents[:, :, None] == documents[:, None, :])
    if mask is not None:
        allowed = allowed & mask[:, None, -n_keys:]
    allowed = allowed | (key == query)[None]  # a padding position sees itself: no row of the softmax is empty
    if device.type == "cpu" and n_new == n_keys and not dense:
        return _blocks(allowed, dtype, causal)
    return _bias(allowed, dtype)


def tree_mask(
    visible: Tensor, positions: Tensor, window: int | None = None, *, dtype: torch.dtype, dense: bool = False
) -> Mask:
    """The mask of several texts that share their beginnings in one row: `visible` (B, T, S) says which of the S keys
    each query may see, itself among them. window: of these only the ones fewer than so many places (`positions`,
    (B, T)) before it; there are no cached keys then. dense: as for `attention_mask`.
    """
    if window is not None:
        visible = visible & (positions[:, :, None] - positions[:, None, :] < window)
    cpu = visible.device.type == "cpu" and not dense
    return _blocks(visible, dtype, causal=False, queries=_TREE_QUERIES) if cpu else _bias(visible, dtype)


def cross_mask(
    n_queries: int, n_keys: int, mask: Tensor | None = None, *, dtype: torch.dtype, device: torch.device
) -> Mask | None:
    """What the queries of a target see of a source: its real tokens, `mask` (B, S). None: all of it."""
    if device.type != "cpu" or n_queries == 1:
        return None if mask is None else _bias(mask[:, None, :], dtype)
    blocks = _full_blocks(n_queries, n_keys)
    return blocks if mask is None else QueryBlocks(blocks.spans, (_bias(mask[:, None, :], dtype),) * len(blocks.spans))


def _bias(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where `allowed` (B, T, S), -inf elsewhere: (B, 1, T, S)."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, -math.inf)[:, None]


def _causal_blocks(length: int, dtype: torch.dtype) -> QueryBlocks:
    ends = [(start, min(start + QUERIES, length)) for start in range(0, length, QUERIES)]
    triangle = _bias(torch.ones(1, QUERIES, QUERIES, dtype=torch.bool).tril_(), dtype)
    # only the last keys of a block lie behind some of its queries: the triangle is all there is to add
    biases = tuple(triangle[..., : end - start, : end - start] for start, end in ends)
    return QueryBlocks(tuple((start, end, 0, end) for start, end in ends), biases)


def _full_blocks(n_queries: int, n_keys: int) -> QueryBlocks:
    """Every query sees every key."""
    starts = range(0, n_queries, QUERIES)
    spans = tuple((start, min(start + QUERIES, n_queries), 0, n_keys) for start in starts)
    return QueryBlocks(spans, (torch.empty(1, 1, 1, 0),) * len(spans))


def _blocks(allowed: Tensor, dtype: torch.dtype, causal: bool, queries: int = QUERIES) -> QueryBlocks:
    """The blocks of a mask `allowed` (B, T, S)."""
    spans, biases = [], []
    length, n_keys = allowed.shape[1:]
    for start in range(0, length, queries):
        end = min(start + queries, length)
        first, last = 0, end if causal else n_keys
        # a compiled model would be compiled anew for every batch's stretches
        if not torch.compiler.is_compiling():
            seen = allowed[:, start:end].any(dim=1).any(dim=0).nonzero()
            first, last = int(seen[0]) // 16 * 16, int(seen[-1]) + 1  # whole cache lines
        spans.append((start, end, first, last))
        biases.append(_bias(allowed[:, start:end, first:last], dtype))
    return QueryBlocks(tuple(spans), tuple(biases))


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask | None,
    dropout: float = 0.0,
    *,
    causal: bool = True,
    scale: float | None = None,
    softcap: float | None = None,
) -> Tensor:
    """softmax(scale · q·kᵀ + mask)·v (Vaswani et al. 2017, eq. 1). q (B, H, T, d), k and v (B, K, S, d) → (B, H, T, d).

    Without a mask several queries see what lies not behind them, or, not `causal`, everything; a single one sees every
    key. scale is 1/√d when not given. softcap: scores z become cap·tanh(z/cap) before the mask (Gemma 2, sec. 2).
    """
    if softcap is not None:
        return _capped_attention(q, k, v, mask, dropout, causal, scale, softcap)
    if scale is not None and scale != (usual := 1 / math.sqrt(q.shape[-1])):
        q = q * (scale / usual)
    if isinstance(mask, QueryBlocks):
        return _blockwise_attention(q, k, v, mask, dropout)
    grouped = q.shape[1] != k.shape[1]
    if mask is not None and not isinstance(mask, Tensor):
        return _flex_attention()(q, k, v, block_mask=mask, enable_gqa=grouped)
    causal = causal and mask is None and q.shape[2] > 1
    return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal, enable_gqa=grouped)


def _capped_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask | None,
    dropout: float,
    causal: bool,
    scale: float | None,
    softcap: float,
) -> Tensor:
    """Attention with soft-capped scores, which no fused kernel has: all scores are held at once."""
    groups = q.shape[1] // k.shape[1]
    k, v = (part.repeat_interleave(groups, dim=1) for part in (k, v))
    scores = (q * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)) @ k.transpose(-1, -2)
    scores = softcap * torch.tanh(scores.float() / softcap)
    if isinstance(mask, QueryBlocks):
        mask = mask.whole(k.shape[2])
    elif mask is None and causal and q.shape[2] > 1:
        n_new, n_all = scores.shape[-2:]
        mask = _bias(torch.ones(1, n_new, n_all, dtype=torch.bool, device=q.device).tril_(n_all - n_new), scores.dtype)
    if mask is not None:
        scores = scores + mask
    return F.dropout(scores.softmax(dim=-1).to(v.dtype), dropout) @ v


def _blockwise_attention(q: Tensor, k: Tensor, v: Tensor, blocks: QueryBlocks, dropout: float) -> Tensor:
    """Attention on a CPU out of plain matrix products over contiguous operands, which reach the processor's peak.

    The fused kernel of torch 2.13 reaches a tenth of it on Zen 4 (docs/performance.md). Memory is that of one block's
    scores: the backward pass computes them again (Dao et al. 2022, sec. 3.1), by the same operations and so to the
    same bits. Scores are rounded to the compute type; the softmax is computed in float32.

    It is one operator of torch's, so that activation checkpointing and compilers take it for one.
    """
    per_row = sum((end - start) * (last - first) for start, end, first, last in blocks.spans)
    keep = random_keep(torch.Size([q.shape[0] * q.shape[1] * per_row]), dropout) if dropout > 0 else None
    spans = [number for span in blocks.spans for number in span]
    if not torch.is_grad_enabled() and not torch.compiler.is_compiling():
        # an operator's first call imports torch's compiler, for a second or two
        with torch.autocast(q.device.type, enabled=False):
            return _blocks_forward(q, k, v, spans, list(blocks.biases), keep, dropout)
    return _forward(q, k, v, spans, list(blocks.biases), keep, dropout)


def _blocks_forward(
    q: Tensor, k: Tensor, v: Tensor, spans: list[int], biases: list[Tensor], keep: Tensor | None, dropout: float
) -> Tensor:
    batch, n_heads, n_new, d_head = q.shape
    groups = (k.shape[1], n_heads // k.shape[1])
    q, k, v = _laid_out(q, k, v)
    out = q.new_empty(batch, n_new, *groups, d_head)
    for start, end, keys, bias, kept in _walk(spans, biases, keep, batch * n_heads):
        p = _probabilities(_rows(q, start, end), k[:, keys], bias, batch)
        if kept is not None:
            p *= kept.view(p.shape).to(p.dtype)
        o = torch.bmm(p, v[:, keys]).view(batch, *groups, end - start, d_head)
        out[:, start:end] = o.permute(0, 3, 1, 2, 4)
    if keep is not None:
        out /= 1 - dropout
    return out.flatten(2, 3).transpose(1, 2)


_forward = torch.library.custom_op("seodang::blockwise_attention", _blocks_forward, mutates_args=())


@torch.library.custom_op("seodang::blockwise_attention_backward", mutates_args=())
def _backward(
    d_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    spans: list[int],
    biases: list[Tensor],
    keep: Tensor | None,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, n_heads, n_new, d_head = q.shape
    groups = (k.shape[1], n_heads // k.shape[1])
    q, k, v = _laid_out(q, k, v)
    d_out = d_out.unflatten(1, groups)
    if keep is not None:
        d_out = d_out / (1 - dropout)
    d_q = q.new_empty(batch, n_new, *groups, d_head)
    # several blocks add to a key: no coarser than float32, as one product over all queries would
    exact = torch.promote_types(q.dtype, torch.float32)
    d_k, d_v = (torch.zeros(x.shape, dtype=exact) for x in (k, v))
    for start, end, keys, bias, kept in _walk(spans, biases, keep, batch * n_heads):
        queries, d_o = _rows(q, start, end), _rows(d_out, start, end)
        p = _probabilities(queries, k[:, keys], bias, batch)
        d_p = torch.bmm(d_o, v[:, keys].transpose(1, 2))
        used = p
        if kept is not None:
            kept = kept.view(p.shape).to(p.dtype)
            used = p * kept
            d_p *= kept
        d_v[:, keys] += torch.bmm(used.transpose(1, 2), d_o).to(exact)
        d_s = torch._softmax_backward_data(d_p, p, -1, p.dtype)
        d_rows = torch.bmm(d_s, k[:, keys]).view(batch, *groups, end - start, d_head)
        d_q[:, start:end] = d_rows.permute(0, 3, 1, 2, 4)
        d_k[:, keys] += torch.bmm(d_s.transpose(1, 2), queries).to(exact)
    d_q *= 1 / math.sqrt(d_head)
    d_k, d_v = (x.to(q.dtype).unflatten(0, (batch, groups[0])) for x in (d_k, d_v))
    return d_q.flatten(2, 3).transpose(1, 2), d_k, d_v


@_forward.register_fake
def _(q: Tensor, k: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(q.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)


@_backward.register_fake
def _(d_out: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    d_q = torch.empty_like(q.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
    d_k, d_v = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (k, v))
    return d_q, d_k, d_v


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    q, k, v, ctx.spans, biases, keep, ctx.dropout = inputs
    ctx.save_for_backward(q, k, v, keep, *biases)


def _gradients(ctx: Any, d_out: Tensor) -> tuple[Any, ...]:
    q, k, v, keep, *biases = ctx.saved_tensors
    d_q, d_k, d_v = _backward(d_out, q, k, v, ctx.spans, biases, keep, ctx.dropout)
    return d_q, d_k, d_v, None, [None] * len(biases), None, None


_forward.register_autograd(_gradients, setup_context=_remember)


def _laid_out(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q/√d as (B, K, G, T, d); k and v as (B·K, T, d), contiguous."""
    q = (q * (1 / math.sqrt(q.shape[-1]))).unflatten(1, (k.shape[1], q.shape[1] // k.shape[1]))
    return q, k.contiguous().flatten(0, 1), v.contiguous().flatten(0, 1)


def _walk(
    spans: list[int], biases: list[Tensor], keep: Tensor | None, n_heads: int
) -> Iterator[tuple[int, int, slice, Tensor, Tensor | None]]:
    """Of each block: its first query, the end of its queries, its keys, its bias and its part of `keep`."""
    at = 0
    for start, end, first, last, bias in zip(*(spans[i::4] for i in range(4)), biases, strict=True):
        n = n_heads * (end - start) * (last - first)
        yield start, end, slice(first, last), bias, None if keep is None else keep[at : at + n]
        at += n


def _rows(x: Tensor, start: int, end: int) -> Tensor:
    """Queries start … end of x (B, K, G, T, d), all that share a key-value head together: (B·K, G·queries, d)."""
    return x[:, :, :, start:end].reshape(x.shape[0] * x.shape[1], -1, x.shape[-1])


def _probabilities(q: Tensor, k: Tensor, bias: Tensor, batch: int) -> Tensor:
    """softmax(q·kᵀ + bias) over the keys. q (B·K, G·queries, d), k (B·K, keys, d) → (B·K, G·queries, keys)."""
    scores = torch.bmm(q, k.transpose(1, 2))
    if bias.shape[-1]:
        by_query = scores.view(batch, -1, bias.shape[-2], scores.shape[-1])  # (B, K·G, queries, keys)
        by_query[..., scores.shape[-1] - bias.shape[-1] :] += bias
    return scores.softmax(dim=-1)


def random_keep(shape: torch.Size, dropout: float) -> Tensor:
    """True with probability 1 - dropout, to the nearest 65,536th, on the CPU.

    Sixteen random bits a number, four numbers a draw: six times as fast as `bernoulli_`, which takes a third of a
    training step with GPT-2's dropout.
    """
    n = math.prod(shape)
    bits = torch.empty(-(-n // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:n]
    return (bits >= round(dropout * 65536) - 32768).view(shape)


def _flex_mask(documents: Tensor) -> Any:
    """FlexAttention's mask of causal attention within documents (B, T): blocks that nobody sees are not computed."""
    from torch.nn.attention.flex_attention import create_block_mask

    def visible(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (documents[b, query] == documents[b, key])

    batch, length = documents.shape
    return create_block_mask(visible, batch, None, length, length, device=documents.device)


@cache
def _flex_attention() -> Callable[..., Tensor]:
    """FlexAttention, compiled: uncompiled it holds all scores."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)
