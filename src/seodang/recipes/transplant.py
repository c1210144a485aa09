"""A part of a trained model's layers in a model whose others are fresh (GPT-1, sec. 5 and fig. 2 left)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from seodang.checkpoints.resolve import Loaded
from seodang.errors import UsageError
from seodang.models.base import Model

_BEHIND = ("norm", "attention", "pooler", "class_layer", "classifier", "sentence")
"""Parts behind the last layer that are no output matrix; attention is textgenrnn's."""


def is_transferred(name: str, n: int, n_layers: int) -> bool:
    """Whether a parameter stays as it was trained when `n` of `n_layers` layers are transferred: the embeddings and the
    output matrix always, layer number i (from 0) if i < n, what reads the last layer's states with all of them."""
    part, _, rest = name.partition(".")
    if part == "layers":
        return int(rest.partition(".")[0]) < n
    return part not in _BEHIND or n == n_layers


@torch.no_grad()
def keep_layers(loaded: Loaded, n: int, seed: int) -> Loaded:
    """The model with its embeddings and its first `n` layers as trained; the others are drawn anew with `seed`.

    The fresh weights of a layer are the same whatever `n` is. Raises UsageError for more layers than there are.
    """
    model, n_layers = loaded.model, len(loaded.model.layers)
    if not 0 <= n <= n_layers:
        raise UsageError(
            f"--transfer-layers {n}",
            f"{loaded.source.name} has {n_layers} layers",
            f"choose 0 (the embeddings alone) to {n_layers}",
        )
    if loaded.weights is None:
        for name, value in _fresh(model, n, n_layers, seed):
            model.get_parameter(name).copy_(value)
        return loaded
    trained = loaded.weights

    def mixed() -> Iterable[tuple[str, Tensor]]:
        yield from ((name, value) for name, value in trained() if is_transferred(name, n, n_layers))
        yield from _fresh(model, n, n_layers, seed)

    return replace(loaded, weights=mixed)


def _fresh(model: Model, n: int, n_layers: int, seed: int) -> Iterable[tuple[str, Tensor]]:
    drawn = model.fresh_weights(torch.Generator().manual_seed(seed))
    return ((name, value) for name, value in drawn if not is_transferred(name, n, n_layers))
