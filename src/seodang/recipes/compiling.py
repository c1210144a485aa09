"""torch.compile: when it repays its time, and what happens where it does not work."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import torch

from seodang.models.base import Model
from seodang.models.config import ModelConfig
from seodang.models.families import FAMILIES
from seodang.planning.machine import cpp_compiler
from seodang.recipes.plan import Machine, say
from seodang.training.freeze import computing
from seodang.training.sharding import reshard
from seodang.training.step import autocast

REPAYS_SECONDS = 900
"""A run of this length gets its compiling back: half a minute on a CPU, for 0 to 20 % more tokens a second."""


def compiling_repays(model: ModelConfig, plan: dict[str, Any], machine: Machine) -> bool:
    """Whether a run of fixed shapes is sure to be faster in all when its model is compiled first.

    Not for a model in shards; not for a recurrent one, whose kernels are fused already and are never compiled; and not
    on a CPU with dropout: torch's compiled random numbers are slower than ours (docs/performance.md).
    """
    if FAMILIES[model.family].recurrent:
        return False
    seconds = min(plan["seconds"] or math.inf, plan.get("estimated_seconds") or math.inf)
    if machine.ranks.shards or not REPAYS_SECONDS <= seconds < math.inf:
        return False
    if machine.device.type == "cuda":
        return find_spec("triton") is not None
    drops = max(model.embedding_dropout, model.attention_dropout, model.residual_dropout) > 0
    return machine.device.type == "cpu" and cpp_compiler() is not None and not drops


def compiled(model: Model, shape: tuple[int, int], machine: Machine) -> Model:
    """`model` with both its passes compiled, or as it is, with a remark, where no compiler works.

    What is compiled is a batch of `shape` (rows, tokens), the one that training will use: if a pass does not compile,
    that shows before the first step.
    """
    try:
        model.compile(dynamic=False)
        probe = torch.zeros(shape, dtype=torch.long, device=model.embed.weight.device)
        both = not machine.ranks.shards  # the gradients of shards are messages between the ranks
        with torch.set_grad_enabled(both), computing(model), autocast(machine.device, machine.dtype):
            hidden = model(probe)
        if both:
            trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
            torch.autograd.grad(hidden.float().sum(), trained, allow_unused=True)
    except Exception as error:  # whatever breaks in a compiler, training can go on without it
        say(f"note: torch.compile does not work here ({type(error).__name__}); going on without it")
        model._compiled_call_impl = None
    if machine.ranks.shards:
        reshard(model)  # the optimiser is built for the parts
    return model
