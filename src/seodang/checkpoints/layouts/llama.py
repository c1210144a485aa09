"""LLaMA as `llama`: names and config; rotary scalings as transformers 4 (`rope_scaling`) and 5 write them."""

from __future__ import annotations

import re
from typing import Any

from seodang.checkpoints.layouts.base import Layout, cannot_express, choice, refuse, setting
from seodang.errors import DataError
from seodang.models.config import ModelConfig, RoPE

_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_NAMES = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}
_SCALINGS = {name: name for name in ("linear", "dynamic", "yarn", "llama3", "longrope")} | {"default": "none"}
_SHARED = ("factor", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow")
_OPTIONAL = ("mscale", "mscale_all_dim", "truncate", "attention_factor")
_READS: dict[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor", "beta_fast", "beta_slow", "truncate", "attention_factor", "mscale", "mscale_all_dim"),
    "longrope": ("attention_factor",),
}
_TRAINED_CONTEXT = ("llama3", "yarn", "longrope")


def rope_from(config: dict[str, Any]) -> RoPE:
    """`rope_theta` with `rope_scaling` (v4), or `rope_parameters` (v5) → RoPE. Raises DataError when unsupported."""
    values = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    theta = values.get("rope_theta") or config.get("rope_theta") or 10000.0
    values["rope_type"] = values.get("rope_type") or values.get("type")
    scaling = choice(values, "rope_type", _SCALINGS, "default")
    if (values.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0) != 1.0:
        raise DataError("config.json rotates a part of each head", "whole heads only", "use another model")
    if scaling == "none":
        return RoPE(theta=float(theta))
    original = None
    if scaling in _TRAINED_CONTEXT:
        original = values.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
    fields: dict[str, Any] = {key: float(values[key]) for key in _SHARED if values.get(key) is not None}
    fields |= {key: values[key] for key in _OPTIONAL if values.get(key) is not None}
    fields = {key: value for key, value in fields.items() if key in (*_READS[scaling], "factor")}
    if "factor" not in fields and scaling != "longrope":
        if scaling != "yarn" or not original:
            raise DataError(f"config.json scales positions ({scaling}) without a factor", "", "add the factor")
        fields["factor"] = config["max_position_embeddings"] / original
    if scaling == "longrope":
        fields["short_factor"] = tuple(float(value) for value in values.get("short_factor") or ())
        fields["long_factor"] = tuple(float(value) for value in values.get("long_factor") or ())
        head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        if {len(fields["short_factor"]), len(fields["long_factor"])} != {head // 2}:
            raise DataError(
                "config.json's longrope factors do not fit", f"two lists of {head // 2} numbers are needed", ""
            )
    return RoPE(theta=float(theta), scaling=scaling, original_context=original, **fields)


def rope_to(rope: RoPE) -> dict[str, Any]:
    """RoPE → the entries of config.json that both readers need: one for v4, one for v5."""
    if rope.scaling == "none":
        values: dict[str, Any] = {"rope_type": "default"}
    else:
        values = {"rope_type": rope.scaling} | {key: getattr(rope, key) for key in _READS[rope.scaling]}
        if rope.scaling in _TRAINED_CONTEXT and rope.original_context:
            values["original_max_position_embeddings"] = rope.original_context
        if rope.scaling == "longrope":
            values |= {"short_factor": list(rope.short_factor), "long_factor": list(rope.long_factor)}
            values |= {"factor": rope.factor} if rope.factor != 1.0 else {}
        values = {key: value for key, value in values.items() if value is not None}
    return {
        "rope_theta": rope.theta,
        "rope_scaling": None if rope.scaling == "none" else values,
        "rope_parameters": {**values, "rope_theta": rope.theta},
    }


def to_config(config: dict[str, Any]) -> ModelConfig:
    """`llama`'s config.json → ModelConfig."""
    refuse(config, quantization_config=None)
    return ModelConfig(
        family="llama",
        vocab_size=setting(config, "vocab_size"),
        context_length=setting(config, "max_position_embeddings"),
        d_model=setting(config, "hidden_size"),
        n_layers=setting(config, "num_hidden_layers"),
        n_heads=setting(config, "num_attention_heads"),
        n_kv_heads=config.get("num_key_value_heads") or 0,
        d_head=config.get("head_dim") or 0,
        d_ff=setting(config, "intermediate_size"),
        activation=choice(config, "hidden_act", _ACTIVATIONS, "silu"),
        norm_eps=config.get("rms_norm_eps", 1e-6),
        tied=config.get("tie_word_embeddings", False),
        attention_bias=config.get("attention_bias", False),
        mlp_bias=config.get("mlp_bias", False),
        rope=rope_from(config),
        attention_dropout=config.get("attention_dropout", 0.0),
        init_std=config.get("initializer_range", 0.02),
    )


def from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `llama`'s config.json. Raises UsageError for a model without rotary positions."""
    if config.rope is None:
        raise cannot_express("llama", "learned positions", "its positions are rotary")
    if config.rope.scaling == "dynamic" and config.rope.original_context not in (None, config.context_length):
        raise cannot_express("llama", "dynamic scaling from another context", "it scales from context_length")
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.d_head,
        "intermediate_size": config.d_ff,
        "hidden_act": _NAMES[config.activation],
        "rms_norm_eps": config.norm_eps,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        **rope_to(config.rope),
        "attention_dropout": config.attention_dropout,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tied,
        "use_cache": True,
    }


LLAMA = Layout(
    model_type="llama",
    family="llama",
    architecture="LlamaForCausalLM",
    prefix="model.",
    layers="layers.{}",
    modules={
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
    },
    transposed=frozenset(),
    ignored=(re.compile(r"(^|\.)rotary_emb\.inv_freq$"),),
    to_config=to_config,
    from_config=from_config,
)
