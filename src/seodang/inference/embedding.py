"""One vector for a text: the hidden states of its tokens, pooled as sentence-transformers pools them.

Shapes: B texts, T tokens of the longest one, D model width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from seodang.checkpoints.sentence_transformers import EmbeddingSettings, Pooling
from seodang.errors import FitError, UsageError, suggest
from seodang.inference.inputs import pad_right
from seodang.models.base import Model
from seodang.models.encoder import Encoder
from seodang.models.encoder_decoder import EncoderDecoder
from seodang.text.tokenizer import Tokenizer


def chosen(
    model: Model, settings: EmbeddingSettings, pooling: str | None, normalize: bool | None
) -> EmbeddingSettings:
    """`settings` with what was given instead. Raises UsageError for a pooling that the model does not have."""
    pooling = settings.pooling if pooling is None else pooling
    if pooling not in get_args(Pooling):
        raise UsageError(f"pooling {pooling!r}", "there is no such pooling", suggest(pooling, get_args(Pooling)))
    if pooling == "pooler" and not (isinstance(model, Encoder) and model.has("pooler")):
        raise UsageError(
            "pooling 'pooler' of a model without a pooler",
            "only some encoders have one, a matrix and a tanh on the first token",
            "choose mean or cls" if isinstance(model, Encoder) else "choose mean or last",
        )
    if pooling == "cls" and model.kind == "causal":
        raise UsageError(
            "pooling 'cls' of a decoder", "its first token has seen nothing of the text", "choose mean or last"
        )
    normalize = settings.normalize if normalize is None else normalize
    return replace(settings, pooling=cast(Pooling, pooling), normalize=normalize)


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector per row (B, D) of hidden states (B, T, D) at the real tokens of `mask` (B, T)."""
    if pooling == "mean":
        return (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    if pooling == "max":
        return hidden.masked_fill(~mask[..., None], -math.inf).amax(dim=1)
    length = mask.shape[1]
    places = mask.long().argmax(dim=1) if pooling == "cls" else length - 1 - mask.long().flip(1).argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), places]


def hidden_states(model: Model, ids: Tensor, mask: Tensor | None) -> Tensor:
    """Final hidden states (B, T, D), of an encoder-decoder those of its encoder; ids (B, T) are padded on the right."""
    if isinstance(model, EncoderDecoder):
        return model.encode(ids, mask=mask).states
    return model(ids, mask=mask) if isinstance(model, Encoder) else model(ids)


@torch.inference_mode()
def embed(
    model: Model, rows: Sequence[Sequence[int]], settings: EmbeddingSettings, *, batch_size: int = 16
) -> Tensor:
    """One vector per row of ids (N, D), float32 on the CPU. A row's neighbours do not change its vector."""
    pooling = settings.pooling
    vectors = torch.empty(len(rows), model.config.d_model)
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))  # like lengths need little padding
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        ids, mask = pad_right([rows[place] for place in places], model.output_weight.device)
        hidden = hidden_states(model, ids, mask)
        if pooling == "pooler":
            assert isinstance(model, Encoder)
            vectors[places] = model.pooled(hidden).float().cpu()
        else:
            real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
            vectors[places] = pool(hidden.float(), real, pooling).cpu()
    return F.normalize(vectors, dim=-1) if settings.normalize else vectors


def fitted(ids: list[int], tokenizer: Tokenizer, limit: int, *, truncate: bool) -> list[int]:
    """`ids` of at most `limit` tokens: cut before the special tokens at their end, where `truncate` allows it.

    Raises FitError where it does not.
    """
    if len(ids) <= limit:
        return ids
    if not truncate:
        raise FitError(
            f"a text of {len(ids)} tokens",
            f"the model takes {limit}",
            "shorten it, or cut it off there: truncate=True, --truncate",
        )
    ends = next(n for n in range(len(ids) + 1) if n == len(ids) or ids[-1 - n] not in tokenizer.special_ids)
    return ids[: limit - ends] + ids[len(ids) - ends :]
