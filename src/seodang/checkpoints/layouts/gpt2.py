"""GPT-2 as `gpt2`: Conv1D weights kept as (in, out), a norm before each part and one at the end."""

from __future__ import annotations

import re
from typing import Any

from seodang.checkpoints.layouts.base import Layout, choice, refuse, setting
from seodang.checkpoints.layouts.gpt1 import CONV1D, check_plain
from seodang.models.config import ModelConfig

_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
_NAMES = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu", "silu": "silu"}


def to_config(config: dict[str, Any]) -> ModelConfig:
    """`gpt2`'s config.json → ModelConfig."""
    refuse(
        config,
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
        add_cross_attention=False,
        quantization_config=None,
    )
    return ModelConfig(
        family="gpt2",
        vocab_size=setting(config, "vocab_size"),
        context_length=setting(config, "n_positions"),
        d_model=setting(config, "n_embd"),
        n_layers=setting(config, "n_layer"),
        n_heads=setting(config, "n_head"),
        d_ff=config.get("n_inner") or 0,
        activation=choice(config, "activation_function", _ACTIVATIONS, "gelu_new"),
        norm_eps=config.get("layer_norm_epsilon", 1e-5),
        tied=config.get("tie_word_embeddings", True),
        embedding_dropout=config.get("embd_pdrop", 0.1),
        attention_dropout=config.get("attn_pdrop", 0.1),
        residual_dropout=config.get("resid_pdrop", 0.1),
        init_std=config.get("initializer_range", 0.02),
    )


def from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `gpt2`'s config.json. Raises UsageError for sizes that it cannot state."""
    check_plain(config, "gpt2")
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_ctx": config.context_length,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "activation_function": _NAMES[config.activation],
        "layer_norm_epsilon": config.norm_eps,
        "embd_pdrop": config.embedding_dropout,
        "attn_pdrop": config.attention_dropout,
        "resid_pdrop": config.residual_dropout,
        "initializer_range": config.init_std,
        "scale_attn_weights": True,
        "tie_word_embeddings": config.tied,
        "use_cache": True,
    }


GPT2 = Layout(
    model_type="gpt2",
    family="gpt2",
    architecture="GPT2LMHeadModel",
    prefix="transformer.",
    layers="h.{}",
    modules={
        "embed": "wte",
        "positions": "wpe",
        "attention.qkv": "attn.c_attn",
        "attention.out": "attn.c_proj",
        "attention_norm": "ln_1",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
        "mlp_norm": "ln_2",
        "norm": "ln_f",
        "head": "lm_head",
    },
    transposed=CONV1D,
    ignored=(re.compile(r"(^|\.)h\.\d+\.attn\.(bias|masked_bias)$"),),
    to_config=to_config,
    from_config=from_config,
)
