"""GPT-3 as `gpt_neo`, the public model of its form: EleutherAI's GPT-Neo alternates full and banded layers too.

GPT-Neo multiplies q·k with nothing where GPT-3 has 1/√d_head, which is therefore folded into the queries' weights here.
Where d_head is no power of 4 that rounds, and a weight comes back within one unit of its last digit.
"""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor

from seodang.checkpoints.layouts.base import ACTIVATIONS, OLDER_NAMES, Layout, check_unset, choice, refuse, setting
from seodang.checkpoints.layouts.gpt1 import check_plain
from seodang.errors import DataError
from seodang.models.config import ModelConfig

_TYPES = {"global": False, "local": True}


def to_config(config: dict[str, Any]) -> ModelConfig:
    """`gpt_neo`'s config.json → ModelConfig."""
    refuse(config, quantization_config=None)
    local = _local_layers(config)
    return ModelConfig(
        family="gpt3",
        vocab_size=setting(config, "vocab_size"),
        context_length=setting(config, "max_position_embeddings"),
        d_model=setting(config, "hidden_size"),
        n_layers=setting(config, "num_layers"),
        n_heads=setting(config, "num_heads"),
        d_ff=config.get("intermediate_size") or 0,
        activation=choice(config, "activation_function", ACTIVATIONS, "gelu_new"),
        norm_eps=config.get("layer_norm_epsilon", 1e-5),
        tied=config.get("tie_word_embeddings", True),
        window=config.get("window_size", 256) if local else None,
        local_layers=local,
        embedding_dropout=config.get("embed_dropout", 0.0),
        attention_dropout=config.get("attention_dropout", 0.0),
        residual_dropout=config.get("resid_dropout", 0.0),
        init_std=config.get("initializer_range", 0.02),
    )


def _local_layers(config: dict[str, Any]) -> tuple[int, ...]:
    """`attention_types` lists stretches of layers, [[pattern, times], …]; without it `attention_layers` counts."""
    stretches = config.get("attention_types") or [[config.get("attention_layers") or ["global", "local"] * 12, 1]]
    names = [name for pattern, times in stretches for _ in range(times) for name in pattern]
    if len(names) != config.get("num_layers"):
        raise DataError(
            f"config.json lists the attention of {len(names)} layers",
            f"num_layers is {config.get('num_layers')}",
            "copy the model's config.json again from where it came",
        )
    return tuple(
        layer for layer, name in enumerate(names) if choice({"attention_types": name}, "attention_types", _TYPES, "")
    )


def from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `gpt_neo`'s config.json. Raises UsageError for sizes that it cannot state."""
    check_plain(config, "gpt_neo")
    check_unset(config, "gpt_neo", "query_scale", "attention_softcap", "logit_softcap")
    names = ["local" if layer in config.local_layers else "global" for layer in range(config.n_layers)]
    count = len(names)
    repeats = next(n for n in range(1, count + 1) if count % n == 0 and names == names[:n] * (count // n))
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.d_model,
        "num_layers": config.n_layers,
        "num_heads": config.n_heads,
        "intermediate_size": config.d_ff,
        "activation_function": OLDER_NAMES[config.activation],
        "layer_norm_epsilon": config.norm_eps,
        "tie_word_embeddings": config.tied,
        "attention_types": [[names[:repeats], count // repeats]],
        "attention_layers": names,
        "window_size": config.window or 256,
        "embed_dropout": config.embedding_dropout,
        "attention_dropout": config.attention_dropout,
        "resid_dropout": config.residual_dropout,
        "initializer_range": config.init_std,
        "use_cache": True,
    }


def incoming(name: str, value: Tensor, config: ModelConfig) -> Tensor:
    """Queries whose scores are divided by √d_head later, in no less than float32."""
    return _times(value, math.sqrt(config.d_head)) if name.endswith("attention.q.weight") else value


def outgoing(name: str, value: Tensor, config: ModelConfig) -> Tensor:
    """Queries whose scores are not."""
    return _times(value, 1 / math.sqrt(config.d_head)) if name.endswith("attention.q.weight") else value


def _times(value: Tensor, factor: float) -> Tensor:
    return value.to(torch.promote_types(value.dtype, torch.float32)) * factor


GPTNEO = Layout(
    model_type="gpt_neo",
    family="gpt3",
    architecture="GPTNeoForCausalLM",
    prefix="transformer.",
    layers="h.{}",
    modules={
        "embed": "wte",
        "positions": "wpe",
        "attention.q": "attn.attention.q_proj",
        "attention.k": "attn.attention.k_proj",
        "attention.v": "attn.attention.v_proj",
        "attention.out": "attn.attention.out_proj",
        "attention_norm": "ln_1",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
        "mlp_norm": "ln_2",
        "norm": "ln_f",
        "head": "lm_head",
    },
    ignored=(re.compile(r"(^|\.)h\.\d+\.attn\.attention\.(bias|masked_bias)$"),),
    to_config=to_config,
    from_config=from_config,
    incoming=incoming,
    outgoing=outgoing,
)
