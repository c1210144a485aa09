"""LLaMA as `llama`, and what the layouts that descend from it write alike."""

from __future__ import annotations

import re
from typing import Any

from seodang.checkpoints.layouts.base import (
    ACTIVATIONS,
    OLDER_NAMES,
    Layout,
    cannot_express,
    check_unset,
    choice,
    refuse,
    setting,
)
from seodang.checkpoints.layouts.rope import rope_from, rope_to
from seodang.models.config import ModelConfig

NAMES = {**OLDER_NAMES, "gelu_tanh": "gelu_pytorch_tanh"}


def shared_settings(config: dict[str, Any], *, tied: bool = False, d_head: int = 0) -> dict[str, Any]:
    """The settings of a ModelConfig that LLaMA's descendants call by the same keys. tied, d_head: where config.json is
    silent."""
    return {
        "vocab_size": setting(config, "vocab_size"),
        "context_length": setting(config, "max_position_embeddings"),
        "d_model": setting(config, "hidden_size"),
        "n_layers": setting(config, "num_hidden_layers"),
        "n_heads": setting(config, "num_attention_heads"),
        "n_kv_heads": config.get("num_key_value_heads") or 0,
        "d_head": config.get("head_dim") or d_head,
        "d_ff": setting(config, "intermediate_size"),
        "norm_eps": config.get("rms_norm_eps", 1e-6),
        "tied": config.get("tie_word_embeddings", tied),
        "rope": rope_from(config),
        "attention_dropout": config.get("attention_dropout", 0.0),
        "init_std": config.get("initializer_range", 0.02),
    }


def shared_keys(config: ModelConfig, model_type: str) -> dict[str, Any]:
    """Inverse of `shared_settings`. Raises UsageError for a model without rotary positions."""
    if config.rope is None:
        raise cannot_express(model_type, "learned positions", "its positions are rotary")
    if config.rope.share != 1.0:
        raise cannot_express(model_type, f"{config.rope.share:.0%} of each head turned", "it turns whole heads")
    if config.rope.scaling == "dynamic" and config.rope.original_context not in (None, config.context_length):
        raise cannot_express(model_type, "dynamic scaling from another context", "it scales from context_length")
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.d_head,
        "intermediate_size": config.d_ff,
        "rms_norm_eps": config.norm_eps,
        "attention_dropout": config.attention_dropout,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tied,
        **rope_to(config.rope),
        "use_cache": True,
    }


def to_config(config: dict[str, Any]) -> ModelConfig:
    """`llama`'s config.json → ModelConfig."""
    refuse(config, quantization_config=None)
    return ModelConfig(
        family="llama",
        **shared_settings(config),
        activation=choice(config, "hidden_act", ACTIVATIONS, "silu"),
        attention_bias=config.get("attention_bias", False),
        mlp_bias=config.get("mlp_bias", False),
    )


def from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `llama`'s config.json. Raises UsageError for what it cannot state."""
    check_unset(config, "llama", "local_layers", "query_scale", "attention_softcap", "logit_softcap")
    return {
        **shared_keys(config, "llama"),
        "hidden_act": NAMES[config.activation],
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
    }


MODULES = {
    "embed": "embed_tokens",
    "attention_norm": "input_layernorm",
    "attention.q": "self_attn.q_proj",
    "attention.k": "self_attn.k_proj",
    "attention.v": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
    "norm": "norm",
    "head": "lm_head",
}
"""Our modules → theirs."""
IGNORED = (re.compile(r"(^|\.)rotary_emb\.inv_freq$"),)

LLAMA = Layout(
    model_type="llama",
    family="llama",
    architecture="LlamaForCausalLM",
    prefix="model.",
    layers="layers.{}",
    modules=MODULES,
    ignored=IGNORED,
    to_config=to_config,
    from_config=from_config,
)
