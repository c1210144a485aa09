"""What an objective carries from step to step, in checkpoints: rows of all processes, in the order of a step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seodang.training.parallel import Ranks

PREFIX = "objective/"


def carried_tensors(objective: Any, ranks: Ranks, device: torch.device) -> dict[str, Tensor]:
    """`objective.state_dict()`, if it has one, under `objective/`; all ranks call it. Of a tensor with dimensions the
    first counts this process's rows: of R shares, share r has rows r, r + R, …; one without is the same everywhere."""
    if not hasattr(objective, "state_dict"):
        return {}
    return {PREFIX + name: _together(value, ranks, device) for name, value in objective.state_dict().items()}


def load_carried(objective: Any, tensors: dict[str, Tensor], ranks: Ranks) -> None:
    """Take what `carried_tensors` gave out of `tensors`, and give this process's rows of it to the objective."""
    found = {name.removeprefix(PREFIX): tensors.pop(name) for name in list(tensors) if name.startswith(PREFIX)}
    if hasattr(objective, "load_state_dict"):
        share, shares = ranks.data_rank, ranks.data_size
        objective.load_state_dict({name: v[share::shares] if v.dim() else v for name, v in found.items()})


def _together(value: Tensor, ranks: Ranks, device: torch.device) -> Tensor:
    if not value.dim() or ranks.world_size == 1:
        return value.cpu()
    n_rows = ranks.most(len(value), device)
    padded = torch.cat((value, value.new_zeros(n_rows - len(value), *value.shape[1:])))
    parts = ranks.gather(padded, device)[:: ranks.tensor_parallel]
    return torch.stack(parts, dim=1).flatten(0, 1)[: int(ranks.sum([len(value)], device)[0])]
