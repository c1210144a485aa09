"""GPT-1 as `openai-gpt`: Conv1D weights kept as (in, out), no final norm, the activation called "gelu" is tanh's."""

from __future__ import annotations

import re
from typing import Any

from seodang.checkpoints.layouts.base import Layout, cannot_express, check_unset, choice, refuse, setting
from seodang.models.config import ModelConfig

_ACTIVATIONS = {"gelu": "gelu_tanh", "gelu_new": "gelu_tanh", "relu": "relu", "silu": "silu", "swish": "silu"}
_NAMES = {"gelu_tanh": "gelu", "relu": "relu", "silu": "silu"}


def to_config(config: dict[str, Any]) -> ModelConfig:
    """`openai-gpt`'s config.json → ModelConfig."""
    refuse(config, quantization_config=None)
    return ModelConfig(
        family="gpt1",
        **shared_settings(config),
        activation=choice(config, "afn", _ACTIVATIONS, "gelu"),
    )


def from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `openai-gpt`'s config.json. Raises UsageError for sizes that it cannot state."""
    check_plain(config, "openai-gpt")
    check_unset(config, "openai-gpt", "local_layers", "query_scale", "attention_softcap", "logit_softcap")
    if config.d_ff != 4 * config.d_model:
        raise cannot_express("openai-gpt", f"d_ff = {config.d_ff}", "its MLP is always 4 times the width")
    if config.activation not in _NAMES:
        raise cannot_express("openai-gpt", f"activation {config.activation!r}", "it knows " + ", ".join(_NAMES))
    return {
        **shared_keys(config),
        "afn": _NAMES[config.activation],
    }


def shared_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a ModelConfig that `openai-gpt` and `gpt2` call by the same keys."""
    return {
        "vocab_size": setting(config, "vocab_size"),
        "context_length": setting(config, "n_positions"),
        "d_model": setting(config, "n_embd"),
        "n_layers": setting(config, "n_layer"),
        "n_heads": setting(config, "n_head"),
        "norm_eps": config.get("layer_norm_epsilon", 1e-5),
        "tied": config.get("tie_word_embeddings", True),
        "embedding_dropout": config.get("embd_pdrop", 0.1),
        "attention_dropout": config.get("attn_pdrop", 0.1),
        "residual_dropout": config.get("resid_pdrop", 0.1),
        "init_std": config.get("initializer_range", 0.02),
    }


def shared_keys(config: ModelConfig) -> dict[str, Any]:
    """Inverse of `shared_settings`."""
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_ctx": config.context_length,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "layer_norm_epsilon": config.norm_eps,
        "embd_pdrop": config.embedding_dropout,
        "attn_pdrop": config.attention_dropout,
        "resid_pdrop": config.residual_dropout,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tied,
    }


def check_heads(config: ModelConfig, model_type: str) -> None:
    """GPT's Hugging Face classes know one head width. Raises UsageError."""
    if config.d_head * config.n_heads != config.d_model:
        raise cannot_express(model_type, f"d_head = {config.d_head}", "its heads share the width evenly")
    if config.n_kv_heads != config.n_heads:
        raise cannot_express(model_type, f"n_kv_heads = {config.n_kv_heads}", "it has no grouped queries")


def check_plain(config: ModelConfig, model_type: str) -> None:
    """One head width, all biases, learned positions. Raises UsageError."""
    check_heads(config, model_type)
    if not (config.attention_bias and config.mlp_bias):
        raise cannot_express(model_type, "no biases", "its projections always have them")
    if config.rope is not None:
        raise cannot_express(model_type, "rotary positions", "its positions are learned")


CONV1D = frozenset({"attention.qkv", "attention.out", "mlp.up", "mlp.down"})

GPT1 = Layout(
    model_type="openai-gpt",
    family="gpt1",
    architecture="OpenAIGPTLMHeadModel",
    prefix="transformer.",
    layers="h.{}",
    modules={
        "embed": "tokens_embed",
        "positions": "positions_embed",
        "attention.qkv": "attn.c_attn",
        "attention.out": "attn.c_proj",
        "attention_norm": "ln_1",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
        "mlp_norm": "ln_2",
        "head": "lm_head",
    },
    transposed=CONV1D,
    ignored=(re.compile(r"(^|\.)h\.\d+\.attn\.(bias|masked_bias)$"), re.compile(r"(^|\.)position_ids$")),
    to_config=to_config,
    from_config=from_config,
)
