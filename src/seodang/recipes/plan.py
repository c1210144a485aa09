"""What will happen before it does: machine, lengths, schedule, memory and time of a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from seodang.data.loader import StepLoader
from seodang.errors import FitError, UsageError
from seodang.models.config import ModelConfig
from seodang.models.cost import n_parameters, training_bytes, training_flops_per_token
from seodang.models.families import build_model
from seodang.planning.machine import memory, own_bytes
from seodang.recipes.config import RunConfig
from seodang.recipes.defaults import SMALL, Hyperparameters
from seodang.training.freeze import freeze
from seodang.training.log import duration
from seodang.training.machine import choose_device, choose_dtype, keep_freed_memory, matmul_flops_per_second
from seodang.training.optimizer import state_bytes
from seodang.training.parallel import Ranks, join_ranks
from seodang.training.schedule import Schedule
from seodang.training.trainer import Plan


@dataclass
class Machine:
    """Where a run computes."""

    device: torch.device
    dtype: torch.dtype
    ranks: Ranks

    @classmethod
    def choose(cls, config: RunConfig) -> Machine:
        """From the options and torchrun's variables."""
        keep_freed_memory()
        device = choose_device(config.device)
        ranks = join_ranks(device, config.shard, config.shard_size, config.tensor_parallel)
        if ranks.world_size == 1 and (config.shard != "none" or config.tensor_parallel > 1):
            say("note: --shard and --tensor-parallel have no effect on one process; torchrun starts several")
        return cls(device, choose_dtype(config.dtype, device), ranks)


def sequence_length(config: RunConfig, model: ModelConfig) -> int:
    """Tokens of a training row: --max-length, or the model's context up to 2,048."""
    length = config.max_length or min(model.context_length, 2048)
    if length > model.context_length:
        raise UsageError(
            f"--max-length {length}",
            f"{config.model} has a context of {model.context_length}",
            "use a shorter length, or a model with a longer context",
        )
    return length


def rows_per_forward(
    config: RunConfig, model: ModelConfig, context_length: int, rows_per_step: int, machine: Machine
) -> int:
    """Micro-batch in rows: as asked, or as many tokens as keep the processor busy and the activations small, fewer
    where memory is short: a system that runs out of it ends the process without a word.

    A large model's matrices keep a CPU busy with 2,048 tokens, whose activations then stay below the weights.
    """
    mine = -(-rows_per_step // machine.ranks.data_size)
    if config.micro_batch:
        return min(config.micro_batch, mine)
    tokens = 32768 if machine.device.type == "cuda" else 8192 if n_parameters(model) < SMALL else 2048
    rows, free = max(1, min(mine, tokens // context_length)), free_bytes(machine)
    while rows > 1 and needed_bytes(config, model, rows, context_length, machine) > free:
        rows //= 2
    return rows


def make_plan(config: RunConfig, hyper: Hyperparameters, steps_per_epoch: float, default: dict[str, float]) -> Plan:
    """Lengths, schedule and intervals. `default` is {"epochs": …} or {"minutes": …} when the user gave none."""
    epochs, minutes = config.epochs, config.minutes
    if config.steps is None and epochs is None and minutes is None:
        epochs, minutes = default.get("epochs"), default.get("minutes")
    steps = config.steps if config.steps is not None else max(1, round(epochs * steps_per_epoch)) if epochs else None
    warmup = hyper.warmup if config.warmup is None else config.warmup
    if config.warmup is not None and warmup >= 1 and steps is None:
        say("note: --warmup in steps has no effect on a run by the clock: it warms up for 5 % of the time")
    if warmup >= 1:  # in steps; of a run by the clock nobody knows how many there will be
        warmup = min(warmup / steps, 0.1) if steps and config.warmup is None else warmup / steps if steps else 0.05
    warmup, kind = min(warmup, 1.0), config.schedule or hyper.schedule
    decay_share = Schedule.decay_share if config.decay_share is None else config.decay_share
    if kind == "wsd" and warmup + decay_share > 1 + 1e-9:
        raise UsageError(
            f"--warmup and --decay-share take {warmup + decay_share:.0%} of the run",
            "the decay would begin before the warm-up has ended",
            "make one of them shorter",
        )
    schedule = Schedule(
        kind=kind,
        peak=config.lr or hyper.lr,
        warmup=warmup,
        min_ratio=hyper.min_lr_ratio if config.min_lr_ratio is None else config.min_lr_ratio,
        decay_share=decay_share,
        decay_shape=config.decay_shape or Schedule.decay_shape,
    )
    return Plan(
        schedule=schedule,
        steps=steps,
        seconds=minutes * 60 if minutes else None,
        grad_clip=config.grad_clip,
        save_every=config.save_every,
        eval_every=config.eval_every,
        keep=config.keep,
    )


def with_options(hyper: Hyperparameters, config: RunConfig) -> Hyperparameters:
    """The recipe's optimiser settings where the user named none."""
    decay = hyper.weight_decay if config.weight_decay is None else config.weight_decay
    beta2 = hyper.betas[1] if config.beta2 is None else config.beta2
    return replace(
        hyper,
        weight_decay=decay,
        betas=(hyper.betas[0], beta2),
        optimizer=config.optimizer,
        muon_lr=config.muon_lr,
        optimizer_state=config.optimizer_state,
    )


def describe(
    config: RunConfig,
    model: ModelConfig,
    loader: StepLoader,
    plan: Plan,
    hyper: Hyperparameters,
    machine: Machine,
    micro_rows: int,
) -> dict[str, Any]:
    """What will happen, as numbers; `announce` puts it into words. Raises FitError when memory is too small."""
    needed = require_memory(config, model, micro_rows, loader.context_length, machine)
    flops = training_flops_per_token(model, loader.context_length)
    facts: dict[str, Any] = {
        "parameters": n_parameters(model),
        "vocabulary": model.vocab_size,
        "context_length": loader.context_length,
        "tokens_per_step": loader.tokens_per_step,
        "micro_batch_rows": micro_rows,
        "accumulation": -(-loader.rows_per_step // (micro_rows * machine.ranks.data_size)),
        "steps_per_epoch": loader.steps_per_epoch,
        "steps": plan.steps,
        "seconds": plan.seconds,
        "learning_rate": plan.schedule.peak,
        "schedule": plan.schedule.kind,
        "optimizer": hyper.optimizer,
        "muon_learning_rate": (hyper.muon_lr or plan.schedule.peak) if hyper.optimizer == "muon" else None,
        "optimizer_state": hyper.optimizer_state,
        "weight_decay": hyper.weight_decay,
        "device": str(machine.device),
        "dtype": str(machine.dtype).removeprefix("torch."),
        "processes": machine.ranks.world_size,
        "shards": machine.ranks.n_shards,
        "tensor_parallel": machine.ranks.tensor_parallel,
        "memory_bytes": needed,
        "flops_per_token": flops,
        "matmul_flops_per_second": matmul_flops_per_second(machine.device, machine.dtype),
    }
    if plan.steps is not None:
        rate = facts["matmul_flops_per_second"] * 0.4  # small models reach about this share of the matmul rate
        facts["estimated_seconds"] = plan.steps * loader.tokens_per_step * flops / rate / machine.ranks.world_size
    return facts


def require_memory(config: RunConfig, model: ModelConfig, rows: int, context_length: int, machine: Machine) -> int:
    """About how many bytes training on so many rows at a time will need. Raises FitError when this machine does not
    have them free.
    """
    needed, free = needed_bytes(config, model, rows, context_length, machine), free_bytes(machine)
    if needed > free:
        raise FitError(
            f"training {n_parameters(model):,} parameters needs about {needed / 1e9:.1f} GB",
            f"{free / 1e9:.1f} GB are free",
            "use --checkpoint-activations blocks, or a smaller --model, --micro-batch or --max-length",
        )
    return needed


def frozen_names(config: RunConfig, model: ModelConfig) -> list[str]:
    """The parameters that --freeze names."""
    return freeze(build_model(model, "meta"), config.freeze) if config.freeze else []


def needed_bytes(config: RunConfig, model: ModelConfig, rows: int, context_length: int, machine: Machine) -> int:
    """The estimate of `training_bytes` under the run's options; what is offloaded from a GPU is not counted."""
    meta, on_gpu = build_model(model, "meta"), machine.device.type == "cuda"
    frozen = freeze(meta, config.freeze) if config.freeze else []  # marks them: they have no state
    n_frozen = sum(parameter.numel() for name, parameter in meta.named_parameters() if name in frozen)
    offload = config.offload if on_gpu else "none"
    return training_bytes(
        model,
        rows * context_length,
        low_precision=machine.dtype != torch.float32,
        state_bytes=0 if offload == "optimizer" else state_bytes(meta, config.optimizer, config.optimizer_state),
        context_length=context_length,
        checkpointing="blocks" if offload == "activations" else config.checkpoint_activations,
        on_cpu=not on_gpu,
        shards=machine.ranks.n_shards,
        tensor_parallel=machine.ranks.tensor_parallel,
    ) - 4 * n_frozen // machine.ranks.n_shards  # which have no gradient


def free_bytes(machine: Machine) -> float:
    """Bytes that this process may fill, what it has filled already included; infinity where the machine does not tell.

    The processes of one machine share its memory evenly.
    """
    if machine.device.type == "cuda":
        return torch.cuda.mem_get_info(machine.device)[0] + torch.cuda.memory_reserved(machine.device)
    found = memory()
    if found is None:
        return float("inf")
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if machine.ranks.world_size > 1 else 1
    return found.available_bytes / neighbours + own_bytes()


def announce(facts: dict[str, Any], lines: Sequence[str], config: RunConfig) -> None:
    """Before step 1: what will happen, on stderr."""
    if config.quiet:
        return
    length = f"{facts['steps']:,} steps" if facts["steps"] else ""
    clock = f"{facts['seconds'] / 60:g} minutes" if facts["seconds"] else ""
    estimate = f", about {duration(facts['estimated_seconds'])}" if "estimated_seconds" in facts else ""
    epochs = f" ({facts['steps'] / facts['steps_per_epoch']:.2f} epochs)" if facts["steps"] else ""
    for line in (
        *lines,
        f"model      {config.model}: {facts['parameters']:,} parameters, vocabulary {facts['vocabulary']:,}, "
        f"context {facts['context_length']:,}",
        f"batch      {facts['tokens_per_step']:,} tokens a step: {facts['micro_batch_rows']} rows at a time, "
        f"{facts['accumulation']} times, {facts['processes']} process{'es' if facts['processes'] > 1 else ''}",
        f"length     {' or '.join(part for part in (length, clock) if part)}{epochs}{estimate}",
        f"optimiser  {_optimizer(facts)}, {facts['schedule']} to a peak of {facts['learning_rate']:.2e}, "
        f"weight decay {facts['weight_decay']:g}",
        f"machine    {facts['device']}, {facts['dtype']}, about {facts['memory_bytes'] / 1e9:.2f} GB",
    ):
        say(line)


def _optimizer(facts: dict[str, Any]) -> str:
    muon, states = facts["muon_learning_rate"], facts["optimizer_state"]
    rate = f" at {muon:.2e}" if muon is not None and muon != facts["learning_rate"] else ""
    name = "AdamW" if muon is None else f"Muon{rate} with AdamW"
    return name if states == "float32" else f"{name}, states in {states.replace('8bit', '8 bits')}"


def say(message: str) -> None:
    """Remarks go to stderr; stdout is for results. Of several processes only the first makes any."""
    if os.environ.get("RANK", "0") == "0":
        print(message, file=sys.stderr, flush=True)
