"""BART as `bart` and the original Transformer as `marian`: an embedding kept once or three times, a logits' bias."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from seodang.checkpoints.layouts.base import Layout, cannot_express, choice, refuse, setting
from seodang.models.config import ModelConfig

_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "relu": "relu", "swish": "silu", "silu": "silu"}
_NAMES = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "swish"}
_EPS = 1e-5
_COPIES = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")


def _to_config(config: dict[str, Any], family: str) -> ModelConfig:
    vocab_size = setting(config, "vocab_size")
    refuse(
        config,
        decoder_attention_heads=setting(config, "encoder_attention_heads"),
        decoder_ffn_dim=setting(config, "encoder_ffn_dim"),
        decoder_vocab_size=vocab_size,
        share_encoder_decoder_embeddings=True,
        scale_embedding=family == "transformer",
        normalize_before=False,
        normalize_embedding=family == "bart",
        add_final_layer_norm=False,
        static_position_embeddings=family == "transformer",
        is_decoder=False,
        quantization_config=None,
    )
    dropout = float(config.get("dropout", 0.1))
    return ModelConfig(
        family=family,
        vocab_size=vocab_size,
        context_length=setting(config, "max_position_embeddings"),
        d_model=setting(config, "d_model"),
        n_encoder_layers=setting(config, "encoder_layers"),
        n_layers=setting(config, "decoder_layers"),
        n_heads=setting(config, "encoder_attention_heads"),
        d_ff=setting(config, "encoder_ffn_dim"),
        activation=choice(config, "activation_function", _ACTIVATIONS, "gelu"),
        tied=bool(config.get("tie_word_embeddings", True)),
        start_id=config.get("decoder_start_token_id"),
        pad_id=config.get("pad_token_id"),
        embedding_dropout=dropout,
        attention_dropout=float(config.get("attention_dropout", 0.0)),
        residual_dropout=dropout,
        init_std=float(config.get("init_std", 0.02)),
    )


def _from_config(config: ModelConfig) -> dict[str, Any]:
    for name, value, why in (
        ("grouped-query attention", config.n_kv_heads != config.n_heads, "it has as many key heads as query heads"),
        ("heads of another width", config.d_head * config.n_heads != config.d_model, "heads share the width"),
        ("no biases", not (config.attention_bias and config.mlp_bias), "it has all of them"),
        (f"norm_eps {config.norm_eps}", config.norm_eps != _EPS, f"it has {_EPS}"),
        ("scaled scores", config.query_scale is not None, "it has 1/√d"),
    ):
        if value:
            raise cannot_express("marian" if config.family == "transformer" else "bart", name, why)
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "d_model": config.d_model,
        **{f"{side}_attention_heads": config.n_heads for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": config.d_ff for side in ("encoder", "decoder")},
        "encoder_layers": config.n_encoder_layers,
        "decoder_layers": config.n_layers,
        "activation_function": _NAMES[config.activation],
        "dropout": config.residual_dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": 0.0,
        "init_std": config.init_std,
        "tie_word_embeddings": config.tied,
        "scale_embedding": config.family == "transformer",
        "decoder_start_token_id": config.start_id,
        "pad_token_id": config.pad_id,
        "forced_eos_token_id": None,
        "is_encoder_decoder": True,
        "use_cache": True,
    }


def _marian(config: ModelConfig) -> dict[str, Any]:
    return {
        **_from_config(config),
        "decoder_vocab_size": config.vocab_size,
        "share_encoder_decoder_embeddings": True,
        "static_position_embeddings": True,
        "normalize_before": False,
        "normalize_embedding": False,
        "add_final_layer_norm": False,
    }


def _attention(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{part}": f"{theirs}.{part}_proj" for part in ("q", "k", "v", "out")}


BART = Layout(
    model_type="bart",
    family="bart",
    architecture="BartForConditionalGeneration",
    prefix="model.",
    layers={"layers": "decoder.layers.{}", "encoder.layers": "encoder.layers.{}"},
    modules={
        "embed": "shared",
        **_attention("attention", "self_attn"),
        **_attention("cross", "encoder_attn"),
        "attention_norm": "self_attn_layer_norm",
        "cross_norm": "encoder_attn_layer_norm",
        "mlp.up": "fc1",
        "mlp.down": "fc2",
        "mlp_norm": "final_layer_norm",
        "encoder.positions": "encoder.embed_positions",
        "encoder.embedding_norm": "encoder.layernorm_embedding",
        "positions": "decoder.embed_positions",
        "embedding_norm": "decoder.layernorm_embedding",
        "logits_bias.weight": "final_logits_bias",
        "head": "lm_head",
    },
    unprefixed=("lm_head", "final_logits_bias"),
    copies=dict.fromkeys((*_COPIES, "lm_head.weight"), "embed.weight"),
    untied={"doubles": dict.fromkeys(_COPIES, "embed.weight")},  # nothing else then says that they are one
    ignored=(re.compile(r"(encoder|decoder)\.version$"),),
    to_config=lambda config: _to_config(config, "bart"),
    from_config=_from_config,
)

MARIAN = replace(
    BART,
    model_type="marian",
    family="transformer",
    architecture="MarianMTModel",
    # its waves, which older publications carry
    ignored=(*BART.ignored, re.compile(r"(encoder|decoder)\.embed_positions\.weight$")),
    to_config=lambda config: _to_config(config, "transformer"),
    from_config=_marian,
)
