"""GPT-NeoX as `gpt_neox`: q, k and v in one matrix, head by head; an output matrix called `embed_out`."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from seodang.checkpoints.layouts.base import ACTIVATIONS, Layout, cannot_express, check_unset, choice, refuse, setting
from seodang.checkpoints.layouts.gpt1 import check_heads
from seodang.checkpoints.layouts.llama import NAMES
from seodang.checkpoints.layouts.rope import rope_from, rope_to
from seodang.models.config import ModelConfig


def to_config(config: dict[str, Any]) -> ModelConfig:
    """`gpt_neox`'s config.json → ModelConfig."""
    refuse(config, quantization_config=None)
    theirs = {"rope_theta": config.get("rotary_emb_base"), "partial_rotary_factor": config.get("rotary_pct", 0.25)}
    dropout = config.get("hidden_dropout", 0.0)
    return ModelConfig(
        family="gptneox",
        vocab_size=setting(config, "vocab_size"),
        context_length=setting(config, "max_position_embeddings"),
        d_model=setting(config, "hidden_size"),
        n_layers=setting(config, "num_hidden_layers"),
        n_heads=setting(config, "num_attention_heads"),
        d_ff=setting(config, "intermediate_size"),
        activation=choice(config, "hidden_act", {**ACTIVATIONS, "gelu_fast": "gelu_tanh"}, "gelu"),
        norm_eps=config.get("layer_norm_eps", 1e-5),
        tied=config.get("tie_word_embeddings", False),
        attention_bias=config.get("attention_bias", True),
        parallel_residual=config.get("use_parallel_residual", True),
        rope=rope_from({**config, **theirs}, partial=True),
        embedding_dropout=dropout,
        attention_dropout=config.get("attention_dropout", 0.0),
        residual_dropout=dropout,
        init_std=config.get("initializer_range", 0.02),
    )


def from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `gpt_neox`'s config.json. Raises UsageError for what it cannot state."""
    check_heads(config, "gpt_neox")
    check_unset(config, "gpt_neox", "mlp_bias", "local_layers", "query_scale", "attention_softcap", "logit_softcap")
    if config.rope is None:
        raise cannot_express("gpt_neox", "learned positions", "its positions are rotary")
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "intermediate_size": config.d_ff,
        "hidden_act": NAMES[config.activation],
        "layer_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tied,
        "attention_bias": config.attention_bias,
        "use_parallel_residual": config.parallel_residual,
        "rotary_emb_base": config.rope.theta,
        "rotary_pct": config.rope.share,
        **rope_to(config.rope),
        "hidden_dropout": config.residual_dropout,
        "attention_dropout": config.attention_dropout,
        "initializer_range": config.init_std,
        "use_cache": True,
    }


def incoming(name: str, value: Tensor, config: ModelConfig) -> Tensor:
    """Rows q, k, v of one head after the other → all heads' q, then k, then v."""
    if "attention.qkv." not in name:
        return value
    return value.unflatten(0, (config.n_heads, 3, config.d_head)).transpose(0, 1).flatten(0, 2)


def outgoing(name: str, value: Tensor, config: ModelConfig) -> Tensor:
    """The inverse of `incoming`."""
    if "attention.qkv." not in name:
        return value
    return value.unflatten(0, (3, config.n_heads, config.d_head)).transpose(0, 1).flatten(0, 2)


GPTNEOX = Layout(
    model_type="gpt_neox",
    family="gptneox",
    architecture="GPTNeoXForCausalLM",
    prefix="gpt_neox.",
    layers="layers.{}",
    modules={
        "embed": "embed_in",
        "attention_norm": "input_layernorm",
        "attention.qkv": "attention.query_key_value",
        "attention.out": "attention.dense",
        "mlp_norm": "post_attention_layernorm",
        "mlp.up": "mlp.dense_h_to_4h",
        "mlp.down": "mlp.dense_4h_to_h",
        "norm": "final_layer_norm",
        "head": "embed_out",
    },
    ignored=(re.compile(r"(^|\.)attention\.(bias|masked_bias|rotary_emb\.inv_freq)$"),),
    unprefixed=("embed_out", "lm_head"),
    copies={"embed_out.weight": "embed.weight", "lm_head.weight": "head.weight"},
    to_config=to_config,
    from_config=from_config,
    incoming=incoming,
    outgoing=outgoing,
)
