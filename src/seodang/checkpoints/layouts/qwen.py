"""Qwen 2, 2.5 and 3 as `qwen2` and `qwen3`; their sliding window is off unless `use_sliding_window`."""

from __future__ import annotations

from typing import Any

from seodang.checkpoints.layouts.base import ACTIVATIONS, Layout, cannot_express, check_unset, choice, refuse
from seodang.checkpoints.layouts.llama import IGNORED, MODULES, NAMES, shared_keys, shared_settings
from seodang.checkpoints.layouts.windows import layer_types, windows_from
from seodang.models.config import ModelConfig


def qwen2_to_config(config: dict[str, Any]) -> ModelConfig:
    """`qwen2`'s config.json → ModelConfig."""
    return ModelConfig(family="qwen2", **_settings(config), attention_bias=True)


def qwen3_to_config(config: dict[str, Any]) -> ModelConfig:
    """`qwen3`'s config.json → ModelConfig."""
    settings = _settings(config, d_head=128)
    return ModelConfig(family="qwen3", **settings, attention_bias=config.get("attention_bias", False))


def _settings(config: dict[str, Any], d_head: int = 0) -> dict[str, Any]:
    refuse(config, quantization_config=None)
    window = config.get("sliding_window", 4096) if config.get("use_sliding_window") else None
    return {
        **shared_settings(config, d_head=d_head),
        **windows_from(config, window, lambda layer: layer >= config.get("max_window_layers", 28)),
        "activation": choice(config, "hidden_act", ACTIVATIONS, "silu"),
        "mlp_bias": False,
    }


def qwen2_from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `qwen2`'s config.json. Raises UsageError for what it cannot state."""
    if not config.attention_bias:
        raise cannot_express("qwen2", "no biases", "its queries, keys and values always have them")
    return _keys(config, "qwen2")


def qwen3_from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `qwen3`'s config.json. Raises UsageError for what it cannot state."""
    return {**_keys(config, "qwen3"), "attention_bias": config.attention_bias}


def _keys(config: ModelConfig, model_type: str) -> dict[str, Any]:
    check_unset(config, model_type, "query_scale", "attention_softcap", "logit_softcap")
    if config.mlp_bias:
        raise cannot_express(model_type, "biases in the MLP", "its MLP has none")
    return {
        **shared_keys(config, model_type),
        "hidden_act": NAMES[config.activation],
        "use_sliding_window": bool(config.local_layers),
        "sliding_window": config.window if config.local_layers else None,
        "max_window_layers": min(config.local_layers, default=config.n_layers),
        "layer_types": layer_types(config),
    }


QWEN2 = Layout(
    model_type="qwen2",
    family="qwen2",
    architecture="Qwen2ForCausalLM",
    prefix="model.",
    layers="layers.{}",
    modules=MODULES,
    ignored=IGNORED,
    to_config=qwen2_to_config,
    from_config=qwen2_from_config,
)
QWEN3 = Layout(
    model_type="qwen3",
    family="qwen3",
    architecture="Qwen3ForCausalLM",
    prefix="model.",
    layers="layers.{}",
    modules={**MODULES, "attention.q_norm": "self_attn.q_norm", "attention.k_norm": "self_attn.k_norm"},
    ignored=IGNORED,
    to_config=qwen3_to_config,
    from_config=qwen3_from_config,
)
