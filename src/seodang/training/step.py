"""One optimiser step: the only backward() of the package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.profiler import record_function

from seodang.objectives.loss import Loss, Objective
from seodang.training.out_of_memory import (
    any_rank_ran_out,
    first_line,
    give_memory_back,
    halved,
    is_out_of_memory,
    most_rows,
    random_state,
    set_random_state,
)
from seodang.training.parallel import Ranks
from seodang.training.sharding import clip_gradients, set_last_micro_batch


@dataclass
class StepResult:
    """What a step (or an evaluation) saw, summed over micro-batches and ranks."""

    sums: dict[str, float] = field(default_factory=dict)
    """Each term's sum in nats."""
    weights: dict[str, float] = field(default_factory=dict)
    """Each term's weight."""
    coefficients: dict[str, float] = field(default_factory=dict)
    n_tokens: int = 0
    """Tokens computed; padding is not counted."""
    n_bytes: int = 0
    """UTF-8 bytes that the targets stand for."""
    grad_norm: float = math.nan
    """Norm before clipping."""
    skipped: str = ""
    """Why the weights were left alone, if they were."""
    micro_rows: int = 0
    """Rows of the largest micro-batch: fewer than was asked for where memory ran out."""

    def add(self, loss: Loss, batch: Any, counts: bool = True) -> None:
        """Count a micro-batch in; one that does not count only leaves its names."""
        for name, term in loss.items():
            self.sums[name] = self.sums.get(name, 0.0) + (float(term.sum.detach()) if counts else 0.0)
            self.weights[name] = self.weights.get(name, 0.0) + (term.weight if counts else 0.0)
            self.coefficients[name] = term.coefficient
        self.n_tokens += batch.n_tokens if counts else 0
        self.n_bytes += batch.n_bytes if counts else 0

    def add_ranks(self, ranks: Ranks, device: torch.device) -> None:
        """Count the other ranks in."""
        names = sorted(self.sums)
        mine = [*(self.sums[n] for n in names), *(self.weights[n] for n in names), self.n_tokens, self.n_bytes]
        total = ranks.sum(mine, device)
        self.sums = dict(zip(names, total, strict=False))
        self.weights = dict(zip(names, total[len(names) :], strict=False))
        self.n_tokens, self.n_bytes = int(total[-2]), int(total[-1])

    def mean(self, name: str) -> float:
        """A term's sum over its weight; 0 for an empty one."""
        return self.sums[name] / self.weights[name] if self.weights[name] else 0.0

    @property
    def loss(self) -> float:
        """Σ coefficient · sum / weight."""
        return sum(self.coefficients[name] * self.mean(name) for name in self.sums)

    @property
    def parts(self) -> dict[str, float]:
        """The mean of each term as NAME_loss, where there are several or it is not one of tokens as they are, and what
        was measured beside the loss."""
        terms = [name for name, coefficient in self.coefficients.items() if coefficient]
        named = len(terms) > 1 or bool({"smoothed", "task"} & set(terms))
        losses = {f"{name}_loss": self.mean(name) for name in terms} if named else {}
        return losses | {name: self.mean(name) for name in self.sums if name not in terms}

    @property
    def bits_per_byte(self) -> float:
        """The language term in bits per byte of text; nan when the bytes are unknown."""
        nats = self.sums.get("language", math.nan)
        return nats / math.log(2) / self.n_bytes if self.n_bytes else math.nan


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Autocast for a low-precision `dtype`, nothing for float32."""
    # no cache: a step uses each weight once, and the cache would hold every cast copy to the end of the forward pass
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype, cache_enabled=False)


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

    When memory runs out on any rank, all of them halve their micro-batches and do the step again from its
    beginning, random state included: the result is that of a run that had the smaller micro-batches all along.
    Raises FitError when micro-batches of one row do not fit.
    """
    ranks = ranks or Ranks()
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
    weights = _sum_weights(objective, micro_batches, ranks, device)
    random = random_state(device)
    optimizer.zero_grad(set_to_none=True)
    while True:
        result, failure = _accumulate(model, objective, micro_batches, weights, device, dtype, ranks)
        if not any_rank_ran_out(failure, result.micro_rows, ranks, device):
            break
        optimizer.zero_grad(set_to_none=True)
        give_memory_back(device)
        set_random_state(random, device)
        micro_batches = halved(micro_batches)
    with record_function("gradients of the ranks"):
        ranks.sum_gradients(model)
        result.add_ranks(ranks, device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    with record_function("clip"):
        result.grad_norm = clip_gradients(parameters, grad_clip or math.inf)
    if not (math.isfinite(result.loss) and math.isfinite(result.grad_norm)):
        result.skipped = "not finite"
    elif guard is not None and guard.is_spike(result.loss):
        result.skipped = "spike"
    else:
        with record_function("optimiser"):
            optimizer.step()
        if guard is not None:
            guard.remember(result.loss)
    return result


def _accumulate(
    model: nn.Module,
    objective: Objective,
    micro_batches: Sequence[Any],
    weights: dict[str, float],
    device: torch.device,
    dtype: torch.dtype,
    ranks: Ranks,
) -> tuple[StepResult, str]:
    """Gradients of all micro-batches, and what was seen; or how far it came, and what memory ran out with."""
    result = StepResult(micro_rows=most_rows(micro_batches))
    rounds = ranks.most(len(micro_batches), device)
    try:
        for number in range(rounds):
            # ranks that share a model out meet in every pass: one with fewer repeats its last, for nothing
            counts = number < len(micro_batches)
            batch = micro_batches[number if counts else -1]
            if ranks.shards:
                set_last_micro_batch(model, number == rounds - 1)
            with record_function("forward"), autocast(device, dtype):
                loss = objective(model, batch.to(device))
            with record_function("backward"):
                (loss.total(weights) * (1 if counts else 0)).backward()
            result.add(loss, batch, counts)
    except (RuntimeError, MemoryError) as error:
        if ranks.shards or not is_out_of_memory(error):  # the others wait in the middle of a pass: there is no way back
            raise
        return result, first_line(error)  # the error itself would hold the tensors of its frames
    return result, ""


@torch.no_grad()
def evaluate(
    model: nn.Module,
    objective: Objective,
    batches: Sequence[Any],
    device: torch.device,
    dtype: torch.dtype,
    ranks: Ranks | None = None,
) -> StepResult:
    """What the objective says of `batches`, dealt to the ranks; nothing learned. Batches of streams, each of which
    goes on from the one before, are read by every rank and counted by one. Where memory runs out the rest goes on with
    half the rows at a time; `micro_rows` is what worked. Raises FitError when a single row does not fit.
    """
    ranks = ranks or Ranks()
    streams = any(getattr(batch, "stream", None) is not None for batch in batches)
    share, shares = (0, 1) if streams else (ranks.data_rank, ranks.data_size)
    counts = not streams or ranks.data_rank == 0
    result, waiting = StepResult(micro_rows=most_rows(batches)), list(batches[share::shares])
    spare = [] if len(waiting) == -(-len(batches) // shares) else [batches[0]]  # all ranks meet equally often
    while waiting:
        failure = ""
        try:
            with autocast(device, dtype):
                loss = objective(model, waiting[0].to(device))
            result.add(loss, waiting.pop(0), counts)
        except (RuntimeError, MemoryError) as error:
            if ranks.shards or not is_out_of_memory(error):
                raise
            failure = first_line(error)
        if any_rank_ran_out(failure, most_rows(waiting), Ranks(), device):
            give_memory_back(device)
            waiting = halved(waiting)
            result.micro_rows = most_rows(waiting)
    for batch in spare:
        batch = batch.split(result.micro_rows)[0]
        with autocast(device, dtype):
            result.add(objective(model, batch.to(device)), batch, counts=False)
    result.add_ranks(ranks, device)
    result.micro_rows = -ranks.most(-result.micro_rows, device)
    return result


def _sum_weights(
    objective: Objective, micro_batches: Sequence[Any], ranks: Ranks, device: torch.device
) -> dict[str, float]:
    """The weight of each term over all micro-batches and ranks."""
    weights: dict[str, float] = {}
    for batch in micro_batches:
        for name, weight in objective.weights(batch).items():
            weights[name] = weights.get(name, 0.0) + weight
    names = sorted(weights)
    return dict(zip(names, ranks.sum([weights[name] for name in names], device), strict=True))


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
