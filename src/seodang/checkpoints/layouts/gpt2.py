"""GPT-2 as `gpt2`: Conv1D weights kept as (in, out), a norm before each part and one at the end."""

from __future__ import annotations

import re
from typing import Any

from seodang.checkpoints.layouts.base import ACTIVATIONS, OLDER_NAMES, Layout, check_unset, choice, refuse
from seodang.checkpoints.layouts.gpt1 import CONV1D, check_plain, shared_keys, shared_settings
from seodang.models.config import ModelConfig


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
        **shared_settings(config),
        d_ff=config.get("n_inner") or 0,
        activation=choice(config, "activation_function", ACTIVATIONS, "gelu_new"),
    )


def from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `gpt2`'s config.json. Raises UsageError for sizes that it cannot state."""
    check_plain(config, "gpt2")
    check_unset(config, "gpt2", "local_layers", "query_scale", "attention_softcap", "logit_softcap")
    return {
        **shared_keys(config),
        "n_inner": config.d_ff,
        "activation_function": OLDER_NAMES[config.activation],
        "scale_attn_weights": True,
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
