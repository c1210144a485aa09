"""A small encoder with a WordPiece vocabulary that has learned a few sentences by heart."""

from __future__ import annotations

import functools
from dataclasses import replace

import torch
import torch.nn.functional as F

from seodang.inference.language_model import LanguageModel
from seodang.models.encoder import Encoder
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer
from tests.inference.conftest import TEXTS


@functools.cache
def wordpiece() -> Tokenizer:
    return train_tokenizer(iter(TEXTS * 2), vocab_size=160, style="bert")


def encoder(name: str = "bert-tiny", **changes: object) -> Encoder:
    """A 32-wide model with fresh weights."""
    sizes = {"vocab_size": wordpiece().vocab_size + 3, "context_length": 48, "d_model": 32, "n_layers": 2, "n_heads": 4,
             "n_kv_heads": 4, "d_head": 8, "d_ff": 64, "init_std": 0.1}  # fmt: skip
    model = build_model(replace(published(name), **{**sizes, **changes}).with_dropout(0.0))  # type: ignore[arg-type]
    model.init_weights(torch.Generator().manual_seed(0))
    assert isinstance(model, Encoder)
    return model


@functools.cache
@torch.enable_grad()  # whichever test asks first
def read() -> LanguageModel:
    """Trained on one sentence, each of whose tokens it has seen masked."""
    tokenizer, model = wordpiece(), encoder()
    ids, _ = tokenizer.encode_pair("the cat sat on the mat and the dog sat on the log")
    rows = torch.tensor([ids] * (len(ids) - 2))
    masked = rows.clone()
    masked[range(len(rows)), range(1, len(ids) - 1)] = tokenizer.mask_id
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model.logits(model(masked)).transpose(1, 2), rows).backward()
        optimizer.step()
    return LanguageModel(model, tokenizer)
