"""The settings of each architecture: keys of a GGUF file ↔ what its ModelConfig has beside the common sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from seodang.checkpoints.gguf.metadata import Metadata
from seodang.checkpoints.gguf.rope import rope_of, rope_settings
from seodang.checkpoints.layouts.base import cannot_express
from seodang.errors import DataError
from seodang.models.config import ModelConfig, RoPE

_LARGEST = {"gemma2": 46, "gemma3": 62}
"""Layers of the 27B models, whose queries llama.cpp scales otherwise than those of all others."""


def gpt2_config(file: Metadata) -> dict[str, Any]:
    """GPT-2's settings."""
    return {"norm_eps": file.decimal("attention.layer_norm_epsilon", 1e-5), "activation": "gelu_tanh"}


def gpt2_settings(config: ModelConfig) -> dict[str, Any]:
    """Inverse of `gpt2_config`."""
    _require_activation(config, "gelu_tanh")
    return {"attention.layer_norm_epsilon": config.norm_eps}


def gptneox_config(file: Metadata) -> dict[str, Any]:
    """GPT-NeoX's settings: rotary positions in a part of each head."""
    d_head = file.number("embedding_length") // file.number("attention.head_count")
    turned = file.number("rope.dimension_count", default=d_head)
    return {
        "norm_eps": file.decimal("attention.layer_norm_epsilon", 1e-5),
        "activation": "gelu",
        "parallel_residual": bool(file.setting("use_parallel_residual")),
        "rope": replace(rope_of(file, turned, file.number("context_length")), share=turned / d_head),
    }


def gptneox_settings(config: ModelConfig) -> dict[str, Any]:
    """Inverse of `gptneox_config`."""
    _require_activation(config, "gelu")
    if config.tied:
        raise cannot_express("GGUF", "a tied output matrix", "llama.cpp's GPT-NeoX has one of its own")
    keys = {"attention.layer_norm_epsilon": config.norm_eps, "use_parallel_residual": config.parallel_residual}
    return keys | rope_settings(config)


def llama_config(file: Metadata) -> dict[str, Any]:
    """LLaMA's settings. Raises DataError for experts and for heads that are turned in part."""
    n_heads = file.number("attention.head_count")
    if file.number("expert_count", default=0):
        raise DataError(f"{file.origin} is a mixture of experts", "this package has none", "use a dense model")
    d_head = file.number("attention.key_length", default=file.number("embedding_length") // n_heads)
    if file.number("rope.dimension_count", default=d_head) != d_head:
        raise DataError(f"{file.origin} rotates a part of each head", "whole heads only", "use another model")
    return {
        "n_kv_heads": file.number("attention.head_count_kv", default=n_heads),
        "d_head": d_head,
        "activation": "silu",
        "norm_eps": file.decimal("attention.layer_norm_rms_epsilon", 1e-5),
        "attention_bias": "blk.0.attn_q.bias" in file.shapes,
        "mlp_bias": "blk.0.ffn_up.bias" in file.shapes,
        "rope": rope_of(file, d_head, file.number("context_length")),
    }


def llama_settings(config: ModelConfig) -> dict[str, Any]:
    """Inverse of `llama_config`."""
    _require_activation(config, "silu")
    return {"attention.layer_norm_rms_epsilon": config.norm_eps, **rope_settings(config)}


def window_of(file: Metadata) -> int:
    """Tokens that each token sees; 0 where that is the whole context."""
    window = file.number("attention.sliding_window", default=0)
    return window if 0 < window < file.number("context_length", default=0) else 0


def mistral_config(file: Metadata) -> dict[str, Any]:
    """LLaMA's settings, and a window on every layer where the file states one."""
    window = window_of(file)
    local = tuple(range(file.number("block_count"))) if window else ()
    return {**llama_config(file), "window": window or None, "local_layers": local}


def mistral_settings(config: ModelConfig) -> dict[str, Any]:
    """Inverse of `mistral_config`. llama.cpp itself looks at no window of a llama file."""
    return llama_settings(config) | ({"attention.sliding_window": config.window} if config.local_layers else {})


def qwen2_settings(config: ModelConfig) -> dict[str, Any]:
    """Inverse of `llama_config` for Qwen 2."""
    if not config.attention_bias:
        raise cannot_express("GGUF", "no biases on queries, keys and values", "llama.cpp's Qwen 2 has them")
    return llama_settings(config)


def qwen3_settings(config: ModelConfig) -> dict[str, Any]:
    """Inverse of `llama_config` for Qwen 3."""
    if config.attention_bias:
        raise cannot_express("GGUF", "biases on queries, keys and values", "llama.cpp's Qwen 3 has none")
    return llama_settings(config)


def gemma2_config(file: Metadata) -> dict[str, Any]:
    """Gemma 2's: every other layer local, caps on scores and logits."""
    return {
        **_gemma(file, 2),
        "attention_softcap": file.decimal("attn_logit_softcapping", 50.0),
        "logit_softcap": file.decimal("final_logit_softcapping", 30.0),
    }


def gemma3_config(file: Metadata) -> dict[str, Any]:
    """Gemma 3's: five local layers and a global one, which have rotary bases of their own."""
    d_head = file.number("attention.key_length")
    return {
        **_gemma(file, 6),
        "rope": rope_of(file, d_head, file.number("context_length"), 1e6),
        "rope_local": RoPE(theta=file.decimal("rope.freq_base_swa", 10000.0)),
    }


def _gemma(file: Metadata, period: int) -> dict[str, Any]:
    """Every `period`-th layer sees all, the others see the window."""
    n_layers, window = file.number("block_count"), file.number("attention.sliding_window")
    d_head = file.number("attention.key_length")
    share = file.number("embedding_length") // file.number("attention.head_count")
    return {
        **llama_config(file),
        "activation": "gelu_tanh",
        "norm_eps": file.decimal("attention.layer_norm_rms_epsilon", 1e-6),
        "window": window,
        "local_layers": tuple(layer for layer in range(n_layers) if (layer + 1) % period),
        "query_scale": None if n_layers != _LARGEST[file.architecture] or share == d_head else share**-0.5,
    }


def gemma2_settings(config: ModelConfig) -> dict[str, Any]:
    """Inverse of `gemma2_config`."""
    if not config.tied:
        raise cannot_express("GGUF", "an output matrix of its own", "llama.cpp's Gemma 2 has none")
    if config.attention_softcap is None or config.logit_softcap is None:
        raise cannot_express("GGUF", "no caps on scores or logits", "llama.cpp's Gemma 2 always has them")
    return {
        **_gemma_settings(config),
        "attn_logit_softcapping": config.attention_softcap,
        "final_logit_softcapping": config.logit_softcap,
    }


def gemma3_settings(config: ModelConfig) -> dict[str, Any]:
    """Inverse of `gemma3_config`."""
    if config.rope_local is None or config.rope_local.scaling != "none":
        raise cannot_express("GGUF", "no rotary base of its local layers", "llama.cpp's Gemma 3 has one")
    return {**_gemma_settings(config), "rope.freq_base_swa": float(config.rope_local.theta)}


def _gemma_settings(config: ModelConfig) -> dict[str, Any]:
    _require_activation(config, "gelu_tanh")
    if not config.window:
        raise cannot_express("GGUF", "no window", "llama.cpp's Gemma has local layers")
    keys = {"attention.layer_norm_rms_epsilon": config.norm_eps, "attention.sliding_window": config.window}
    return keys | rope_settings(config)


def _require_activation(config: ModelConfig, activation: str) -> None:
    if config.activation != activation:
        raise cannot_express("GGUF", f"activation {config.activation!r}", f"llama.cpp computes {activation!r}")


Reads = Callable[[Metadata], dict[str, Any]]
Writes = Callable[[ModelConfig], dict[str, Any]]
