"""ELECTRA as `electra`: the discriminator's folder, the generator's, or the first with the second in `generator/`.

config.json then has one key of ours, `generator_share`, which `transformers` keeps and does not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
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
from seodang.checkpoints.tensor_files import read_json
from seodang.errors import DataError
from seodang.models.config import ModelConfig
from seodang.models.electra import generator_config

CLASSES = {"ElectraForPreTraining": ("replaced",), "ElectraForMaskedLM": ("masked",), "ElectraModel": ()}
GENERATOR = "generator/"


def to_config(config: dict[str, Any]) -> ModelConfig:
    """`electra`'s config.json → ModelConfig."""
    settings = shared_settings(config, CLASSES)
    width, share = config.get("embedding_size", 128), config.get("generator_share", 0.0)
    return ModelConfig(family="electra", **settings, d_embed=width, generator_share=share)


def from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → `electra`'s config.json. Raises UsageError for what it cannot state."""
    keys = {**shared_keys(config, "electra", CLASSES), "embedding_size": config.d_embed or config.d_model}
    return {**keys, "generator_share": config.generator_share} if config.generator_share else keys


def share_of(folder: Path, config: ModelConfig) -> float:
    """The share that the generator in `folder`, of whatever origin, is of the discriminator; 0 where there is none.

    Raises DataError for a generator of sizes that do not follow from the discriminator's.
    """
    path = folder / GENERATOR / "config.json"
    if not path.is_file():
        return 0.0
    generator = to_config(read_json(path))
    share = generator.d_model / config.d_model
    found = replace(generator, heads=None).with_dropout(0)
    wanted = replace(generator_config(replace(config, generator_share=share)), heads=None).with_dropout(0)
    if found != wanted:
        keys = [key for key, value in found.to_dict().items() if value != wanted.to_dict()[key]]
        raise DataError(
            f"{path} is of another generator: {', '.join(keys)}",
            "its layers, heads, inner width and vocabulary follow from the discriminator's",
            "put the generator there that was trained with this discriminator",
        )
    return share


def inner_configs(config: ModelConfig) -> Mapping[str, ModelConfig]:
    """The generator's config, where there is one."""
    return {GENERATOR: generator_config(config)} if config.generator_share else {}


_TABLES = {f"electra.{place}.weight": f"{name}.weight" for name, place in EMBEDDINGS.items()}
_TABLES["electra.embeddings.LayerNorm.bias"] = "embed_norm.bias"
_AGAIN = {GENERATOR + key: name for key, name in _TABLES.items()}

ELECTRA = Layout(
    model_type="electra",
    family="electra",
    architecture="ElectraForPreTraining",
    prefix="electra.",
    classifier=CLASS_HEAD,
    class_dropout="classifier_dropout",
    layers={"layers": "encoder.layer.{}"},
    modules={
        **EMBEDDINGS,
        **BLOCK,
        "project": "embeddings_project",
        "transform": "generator_predictions.dense",
        "transform_norm": "generator_predictions.LayerNorm",
        "token_bias": "generator_lm_head.bias",
        "head": "generator_lm_head",
        "replaced_transform": "discriminator_predictions.dense",
        "replaced": "discriminator_predictions.dense_prediction",
    },
    ignored=(BUFFERS,),
    unprefixed=("generator_predictions.", "generator_lm_head.", "discriminator_predictions."),
    copies={
        "generator_lm_head.weight": "embed.weight",
        GENERATOR + "generator_lm_head.weight": "embed.weight",
        **_AGAIN,
    },
    older=OLDER,
    heads={"masked": "generator_", "replaced": "discriminator_predictions."},
    inner={"generator.": GENERATOR},
    inner_configs=inner_configs,
    share_of=share_of,
    doubles=_AGAIN,
    to_config=to_config,
    from_config=from_config,
)
