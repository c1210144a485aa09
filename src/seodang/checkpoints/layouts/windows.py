"""Which layers are local, as config.json lists them: `layer_types`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seodang.checkpoints.layouts.base import choice
from seodang.models.config import ModelConfig

_TYPES = {"full_attention": False, "sliding_attention": True}


def windows_from(config: dict[str, Any], window: int | None, usual: Callable[[int], bool]) -> dict[str, Any]:
    """`window` and `local_layers` of a ModelConfig. usual(layer): whether it is local if `layer_types` is missing."""
    listed = config.get("layer_types")
    if listed is None:
        local = [window is not None and usual(layer) for layer in range(config["num_hidden_layers"])]
    else:
        local = [choice({"layer_types": name}, "layer_types", _TYPES, "full_attention") for name in listed]
    layers = tuple(layer for layer, is_local in enumerate(local) if is_local)
    return {"window": window if layers else None, "local_layers": layers}


def layer_types(config: ModelConfig) -> list[str]:
    """The list for config.json."""
    return [
        "sliding_attention" if layer in config.local_layers else "full_attention" for layer in range(config.n_layers)
    ]
