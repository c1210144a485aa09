"""Mistral as `mistral`: LLaMA's names, and one `sliding_window` for all layers or none."""

from __future__ import annotations

from typing import Any

from seodang.checkpoints.layouts.base import ACTIVATIONS, Layout, cannot_express, check_unset, choice, refuse
from seodang.checkpoints.layouts.llama import IGNORED, MODULES, NAMES, shared_keys, shared_settings
from seodang.models.config import ModelConfig


def to_config(config: dict[str, Any]) -> ModelConfig:
    """`mistral`'s config.json → ModelConfig."""
    refuse(config, quantization_config=None)
    settings, window = shared_settings(config), config.get("sliding_window", 4096)
    return ModelConfig(
        family="mistral",
        **settings,
        activation=choice(config, "hidden_act", ACTIVATIONS, "silu"),
        attention_bias=False,
        mlp_bias=False,
        window=window,
        local_layers=tuple(range(settings["n_layers"])) if window else (),
    )


def from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `mistral`'s config.json. Raises UsageError for what it cannot state."""
    check_unset(config, "mistral", "query_scale", "attention_softcap", "logit_softcap")
    if config.attention_bias or config.mlp_bias:
        raise cannot_express("mistral", "biases", "it has none")
    if len(config.local_layers) not in (0, config.n_layers):
        raise cannot_express("mistral", "some layers local", "all its layers are, or none")
    return {
        **shared_keys(config, "mistral"),
        "hidden_act": NAMES[config.activation],
        "sliding_window": config.window if config.local_layers else None,
    }


MISTRAL = Layout(
    model_type="mistral",
    family="mistral",
    architecture="MistralForCausalLM",
    prefix="model.",
    layers="layers.{}",
    modules=MODULES,
    ignored=IGNORED,
    to_config=to_config,
    from_config=from_config,
)
