"""BERT as `bert`: BertForPreTraining's names, of which BertForMaskedLM and BertModel have a part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from seodang.checkpoints.layouts.base import ACTIVATIONS, OLDER_NAMES, Layout, cannot_express, choice, refuse, setting
from seodang.models.config import ModelConfig

CLASSES = {
    "BertForPreTraining": ("pooler", "masked", "sentence"),
    "BertForMaskedLM": ("masked",),
    "BertModel": ("pooler",),
}
"""Which heads each of their classes has."""


def shared_settings(config: dict[str, Any], classes: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """The settings of a ModelConfig that all encoders call by the same keys; heads as `architectures` names them."""
    refuse(
        config,
        position_embedding_type="absolute",
        is_decoder=False,
        add_cross_attention=False,
        quantization_config=None,
    )
    named = [classes[name] for name in config.get("architectures") or () if name in classes]
    return {
        "vocab_size": setting(config, "vocab_size"),
        "context_length": setting(config, "max_position_embeddings"),
        "d_model": setting(config, "hidden_size"),
        "n_layers": setting(config, "num_hidden_layers"),
        "n_heads": setting(config, "num_attention_heads"),
        "d_ff": setting(config, "intermediate_size"),
        "activation": choice(config, "hidden_act", ACTIVATIONS, "gelu"),
        "norm_eps": config.get("layer_norm_eps", 1e-12),
        "tied": config.get("tie_word_embeddings", True),
        "n_segments": config.get("type_vocab_size", 2),
        "heads": named[0] if named else (),
        "embedding_dropout": config.get("hidden_dropout_prob", 0.1),
        "attention_dropout": config.get("attention_probs_dropout_prob", 0.1),
        "residual_dropout": config.get("hidden_dropout_prob", 0.1),
        "init_std": config.get("initializer_range", 0.02),
    }


def shared_keys(config: ModelConfig, model_type: str, classes: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Inverse of `shared_settings`: the class is the first of which the model has all heads, or else the last.

    Raises UsageError for what their encoders cannot state.
    """
    if config.d_head * config.n_heads != config.d_model:
        raise cannot_express(model_type, f"d_head = {config.d_head}", "its heads share the width evenly")
    if config.n_kv_heads != config.n_heads:
        raise cannot_express(model_type, f"n_kv_heads = {config.n_kv_heads}", "it has no grouped queries")
    if not (config.attention_bias and config.mlp_bias):
        raise cannot_express(model_type, "no biases", "its projections always have them")
    if not config.n_segments:
        raise cannot_express(model_type, "no segments", "it always adds the vector of one")
    heads = next(iter(classes.values())) if config.heads is None else config.heads
    has_all = [name for name, needed in classes.items() if set(needed) <= set(heads)]
    return {
        "architectures": [(has_all or list(classes))[0 if has_all else -1]],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "intermediate_size": config.d_ff,
        "hidden_act": OLDER_NAMES[config.activation],
        "layer_norm_eps": config.norm_eps,
        "type_vocab_size": config.n_segments,
        "hidden_dropout_prob": config.residual_dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tied,
    }


def to_config(config: dict[str, Any]) -> ModelConfig:
    """`bert`'s config.json → ModelConfig."""
    return ModelConfig(family="bert", **shared_settings(config, CLASSES))


def from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `bert`'s config.json. Raises UsageError for what it cannot state."""
    return shared_keys(config, "bert", CLASSES)


EMBEDDINGS = {
    "embed": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "segments": "embeddings.token_type_embeddings",
    "embed_norm": "embeddings.LayerNorm",
}
BLOCK = {
    "attention.q": "attention.self.query",
    "attention.k": "attention.self.key",
    "attention.v": "attention.self.value",
    "attention.out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "mlp.up": "intermediate.dense",
    "mlp.down": "output.dense",
    "mlp_norm": "output.LayerNorm",
}
"""The names within a layer that BERT, RoBERTa and ELECTRA share."""
OLDER = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
CLASS_HEAD = {"class_layer": "classifier.dense", "classifier": "classifier.out_proj"}
"""Of RoBERTa and ELECTRA."""
BUFFERS = re.compile(r"(^|\.)embeddings\.(position_ids|token_type_ids)$")

_MODULES = {
    **EMBEDDINGS,
    **BLOCK,
    "pooler": "pooler.dense",
    "transform": "cls.predictions.transform.dense",
    "transform_norm": "cls.predictions.transform.LayerNorm",
    "token_bias": "cls.predictions.bias",
    "head": "cls.predictions.decoder",
    "sentence": "cls.seq_relationship",
}
_UNTIED = {  # the bias that is added is then the output matrix's own, and the other one is read by nobody
    "modules": {**_MODULES, "token_bias": "cls.predictions.decoder.bias"},
    "ignored": (BUFFERS, re.compile(r"^cls\.predictions\.bias$")),
    "doubles": {"cls.predictions.bias": "token_bias"},
}

BERT = Layout(
    model_type="bert",
    family="bert",
    architecture="BertForPreTraining",
    prefix="bert.",
    classifier={"classifier": "classifier"},
    choice_architecture="BertForMultipleChoice",
    class_dropout="classifier_dropout",
    layers="encoder.layer.{}",
    modules=_MODULES,
    ignored=(BUFFERS,),
    unprefixed=("cls.",),
    copies={"cls.predictions.decoder.weight": "embed.weight", "cls.predictions.decoder.bias": "token_bias"},
    older=OLDER,
    heads={"pooler": "bert.pooler.", "masked": "cls.predictions.", "sentence": "cls.seq_relationship."},
    untied=_UNTIED,
    to_config=to_config,
    from_config=from_config,
)
