"""Decoders by name: the published sizes and small ones of ours."""

from __future__ import annotations

import math
from typing import Any

from seodang.models.config import ModelConfig, RoPE
from seodang.models.sizes.encoders import init_std


def _gpt1(**sizes: Any) -> ModelConfig:
    # Radford et al. 2018, sec. 4.1; the published vocabulary has 40,478 entries
    fixed = {"vocab_size": 40478, "context_length": 512, "init_std": init_std(sizes.get("d_model", 768))}
    return ModelConfig(family="gpt1", **{**fixed, **sizes}).with_dropout(0.1)


def _gpt2(**sizes: Any) -> ModelConfig:
    return ModelConfig(family="gpt2", **{"vocab_size": 50257, "context_length": 1024, **sizes})


def _gpt3(d_model: int, n_layers: int, n_heads: int, d_head: int, **sizes: Any) -> ModelConfig:
    # Brown et al. 2020, sec. 2.1; the band is GPT-Neo's
    alternating = {"window": 256, "local_layers": tuple(range(1, n_layers, 2))}
    defaults = {"vocab_size": 50257, "context_length": 2048, **alternating, **sizes}
    return ModelConfig(
        family="gpt3", d_model=d_model, n_layers=n_layers, n_heads=n_heads, d_head=d_head, **defaults
    )  # fmt: skip


def _llama(family: str = "llama", **sizes: Any) -> ModelConfig:
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
    return ModelConfig(family=family, **{**defaults, **sizes})


def _qwen2(**sizes: Any) -> ModelConfig:
    return _llama("qwen2", **{**_QWEN, "context_length": 32768, "attention_bias": True, **sizes})


def _qwen3(**sizes: Any) -> ModelConfig:
    return _llama("qwen3", **{**_QWEN, "context_length": 40960, "n_kv_heads": 8, "d_head": 128, **sizes})


def _gptneox(d_model: int, n_layers: int, n_heads: int, share: float = 0.25, **sizes: Any) -> ModelConfig:
    # Black et al. 2022, sec. 2.1.3, for init_std
    defaults = {"vocab_size": 50304, "context_length": 2048, "activation": "gelu", "tied": False, **sizes}
    return ModelConfig(
        family="gptneox", d_model=d_model, n_layers=n_layers, n_heads=n_heads, rope=RoPE(share=share),
        init_std=math.sqrt(2 / (5 * d_model)), **defaults,
    )  # fmt: skip


def _mistral(n_layers: int, window: int | None, **sizes: Any) -> ModelConfig:
    layers = tuple(range(n_layers)) if window else ()
    return _llama("mistral", n_layers=n_layers, window=window, local_layers=layers, **sizes)


def _gemma2(n_layers: int, **sizes: Any) -> ModelConfig:
    alternating = {"window": 4096, "local_layers": tuple(range(0, n_layers, 2))}
    caps = {"attention_softcap": 50.0, "logit_softcap": 30.0}
    return _llama("gemma2", **{**_GEMMA, **alternating, **caps, "n_layers": n_layers, **sizes})


def _gemma3(n_layers: int, **sizes: Any) -> ModelConfig:
    local = tuple(layer for layer in range(n_layers) if (layer + 1) % 6)
    positions = {"rope": RoPE(theta=1e6), "rope_local": RoPE()}
    defaults = {"vocab_size": 262144, "context_length": 32768, "window": 512, "local_layers": local, **positions}
    return _llama("gemma3", **{**_GEMMA, **defaults, "n_layers": n_layers, **sizes})


_GEMMA: dict[str, Any] = {
    "vocab_size": 256000, "context_length": 8192, "activation": "gelu_tanh", "norm_eps": 1e-6, "tied": True,
    "d_head": 256,
}  # fmt: skip
_QWEN: dict[str, Any] = {"vocab_size": 151936, "norm_eps": 1e-6, "rope": RoPE(theta=1e6)}
_LLAMA31: dict[str, Any] = {
    "vocab_size": 128256,
    "context_length": 131072,
    "rope": RoPE(theta=500000.0, scaling="llama3", factor=8.0, original_context=8192),
}
_LLAMA32: dict[str, Any] = {
    **_LLAMA31,
    "tied": True,
    "rope": RoPE(theta=500000.0, scaling="llama3", factor=32.0, original_context=8192),
}
_SMOLLM2: dict[str, Any] = {"vocab_size": 49152, "context_length": 8192, "tied": True, "rope": RoPE(theta=100000.0)}

DECODERS: dict[str, ModelConfig] = {
    "gpt1": _gpt1(d_model=768, n_layers=12, n_heads=12),
    # Radford et al. 2019, table 2; the counts printed there (117M, 345M, 762M) are not those of the released models
    "gpt2": _gpt2(d_model=768, n_layers=12, n_heads=12).with_dropout(0.1),
    "gpt2-medium": _gpt2(d_model=1024, n_layers=24, n_heads=16).with_dropout(0.1),
    "gpt2-large": _gpt2(d_model=1280, n_layers=36, n_heads=20).with_dropout(0.1),
    "gpt2-xl": _gpt2(d_model=1600, n_layers=48, n_heads=25).with_dropout(0.1),
    # Brown et al. 2020, table 2.1; d_ff is 4 · d_model
    "gpt3-small": _gpt3(768, 12, 12, 64),
    "gpt3-medium": _gpt3(1024, 24, 16, 64),
    "gpt3-large": _gpt3(1536, 24, 16, 96),
    "gpt3-xl": _gpt3(2048, 24, 24, 128),
    "gpt3-2.7b": _gpt3(2560, 32, 32, 80),
    "gpt3-6.7b": _gpt3(4096, 32, 32, 128),
    "gpt3-13b": _gpt3(5140, 40, 40, 128),
    "gpt3-175b": _gpt3(12288, 96, 96, 128),
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
    # Jiang et al. 2023, table 1; version 0.3 has another vocabulary and no window
    "mistral-7b": _mistral(32, 4096, d_model=4096, n_heads=32, n_kv_heads=8, d_ff=14336, context_length=32768),
    "mistral-7b-v0.3": _mistral(
        32, None, d_model=4096, n_heads=32, n_kv_heads=8, d_ff=14336, context_length=32768, vocab_size=32768,
        rope=RoPE(theta=1e6),
    ),
    # Biderman et al. 2023, table 1; Ko et al. 2023
    "pythia-70m": _gptneox(512, 6, 8),
    "pythia-160m": _gptneox(768, 12, 12),
    "pythia-410m": _gptneox(1024, 24, 16),
    "pythia-1b": _gptneox(2048, 16, 8),
    "pythia-1.4b": _gptneox(2048, 24, 16),
    "polyglot-ko-1.3b": _gptneox(2048, 24, 16, share=0.5, vocab_size=30080),
    # Gemma team 2024 (Gemma 2), table 1; Gemma team 2025 (Gemma 3), table 1, and the released configs
    "gemma2-2b": _gemma2(26, d_model=2304, n_heads=8, n_kv_heads=4, d_ff=9216),
    "gemma2-9b": _gemma2(42, d_model=3584, n_heads=16, n_kv_heads=8, d_ff=14336),
    "gemma2-27b": _gemma2(
        46, d_model=4608, n_heads=32, n_kv_heads=16, d_head=128, d_ff=36864, query_scale=144**-0.5
    ),
    "gemma3-270m": _gemma3(18, d_model=640, n_heads=4, n_kv_heads=1, d_ff=2048),
    "gemma3-1b": _gemma3(26, d_model=1152, n_heads=4, n_kv_heads=1, d_ff=6912),
    # Qwen team 2024 (Qwen 2.5), table 1, and the released configs
    "qwen2.5-0.5b": _qwen2(d_model=896, n_layers=24, n_heads=14, n_kv_heads=2, d_ff=4864, tied=True),
    "qwen2.5-1.5b": _qwen2(
        d_model=1536, n_layers=28, n_heads=12, n_kv_heads=2, d_ff=8960, tied=True, context_length=131072
    ),
    "qwen2.5-3b": _qwen2(d_model=2048, n_layers=36, n_heads=16, n_kv_heads=2, d_ff=11008, tied=True),
    "qwen2.5-7b": _qwen2(
        d_model=3584, n_layers=28, n_heads=28, n_kv_heads=4, d_ff=18944, vocab_size=152064, context_length=131072
    ),
    # Yang et al. 2025 (Qwen 3), table 1, and the released configs
    "qwen3-0.6b": _qwen3(d_model=1024, n_layers=28, n_heads=16, d_ff=3072, tied=True),
    "qwen3-1.7b": _qwen3(d_model=2048, n_layers=28, n_heads=16, d_ff=6144, tied=True),
    "qwen3-4b": _qwen3(d_model=2560, n_layers=36, n_heads=32, d_ff=9728, tied=True),
    "qwen3-8b": _qwen3(d_model=4096, n_layers=36, n_heads=32, d_ff=12288),
    # Ours, for laptops. Their vocabulary is whatever tokenizer they are given.
    "gpt1-mini": _gpt1(d_model=128, n_layers=4, n_heads=4, vocab_size=8192, context_length=256).with_dropout(0.0),
    "gpt2-tiny": _gpt2(d_model=128, n_layers=2, n_heads=2, vocab_size=8192, context_length=256),  # bert-tiny's twin
    "gpt2-mini": _gpt2(d_model=128, n_layers=4, n_heads=4, vocab_size=8192, context_length=256),
    "gpt2-small-laptop": _gpt2(d_model=384, n_layers=6, n_heads=6, vocab_size=8192, context_length=256),
    "gpt2-primer": _gpt2(d_model=256, n_layers=4, n_heads=4, vocab_size=4096, context_length=256),
    "gpt3-mini": _gpt3(128, 4, 2, 64, vocab_size=8192, context_length=256, window=64),
    "llama-mini": _llama(
        d_model=128, n_layers=4, n_heads=4, n_kv_heads=2, d_ff=384, vocab_size=8192, context_length=256, tied=True
    ),
    "neox-mini": _gptneox(128, 4, 4, vocab_size=8192, context_length=256),
    "mistral-mini": _mistral(
        4, 64, d_model=128, n_heads=4, n_kv_heads=2, d_ff=384, vocab_size=8192, context_length=256, tied=True
    ),
    "gemma2-mini": _gemma2(
        4, d_model=128, n_heads=4, n_kv_heads=2, d_head=32, d_ff=384, vocab_size=8192, context_length=256, window=64
    ),
    "gemma3-mini": _gemma3(
        6, d_model=128, n_heads=4, n_kv_heads=1, d_head=32, d_ff=384, vocab_size=8192, context_length=256, window=64
    ),
    "qwen2-mini": _qwen2(
        d_model=128, n_layers=4, n_heads=4, n_kv_heads=2, d_ff=384, vocab_size=8192, context_length=256, tied=True
    ),
    "qwen3-mini": _qwen3(
        d_model=128, n_layers=4, n_heads=4, n_kv_heads=2, d_head=32, d_ff=384, vocab_size=8192, context_length=256,
        tied=True,
    ),
}  # fmt: skip

REMARKS: dict[str, str] = {
    "gpt3-xl": (
        "GPT-3's table 2.1 prints 24 heads of 128 for a width of 2,048, which they exceed. Built as printed it has "
        "1,517M parameters; the 1,320M of table D.1 fit 16 heads of 128 (1,316M). It can be planned, but it has no "
        "published form to be saved in."
    ),
    "gpt3-13b": (
        "GPT-3's table 2.1 prints 40 heads of 128 for a width of 5,140, of which they fall short. Built as printed it "
        "has 12,936M parameters; the 12,850M of table D.1 fit a width of 5,120 (12,853M). It can be planned, but has "
        "no published form to be saved in."
    ),
}
"""Where a table of a paper does not multiply out."""
