"""RoBERTa as `roberta`: BERT's names with another head, and a position table that begins behind the padding id."""

from __future__ import annotations

import re
from typing import Any

from seodang.checkpoints.layouts.base import Layout
from seodang.checkpoints.layouts.bert import (
    BLOCK,
    BUFFERS,
    CLASS_HEAD,
    EMBEDDINGS,
    OLDER,
    shared_keys,
    shared_settings,
)
from seodang.models.config import ModelConfig

CLASSES = {"RobertaForMaskedLM": ("masked",), "RobertaModel": ("pooler",)}


def to_config(config: dict[str, Any]) -> ModelConfig:
    """`roberta`'s config.json → ModelConfig; `max_position_embeddings` counts the rows that are never used."""
    pad_id = config.get("pad_token_id", 1)
    settings = shared_settings(config, CLASSES)
    settings["context_length"] -= pad_id + 1
    return ModelConfig(family="roberta", **settings, pad_id=pad_id)


def from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `roberta`'s config.json. Raises UsageError for what it cannot state."""
    pad_id = config.pad_id or 0
    rows = {"max_position_embeddings": config.context_length + pad_id + 1}
    return {**shared_keys(config, "roberta", CLASSES), **rows, "pad_token_id": pad_id}


_MODULES = {
    **EMBEDDINGS,
    **BLOCK,
    "pooler": "pooler.dense",
    "transform": "lm_head.dense",
    "transform_norm": "lm_head.layer_norm",
    "token_bias": "lm_head.bias",
    "head": "lm_head.decoder",
}
_UNTIED = {
    "modules": {**_MODULES, "token_bias": "lm_head.decoder.bias"},
    "ignored": (BUFFERS, re.compile(r"^lm_head\.bias$")),
    "doubles": {"lm_head.bias": "token_bias"},
}

ROBERTA = Layout(
    model_type="roberta",
    family="roberta",
    architecture="RobertaForMaskedLM",
    prefix="roberta.",
    classifier=CLASS_HEAD,
    class_dropout="classifier_dropout",
    layers="encoder.layer.{}",
    modules=_MODULES,
    ignored=(BUFFERS,),
    copies={"lm_head.decoder.weight": "embed.weight", "lm_head.decoder.bias": "token_bias"},
    older=OLDER,
    heads={"pooler": "roberta.pooler.", "masked": "lm_head."},
    untied=_UNTIED,
    to_config=to_config,
    from_config=from_config,
)
