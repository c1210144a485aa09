"""Encoder-decoders by name: the published sizes and small ones of ours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from seodang.models.config import ModelConfig


def _transformer(dropout: float = 0.1, **sizes: Any) -> ModelConfig:
    # Vaswani et al. 2017, table 3 and sec. 5.1, 5.4: about 37,000 tokens shared by both languages; dropout of the
    # sums and of what each part adds, none of attention's probabilities
    defaults = {"vocab_size": 37000, "context_length": 512, "n_encoder_layers": sizes["n_layers"], "activation": "relu"}
    drops = {"embedding_dropout": dropout, "residual_dropout": dropout}
    return ModelConfig(family="transformer", **{**defaults, **drops, "start_id": 0, "pad_id": 0, **sizes})


def _bart(**sizes: Any) -> ModelConfig:
    # Lewis et al. 2020, sec. 2.1, and the released configs; RoBERTa's vocabulary and <mask>
    defaults = {"vocab_size": 50265, "context_length": 1024, "n_encoder_layers": sizes["n_layers"]}
    ids = {"start_id": 2, "pad_id": 1}
    return ModelConfig(family="bart", **{**defaults, **ids, "activation": "gelu", **sizes}).with_dropout(0.1)


def _t5(family: str = "t5", **sizes: Any) -> ModelConfig:
    # Raffel et al. 2020, sec. 2.1 and 3.1.2; the published matrices have 32,128 rows for 32,100 tokens
    defaults = {
        "vocab_size": 32128,
        "context_length": 512,
        "n_encoder_layers": sizes["n_layers"],
        "d_head": 64,
        "activation": "relu",
        "norm_eps": 1e-6,
        "attention_bias": False,
        "mlp_bias": False,
        "query_scale": 1.0,
        "start_id": 0,
        "pad_id": 0,
        "init_std": 1.0,
    }
    return ModelConfig(family=family, **{**defaults, **sizes}).with_dropout(0.1)


def _t5v11(**sizes: Any) -> ModelConfig:
    # the released t5.1.1 configs; pre-trained without dropout
    return _t5("t5v11", **{"activation": "gelu_tanh", "tied": False, **sizes}).with_dropout(0.0)


_T5V11 = {
    "small": _t5v11(d_model=512, n_layers=8, n_heads=6, d_ff=1024),
    "base": _t5v11(d_model=768, n_layers=12, n_heads=12, d_ff=2048),
    "large": _t5v11(d_model=1024, n_layers=24, n_heads=16, d_ff=2816),
    "xl": _t5v11(d_model=2048, n_layers=24, n_heads=32, d_ff=5120),
    "xxl": _t5v11(d_model=4096, n_layers=24, n_heads=64, d_ff=10240),
}

SEQ2SEQ: dict[str, ModelConfig] = {
    "transformer-base": _transformer(d_model=512, n_layers=6, n_heads=8, d_ff=2048),
    "transformer-big": _transformer(0.3, d_model=1024, n_layers=6, n_heads=16, d_ff=4096),
    "bart-base": _bart(d_model=768, n_layers=6, n_heads=12, d_ff=3072),
    "bart-large": _bart(d_model=1024, n_layers=12, n_heads=16, d_ff=4096),
    # Raffel et al. 2020, sec. 3.7
    "t5-small": _t5(d_model=512, n_layers=6, n_heads=8, d_ff=2048),
    "t5-base": _t5(d_model=768, n_layers=12, n_heads=12, d_ff=3072),
    "t5-large": _t5(d_model=1024, n_layers=24, n_heads=16, d_ff=4096),
    "t5-3b": _t5(d_model=1024, n_layers=24, n_heads=32, d_head=128, d_ff=16384),
    "t5-11b": _t5(d_model=1024, n_layers=24, n_heads=128, d_head=128, d_ff=65536),
    **{f"t5v1.1-{size}": config for size, config in _T5V11.items()},
    # Xue et al. 2021, table 1: 1.1 with a vocabulary of 101 languages
    **{f"mt5-{size}": replace(config, vocab_size=250112) for size, config in _T5V11.items()},
    # Ours, for laptops. Their vocabulary is whatever tokenizer they are given.
    "transformer-mini": _transformer(d_model=128, n_layers=3, n_heads=4, d_ff=512, vocab_size=8192, context_length=256),
    "bart-mini": _bart(d_model=128, n_layers=3, n_heads=4, d_ff=512, vocab_size=8192, context_length=256),
    "t5-mini": _t5(d_model=128, n_layers=3, n_heads=4, d_head=32, d_ff=512, vocab_size=8192, context_length=256),
    "t5v1.1-mini": _t5v11(
        d_model=128, n_layers=3, n_heads=4, d_head=32, d_ff=320, vocab_size=8192, context_length=256
    ),
}
