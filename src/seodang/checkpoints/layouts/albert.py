"""ALBERT as `albert`: one group of layers with one layer in it, AlbertForPreTraining's names or a part of them."""

from __future__ import annotations

import re
from typing import Any

from seodang.checkpoints.layouts.base import Layout, refuse
from seodang.checkpoints.layouts.bert import BUFFERS, EMBEDDINGS, shared_keys, shared_settings
from seodang.models.config import ModelConfig

CLASSES = {
    "AlbertForPreTraining": ("pooler", "masked", "sentence"),
    "AlbertForMaskedLM": ("masked",),
    "AlbertModel": ("pooler",),
}


def to_config(config: dict[str, Any]) -> ModelConfig:
    """`albert`'s config.json → ModelConfig."""
    refuse(config, num_hidden_groups=1, inner_group_num=1)
    defaults = {"hidden_act": "gelu_new", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    settings = shared_settings({**defaults, **config}, CLASSES)
    return ModelConfig(family="albert", **settings, d_embed=config.get("embedding_size", 128))


def from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `albert`'s config.json. Raises UsageError for what it cannot state."""
    groups = {"num_hidden_groups": 1, "inner_group_num": 1}
    return {**shared_keys(config, "albert", CLASSES), **groups, "embedding_size": config.d_embed or config.d_model}


_MODULES = {
    **EMBEDDINGS,
    "project": "encoder.embedding_hidden_mapping_in",
    "attention.q": "attention.query",
    "attention.k": "attention.key",
    "attention.v": "attention.value",
    "attention.out": "attention.dense",
    "attention_norm": "attention.LayerNorm",
    "mlp.up": "ffn",
    "mlp.down": "ffn_output",
    "mlp_norm": "full_layer_layer_norm",
    "pooler": "pooler",
    "transform": "predictions.dense",
    "transform_norm": "predictions.LayerNorm",
    "token_bias": "predictions.bias",
    "head": "predictions.decoder",
    "sentence": "sop_classifier.classifier",
}
_UNTIED = {
    "modules": {**_MODULES, "token_bias": "predictions.decoder.bias"},
    "ignored": (BUFFERS, re.compile(r"^predictions\.bias$")),
    "doubles": {"predictions.bias": "token_bias"},
}

ALBERT = Layout(
    model_type="albert",
    family="albert",
    architecture="AlbertForPreTraining",
    prefix="albert.",
    classifier={"classifier": "classifier"},
    choice_architecture="AlbertForMultipleChoice",
    class_dropout="classifier_dropout_prob",
    layers="encoder.albert_layer_groups.{}.albert_layers.0",
    modules=_MODULES,
    ignored=(BUFFERS,),
    unprefixed=("predictions.", "sop_classifier."),
    copies={"predictions.decoder.weight": "embed.weight", "predictions.decoder.bias": "token_bias"},
    heads={"pooler": "albert.pooler.", "masked": "predictions.", "sentence": "sop_classifier."},
    untied=_UNTIED,
    to_config=to_config,
    from_config=from_config,
)
