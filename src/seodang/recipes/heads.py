"""The heads that a task needs and a folder may lack: fresh ones, said aloud."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from seodang.checkpoints.resolve import Loaded
from seodang.errors import UsageError
from seodang.models.electra import Electra
from seodang.models.encoder import Encoder
from seodang.models.families import with_heads
from seodang.recipes.config import PretrainingTask
from seodang.recipes.plan import say

HEADS: dict[str, tuple[str, ...]] = {
    "masked": ("masked",),
    "next-sentence": ("pooler", "masked", "sentence"),
    "sentence-order": ("pooler", "masked", "sentence"),
    "replaced": ("replaced",),
}
"""What each task reads of an encoder."""


def with_heads_for(task: PretrainingTask, loaded: Loaded, seed: int) -> Loaded:
    """The model with the heads of `task`; those that it lacks are drawn with `seed`, and a remark says so.

    Raises UsageError for a discriminator without its generator.
    """
    model = loaded.model
    if not isinstance(model, Encoder):
        return loaded
    if task == "replaced" and isinstance(model, Electra) and model.generator is None:
        raise UsageError(
            f"{loaded.source.name} has no generator",
            "a fresh one would replace tokens that the trained discriminator finds without learning anything",
            "put the generator's folder into it, under the name generator, or train a size from scratch",
        )
    lacking = [head for head in HEADS[task] if not model.has(head)]
    if not lacking:
        return loaded
    grown, fresh = with_heads(model, lacking, torch.Generator().manual_seed(seed))
    say(f"note: {loaded.source.name} has no {' and no '.join(lacking)} head; fresh: {', '.join(fresh)}")
    old = loaded.weights
    if old is None:
        return replace(loaded, model=grown)

    def weights() -> Iterable[tuple[str, Tensor]]:
        yield from old()
        generator = torch.Generator().manual_seed(seed)
        for name in fresh:
            value = torch.empty(grown.get_parameter(name).shape)
            grown.init_parameter(name, value, generator, False)
            yield name, value

    return replace(loaded, model=grown, weights=weights)
