"""Decoders by name: the published sizes and small ones of ours."""

from __future__ import annotations

from typing import Any

from seodang.models.config import ModelConfig, RoPE


def _gpt1(**sizes: Any) -> ModelConfig:
    # Radford et al. 2018, sec. 4.1; the published vocabulary has 40,478 entries
    return ModelConfig(family="gpt1", **{"vocab_size": 40478, "context_length": 512, **sizes}).with_dropout(0.1)


def _gpt2(**sizes: Any) -> ModelConfig:
    return ModelConfig(family="gpt2", **{"vocab_size": 50257, "context_length": 1024, **sizes})


def _llama(**sizes: Any) -> ModelConfig:
    defaults = {
        "vocab_size": 32000,
        "context_length": 2048,
        "activation": "silu",
        "norm_eps": 1e-5,
        "tied": False,
        "attention_bias": False,
        "mlp_bias": False,
        "rope": RoPE(),
    }
    return ModelConfig(family="llama", **{**defaults, **sizes})


_LLAMA31 = {
    "vocab_size": 128256,
    "context_length": 131072,
    "rope": RoPE(theta=500000.0, scaling="llama3", factor=8.0, original_context=8192),
}
_LLAMA32 = {
    **_LLAMA31,
    "tied": True,
    "rope": RoPE(theta=500000.0, scaling="llama3", factor=32.0, original_context=8192),
}
_SMOLLM2 = {"vocab_size": 49152, "context_length": 8192, "tied": True, "rope": RoPE(theta=100000.0)}

DECODERS: dict[str, ModelConfig] = {
    "gpt1": _gpt1(d_model=768, n_layers=12, n_heads=12),
    # Radford et al. 2019, table 2; the counts printed there (117M, 345M, 762M) are not those of the released models
    "gpt2": _gpt2(d_model=768, n_layers=12, n_heads=12).with_dropout(0.1),
    "gpt2-medium": _gpt2(d_model=1024, n_layers=24, n_heads=16).with_dropout(0.1),
    "gpt2-large": _gpt2(d_model=1280, n_layers=36, n_heads=20).with_dropout(0.1),
    "gpt2-xl": _gpt2(d_model=1600, n_layers=48, n_heads=25).with_dropout(0.1),
    # Touvron et al. 2023a, table 2
    "llama-7b": _llama(d_model=4096, n_layers=32, n_heads=32, d_ff=11008, norm_eps=1e-6),
    "llama-13b": _llama(d_model=5120, n_layers=40, n_heads=40, d_ff=13824, norm_eps=1e-6),
    "llama-33b": _llama(d_model=6656, n_layers=60, n_heads=52, d_ff=17920, norm_eps=1e-6),
    "llama-65b": _llama(d_model=8192, n_layers=80, n_heads=64, d_ff=22016, norm_eps=1e-6),
    # Touvron et al. 2023b
    "llama2-7b": _llama(d_model=4096, n_layers=32, n_heads=32, d_ff=11008, context_length=4096),
    "llama2-13b": _llama(d_model=5120, n_layers=40, n_heads=40, d_ff=13824, context_length=4096),
    "llama2-70b": _llama(d_model=8192, n_layers=80, n_heads=64, n_kv_heads=8, d_ff=28672, context_length=4096),
    # Llama team 2024, table 3, and the released configs
    "llama3.1-8b": _llama(d_model=4096, n_layers=32, n_heads=32, n_kv_heads=8, d_ff=14336, **_LLAMA31),
    "llama3.1-70b": _llama(d_model=8192, n_layers=80, n_heads=64, n_kv_heads=8, d_ff=28672, **_LLAMA31),
    "llama3.2-1b": _llama(d_model=2048, n_layers=16, n_heads=32, n_kv_heads=8, d_ff=8192, **_LLAMA32),
    "llama3.2-3b": _llama(d_model=3072, n_layers=28, n_heads=24, n_kv_heads=8, d_ff=8192, **_LLAMA32),
    "tinyllama-1.1b": _llama(d_model=2048, n_layers=22, n_heads=32, n_kv_heads=4, d_ff=5632),
    "smollm2-135m": _llama(d_model=576, n_layers=30, n_heads=9, n_kv_heads=3, d_ff=1536, **_SMOLLM2),
    "smollm2-360m": _llama(d_model=960, n_layers=32, n_heads=15, n_kv_heads=5, d_ff=2560, **_SMOLLM2),
    "smollm2-1.7b": _llama(
        d_model=2048, n_layers=24, n_heads=32, d_ff=8192, **{**_SMOLLM2, "rope": RoPE(theta=130000.0)}
    ),
    # Ours, for laptops. Their vocabulary is whatever tokenizer they are given.
    "gpt1-mini": _gpt1(d_model=128, n_layers=4, n_heads=4, vocab_size=8192, context_length=256).with_dropout(0.0),
    "gpt2-mini": _gpt2(d_model=128, n_layers=4, n_heads=4, vocab_size=8192, context_length=256),
    "gpt2-small-laptop": _gpt2(d_model=384, n_layers=6, n_heads=6, vocab_size=8192, context_length=256),
    "gpt2-primer": _gpt2(d_model=256, n_layers=4, n_heads=4, vocab_size=4096, context_length=256),
    "llama-mini": _llama(
        d_model=128, n_layers=4, n_heads=4, n_kv_heads=2, d_ff=384, vocab_size=8192, context_length=256, tied=True
    ),
}
