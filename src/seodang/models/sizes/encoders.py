"""Encoders by name: the published sizes and small ones of ours."""

from __future__ import annotations

import math
from typing import Any

from seodang.models.config import ModelConfig


def init_std(d_model: int) -> float:
    """BERT's and GPT-1's 0.02 at their width of 768; what is narrower starts with scores q·k of the same spread.

    At 0.02 the attention of a narrow model with its norms behind the residuals is all but uniform: for long it learns
    no more than how often each token occurs, and GPT-1 may diverge when it begins to learn more (docs/log.md).
    """
    return max(0.02, round(0.02 * math.sqrt(768 / d_model), 3))


def _encoder(family: str, n_layers: int, d_model: int, *, dropout: float = 0.1, **sizes: Any) -> ModelConfig:
    defaults = {
        "context_length": 512,
        "n_heads": max(1, d_model // 64),  # in all of them but ALBERT-xxlarge a head is 64 wide
        "activation": "gelu",
        "norm_eps": 1e-12,
        "n_segments": 2,
        "init_std": init_std(d_model),
    }
    config = ModelConfig(family=family, n_layers=n_layers, d_model=d_model, **{**defaults, **sizes})
    return config.with_dropout(dropout)


def _bert(n_layers: int, d_model: int, vocab_size: int = 30522, **sizes: Any) -> ModelConfig:
    heads = ("pooler", "masked", "sentence")
    return _encoder("bert", n_layers, d_model, vocab_size=vocab_size, heads=heads, **sizes)


def _roberta(n_layers: int, d_model: int, vocab_size: int = 50265, **sizes: Any) -> ModelConfig:
    fixed: dict[str, Any] = {"heads": ("masked",), "pad_id": 1, "n_segments": 1, "norm_eps": 1e-5}
    return _encoder("roberta", n_layers, d_model, vocab_size=vocab_size, **fixed, **sizes)


def _albert(n_layers: int, d_model: int, n_heads: int, vocab_size: int = 30000, **sizes: Any) -> ModelConfig:
    heads = ("pooler", "masked", "sentence")
    fixed: dict[str, Any] = {"d_embed": 128, "activation": "gelu_tanh", "dropout": 0.0, "heads": heads}
    return _encoder("albert", n_layers, d_model, n_heads=n_heads, vocab_size=vocab_size, **{**fixed, **sizes})


def _electra(n_layers: int, d_model: int, d_embed: int, generator_share: float, **sizes: Any) -> ModelConfig:
    fixed: dict[str, Any] = {"vocab_size": 30522, "heads": ("replaced",), "generator_share": generator_share}
    return _encoder("electra", n_layers, d_model, d_embed=d_embed, **{**fixed, **sizes})


# Ours: their vocabulary is whatever tokenizer they are given.
_MINI: dict[str, Any] = {"vocab_size": 8192, "context_length": 256, "n_heads": 4, "dropout": 0.0}

ENCODERS: dict[str, ModelConfig] = {
    # Turc et al. 2019, table 1, and its released models
    "bert-tiny": _bert(2, 128),
    "bert-mini": _bert(4, 256),
    "bert-small": _bert(4, 512),
    "bert-medium": _bert(8, 512),
    # Devlin et al. 2019, sec. 3; the released models differ in vocabulary
    "bert-base": _bert(12, 768),
    "bert-large": _bert(24, 1024),
    "bert-base-cased": _bert(12, 768, 28996),
    "bert-large-cased": _bert(24, 1024, 28996),
    "bert-base-multilingual-cased": _bert(12, 768, 119547),
    # Liu et al. 2019, sec. 3.1 and 5
    "roberta-base": _roberta(12, 768),
    "roberta-large": _roberta(24, 1024),
    "roberta-mini": _roberta(4, 128, **_MINI),
    # Lan et al. 2020, table 1; the released second version, which has no dropout
    "albert-base": _albert(12, 768, 12),
    "albert-large": _albert(24, 1024, 16),
    "albert-xlarge": _albert(24, 2048, 16),
    "albert-xxlarge": _albert(12, 4096, 64),
    "albert-mini": _albert(4, 128, d_embed=64, **_MINI),
    # Clark et al. 2020, table 6; heads are 64 wide in all of them
    "electra-small": _electra(12, 256, 128, 1 / 4),
    "electra-base": _electra(12, 768, 768, 1 / 3),
    "electra-large": _electra(24, 1024, 1024, 1 / 4),
    "electra-mini": _electra(2, 128, 128, 1 / 2, **_MINI),
}
