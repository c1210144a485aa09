"""T5 and its 1.1 as `t5`, mT5 as `mt5`: an embedding kept once or three times, relative positions in block 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from seodang.checkpoints.layouts.base import Layout, cannot_express, choice, refuse, setting
from seodang.models.config import ModelConfig

_ACTIVATIONS = {
    "t5": {"relu": "relu", "gelu_new": "gelu_tanh", "gelu": "gelu", "silu": "silu"},
    "t5v11": {"gated-gelu": "gelu_tanh", "gated-silu": "silu", "gated-relu": "relu"},
}
_NAMES = {family: {ours: theirs for theirs, ours in table.items()} for family, table in _ACTIVATIONS.items()}


def _is_gated(config: dict[str, Any]) -> bool:
    return str(config.get("feed_forward_proj", "relu")).startswith("gated-")


def to_config(config: dict[str, Any]) -> ModelConfig:
    """config.json → ModelConfig. `transformers` 5 says in `scale_decoder_outputs` what 4 said in `tie_word_embeddings`,
    which it sets whatever the weights are."""
    refuse(config, quantization_config=None, is_decoder=False)
    family = "t5v11" if _is_gated(config) else "t5"
    layers = setting(config, "num_layers")
    dropout = float(config.get("dropout_rate", 0.1))
    return ModelConfig(
        family=family,
        vocab_size=setting(config, "vocab_size"),
        context_length=config.get("n_positions") or 512,
        d_model=setting(config, "d_model"),
        n_encoder_layers=layers,
        n_layers=config.get("num_decoder_layers") or layers,
        n_heads=setting(config, "num_heads"),
        d_head=setting(config, "d_kv"),
        d_ff=setting(config, "d_ff"),
        activation=choice(config, "feed_forward_proj", _ACTIVATIONS[family], "relu"),
        norm_eps=config.get("layer_norm_epsilon", 1e-6),
        tied=bool(config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True))),
        attention_bias=False,
        mlp_bias=False,
        query_scale=1.0,
        relative_buckets=config.get("relative_attention_num_buckets", 32),
        relative_distance=config.get("relative_attention_max_distance", 128),
        start_id=config.get("decoder_start_token_id", config.get("pad_token_id", 0)),
        pad_id=config.get("pad_token_id", 0),
        init_std=float(config.get("initializer_factor", 1.0)),
    ).with_dropout(dropout)


def from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → config.json. Raises UsageError for sizes that it cannot state."""
    if config.n_kv_heads != config.n_heads:
        raise cannot_express("t5", "grouped-query attention", "T5 has as many key heads as query heads")
    if config.activation not in _NAMES[config.family]:
        raise cannot_express("t5", f"activation {config.activation}", "config.json has no name for it")
    if config.query_scale != 1.0 or config.attention_bias or config.mlp_bias:
        raise cannot_express("t5", "scaled scores or biases", "T5 has neither")
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "d_model": config.d_model,
        "num_layers": config.n_encoder_layers,
        "num_decoder_layers": config.n_layers,
        "num_heads": config.n_heads,
        "d_kv": config.d_head,
        "d_ff": config.d_ff,
        "feed_forward_proj": _NAMES[config.family][config.activation],
        "layer_norm_epsilon": config.norm_eps,
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_distance,
        "dropout_rate": config.residual_dropout,
        "initializer_factor": config.init_std,
        "tie_word_embeddings": config.tied,
        "decoder_start_token_id": config.start_id,
        "pad_token_id": config.pad_id,
        "is_encoder_decoder": True,
        "use_cache": True,
    }


def _modules(side: str, mlp: int, inner: Mapping[str, str]) -> dict[str, str]:
    """A side's names; its MLP is part number `mlp` of a block."""
    parts = {**{part: f"layer.0.SelfAttention.{part}" for part in "qkv"}, "out": "layer.0.SelfAttention.o"}
    return {
        **{f"{side}layers.attention.{ours}": theirs for ours, theirs in parts.items()},
        f"{side}layers.attention_norm": "layer.0.layer_norm",
        **{f"{side}layers.mlp.{ours}": f"layer.{mlp}.DenseReluDense.{theirs}" for ours, theirs in inner.items()},
        f"{side}layers.mlp_norm": f"layer.{mlp}.layer_norm",
    }


def _layout(family: str, inner: Mapping[str, str]) -> Layout:
    cross = {part: f"layer.1.EncDecAttention.{part}" for part in "qkv"}
    copies = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    return Layout(
        model_type="t5",
        family=family,
        architecture="T5ForConditionalGeneration",
        prefix="",
        layers={"layers": "decoder.block.{}", "encoder.layers": "encoder.block.{}"},
        modules={
            "embed": "shared",
            **_modules("encoder.", 1, inner),
            **_modules("", 2, inner),
            **{f"layers.cross.{ours}": theirs for ours, theirs in cross.items()},
            "layers.cross.out": "layer.1.EncDecAttention.o",
            "layers.cross_norm": "layer.1.layer_norm",
            "encoder.relative": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
            "relative": "decoder.block.0.layer.0.SelfAttention.relative_attention_bias",
            "encoder.norm": "encoder.final_layer_norm",
            "norm": "decoder.final_layer_norm",
            "head": "lm_head",
        },
        copies=dict.fromkeys(copies, "embed.weight"),
        to_config=to_config,
        from_config=from_config,
        matches=lambda config: _is_gated(config) == (family == "t5v11"),
    )


T5 = _layout("t5", {"up": "wi", "down": "wo"})
T5V11 = _layout("t5v11", {"gate": "wi_0", "up": "wi_1", "down": "wo"})
MT5 = replace(
    T5V11,
    model_type="mt5",
    architecture="MT5ForConditionalGeneration",
    # its output matrix is its own, whatever newer config.json say
    to_config=lambda config: replace(to_config({"feed_forward_proj": "gated-gelu", **config}), tied=False),
    matches=lambda config: True,
)
