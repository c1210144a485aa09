"""Gemma 2 as `gemma2` and the text models of Gemma 3 as `gemma3_text`."""

from __future__ import annotations

from typing import Any

from seodang.checkpoints.layouts.base import ACTIVATIONS, Layout, cannot_express, check_unset, choice, refuse
from seodang.checkpoints.layouts.llama import IGNORED, MODULES, NAMES, shared_keys, shared_settings
from seodang.checkpoints.layouts.rope import rope_from, rope_to
from seodang.checkpoints.layouts.windows import layer_types, windows_from
from seodang.models.config import ModelConfig

_GLOBAL, _LOCAL = "full_attention", "sliding_attention"


def gemma2_to_config(config: dict[str, Any]) -> ModelConfig:
    """`gemma2`'s config.json → ModelConfig."""
    return ModelConfig(
        family="gemma2",
        **_settings(config, config, pattern=2),
        attention_softcap=config.get("attn_logit_softcapping", 50.0),
        logit_softcap=config.get("final_logit_softcapping", 30.0),
    )


def gemma3_to_config(config: dict[str, Any]) -> ModelConfig:
    """`gemma3_text`'s config.json → ModelConfig."""
    refuse(config, attn_logit_softcapping=None)
    by_type = config.get("rope_parameters") or {}
    thetas = {_GLOBAL: config.get("rope_theta", 1e6), _LOCAL: config.get("rope_local_base_freq", 1e4)}
    ropes = {kind: {"rope_parameters": by_type.get(kind), "rope_theta": theta} for kind, theta in thetas.items()}
    pattern = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 6
    return ModelConfig(
        family="gemma3",
        **_settings(config, {**config, **ropes[_GLOBAL]}, pattern),
        rope_local=rope_from({**config, "rope_scaling": None, **ropes[_LOCAL]}),
        logit_softcap=config.get("final_logit_softcapping"),
    )


def _settings(config: dict[str, Any], with_rope: dict[str, Any], pattern: int) -> dict[str, Any]:
    """pattern: every so many layers one is global, where `layer_types` is missing."""
    refuse(config, quantization_config=None, use_bidirectional_attention=False)
    shared = shared_settings(with_rope, tied=True, d_head=256)
    scalar = config.get("query_pre_attn_scalar", 256)
    return {
        **shared,
        **windows_from(config, config.get("sliding_window", 4096), lambda layer: (layer + 1) % pattern != 0),
        "activation": choice(config, "hidden_activation", ACTIVATIONS, "gelu_pytorch_tanh"),
        "query_scale": None if scalar == shared["d_head"] else scalar**-0.5,
        "attention_bias": config.get("attention_bias", False),
        "mlp_bias": False,
    }


def gemma2_from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `gemma2`'s config.json. Raises UsageError for what it cannot state."""
    check_unset(config, "gemma2", "rope_local")
    return {**_keys(config, "gemma2"), "attn_logit_softcapping": config.attention_softcap}


def gemma3_from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `gemma3_text`'s config.json. Raises UsageError for what it cannot state."""
    check_unset(config, "gemma3_text", "attention_softcap")
    keys = _keys(config, "gemma3_text")
    local = rope_to(config.rope_local) if config.rope_local else keys
    if config.rope_local and config.rope_local.scaling != "none":
        raise cannot_express("gemma3_text", "scaled positions in local layers", "only global ones are stretched")
    ropes = {_GLOBAL: keys["rope_parameters"], _LOCAL: local["rope_parameters"]}
    return {**keys, "rope_parameters": ropes, "rope_local_base_freq": local["rope_theta"]}


def _keys(config: ModelConfig, model_type: str) -> dict[str, Any]:
    if config.mlp_bias:
        raise cannot_express(model_type, "biases in the MLP", "its MLP has none")
    if config.d_model % config.n_heads:
        raise cannot_express(model_type, f"n_heads = {config.n_heads}", "they must divide the width")
    scalar = config.d_head if config.query_scale is None else config.query_scale**-2
    if abs(scalar - round(scalar)) > 1e-9 * scalar:
        raise cannot_express(model_type, f"query_scale = {config.query_scale}", "it states 1/scale² as a whole number")
    return {
        **shared_keys(config, model_type),
        "hidden_activation": NAMES[config.activation],
        "attention_bias": config.attention_bias,
        "query_pre_attn_scalar": round(scalar),
        "sliding_window": config.window or 4096,
        "layer_types": layer_types(config),
        "final_logit_softcapping": config.logit_softcap,
    }


_MODULES = {
    **MODULES,
    "attention_out_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_out_norm": "post_feedforward_layernorm",
}
GEMMA2 = Layout(
    model_type="gemma2",
    family="gemma2",
    architecture="Gemma2ForCausalLM",
    prefix="model.",
    layers="layers.{}",
    modules=_MODULES,
    ignored=IGNORED,
    to_config=gemma2_to_config,
    from_config=gemma2_from_config,
)
GEMMA3 = Layout(
    model_type="gemma3_text",
    family="gemma3",
    architecture="Gemma3ForCausalLM",
    class_architecture="Gemma3TextForSequenceClassification",
    prefix="model.",
    layers="layers.{}",
    modules={**_MODULES, "attention.q_norm": "self_attn.q_norm", "attention.k_norm": "self_attn.k_norm"},
    ignored=IGNORED,
    to_config=gemma3_to_config,
    from_config=gemma3_from_config,
)
