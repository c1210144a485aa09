"""One optimiser step: the only backward() of the package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from seodang.objectives.loss import Objective
from seodang.training.parallel import Ranks


@dataclass
class StepResult:
    """What a step saw, summed over micro-batches and ranks."""

    sums: dict[str, float] = field(default_factory=dict)
    """Each term's sum in nats."""
    weights: dict[str, float] = field(default_factory=dict)
    """Each term's weight."""
    loss: float = math.nan
    """Σ coefficient · sum / weight."""
    grad_norm: float = math.nan
    """Norm before clipping."""
    n_tokens: int = 0
    """Token positions computed, padding included."""
    n_bytes: int = 0
    """UTF-8 bytes that the targets stand for."""
    skipped: str = ""
    """Why the weights were left alone, if they were."""

    @property
    def bits_per_byte(self) -> float:
        """The language term in bits per byte of text; nan when the bytes are unknown."""
        nats = self.sums.get("language", math.nan)
        return nats / math.log(2) / self.n_bytes if self.n_bytes else math.nan


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Autocast for a low-precision `dtype`, nothing for float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def train_step(
    model: nn.Module,
    objective: Objective,
    micro_batches: Sequence[Any],
    optimizer: torch.optim.Optimizer,
    *,
    lr: float,
    grad_clip: float,
    device: torch.device,
    dtype: torch.dtype,
    ranks: Ranks | None = None,
    guard: SpikeGuard | None = None,
) -> StepResult:
    """Accumulate gradients over the micro-batches of this rank, add the ranks', clip, update.

    The loss is divided once, by the weights of the whole step, so that how the rows were cut into micro-batches
    and spread over ranks cannot change the result. A step whose loss or gradient is not finite, or which the
    guard calls a spike, changes nothing and says so in `skipped`.
    """
    ranks = ranks or Ranks()
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
    names, weights = _sum_weights(objective, micro_batches, ranks, device)
    sums = dict.fromkeys(names, 0.0)
    coefficients = dict.fromkeys(names, 1.0)
    n_tokens = n_bytes = 0
    for batch in micro_batches:
        batch = batch.to(device)
        with autocast(device, dtype):
            loss = objective(model, batch)
        loss.total(weights).backward()
        for name, term in loss.items():
            sums[name] += float(term.sum.detach())
            coefficients[name] = term.coefficient
        n_tokens += batch.ids.numel()
        n_bytes += batch.n_bytes
    ranks.sum_gradients(model)
    *totals, tokens, size = ranks.sum([*(sums[name] for name in names), n_tokens, n_bytes], device)
    result = StepResult(dict(zip(names, totals, strict=True)), weights, n_tokens=int(tokens), n_bytes=int(size))
    result.loss = sum(coefficients[n] * result.sums[n] / weights[n] for n in names if weights[n] > 0)
    parameters = [p for p in model.parameters() if p.requires_grad]
    result.grad_norm = float(nn.utils.clip_grad_norm_(parameters, grad_clip or math.inf))
    if not (math.isfinite(result.loss) and math.isfinite(result.grad_norm)):
        result.skipped = "not finite"
    elif guard is not None and guard.is_spike(result.loss):
        result.skipped = "spike"
    else:
        optimizer.step()
        if guard is not None:
            guard.remember(result.loss)
    return result


def _sum_weights(
    objective: Objective, micro_batches: Sequence[Any], ranks: Ranks, device: torch.device
) -> tuple[list[str], dict[str, float]]:
    """The names of the terms and their weights over all micro-batches and ranks."""
    weights: dict[str, float] = {}
    for batch in micro_batches:
        for name, weight in objective.weights(batch).items():
            weights[name] = weights.get(name, 0.0) + weight
    names = sorted(weights)
    return names, dict(zip(names, ranks.sum([weights[name] for name in names], device), strict=True))


class SpikeGuard:
    """Calls a step a spike when its loss lies far above the last ones, as OLMo-core's skip-step does.

    "Far" is `sigmas` standard deviations, and at least `floor` nats, above the mean of the last `window` good
    steps. It needs half a window before it says anything.
    """

    def __init__(self, window: int = 128, sigmas: float = 6.0, floor: float = 0.5) -> None:
        self.window, self.sigmas, self.floor = window, sigmas, floor
        self.losses: list[float] = []

    def is_spike(self, loss: float) -> bool:
        """Whether this loss is far above the recent ones."""
        if len(self.losses) < self.window // 2:
            return False
        mean = sum(self.losses) / len(self.losses)
        spread = math.sqrt(sum((x - mean) ** 2 for x in self.losses) / len(self.losses))
        return loss > mean + max(self.sigmas * spread, self.floor)

    def remember(self, loss: float) -> None:
        """Add a good step."""
        self.losses = [*self.losses, loss][-self.window :]
