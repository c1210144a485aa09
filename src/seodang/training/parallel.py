"""Several processes under torchrun: who they are, and sums over them. One process is the same code, alone.

The processes form a grid of named dimensions, `replicate` × `shard` × `tensor`: replicas hold the same weights and see
different rows, shards hold a part of every matrix and see different rows (FSDP), tensor ranks hold a part of every
matrix and see the same rows.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import time
import uuid
import warnings
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from seodang.errors import SeodangError, UsageError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

Shard = Literal["none", "full", "hybrid"]

PATIENCE = timedelta(hours=24)
"""While rank 0 encodes a corpus or writes a checkpoint; torchrun, not this clock, ends the others when it fails."""
TIMEOUT = timedelta(minutes=15)
"""For one exchange of numbers, the first of a compiled model among them: then a peer hangs and the job ends."""

_MEETINGS = itertools.count()  # all ranks meet equally often, so a number names a meeting


@dataclass(frozen=True)
class Ranks:
    """This process among its peers."""

    rank: int = 0
    world_size: int = 1
    shard: Shard = "none"
    tensor_parallel: int = 1
    """Processes that share every matrix, and the rows; neighbours in rank."""
    mesh: DeviceMesh | None = None
    """(replicate, shard, tensor); None for one process."""

    @property
    def speaks(self) -> bool:
        """Only rank 0 prints, logs and writes."""
        return self.rank == 0

    @property
    def data_rank(self) -> int:
        """Which share of the rows is this process's."""
        return self.rank // self.tensor_parallel

    @property
    def data_size(self) -> int:
        """Into how many shares the rows are dealt."""
        return self.world_size // self.tensor_parallel

    @property
    def n_shards(self) -> int:
        """Over how many processes a copy of every (tensor rank's part of a) matrix is spread."""
        return self.mesh["shard"].size() if self.mesh is not None else 1

    @property
    def shards(self) -> bool:
        """Whether no process holds all of the model."""
        return self.shard != "none" or self.tensor_parallel > 1

    def sum(self, values: list[float], device: torch.device | str = "cpu") -> list[float]:
        """Element-wise sums over the shares of the rows, in float64."""
        if self.world_size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(tensor)  # tensor ranks have the same rows, and the same sums of them
        return (tensor / self.tensor_parallel).tolist()

    def most(self, value: int, device: torch.device | str = "cpu") -> int:
        """The largest value of all ranks."""
        if self.world_size == 1:
            return value
        tensor = torch.tensor(value, device=device)
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
        return int(tensor)

    def sum_gradients(self, model: nn.Module) -> None:
        """Add the gradients of all ranks. A parameter without one on any rank keeps none: the optimiser would decay it
        for a gradient of 0. Of a shared-out model the backward pass has done it."""
        if self.world_size == 1 or self.shards:
            return
        parameters = [p for p in model.parameters() if p.requires_grad]
        used = torch.tensor([int(p.grad is not None) for p in parameters], device=parameters[0].device)
        torch.distributed.all_reduce(used, torch.distributed.ReduceOp.MAX)
        parameters = [p for p, by_some in zip(parameters, used.tolist(), strict=True) if by_some]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def gather(self, values: Tensor, device: torch.device | str = "cpu") -> list[Tensor]:
        """The tensor of every rank, all of one shape, on the CPU."""
        if self.world_size == 1:
            return [values]
        mine = values.to(device)
        parts = [torch.empty_like(mine) for _ in range(self.world_size)]
        torch.distributed.all_gather(parts, mine)
        return [part.cpu() for part in parts]

    def barrier(self) -> None:
        """Wait for the others, patiently."""
        if self.world_size == 1:
            return
        store, key = _store(), f"seodang/barrier/{next(_MEETINGS)}"
        if store.add(key, 1) == self.world_size:
            store.set(f"{key}/open", "")
        store.wait([f"{key}/open"], PATIENCE)

    def tell(self, value: str) -> str:
        """Rank 0's `value`, on every rank; the others wait for it patiently."""
        if self.world_size == 1:
            return value
        store, key = _store(), f"seodang/told/{next(_MEETINGS)}"
        if self.speaks:
            store.set(key, value)
        store.wait([key], PATIENCE)
        return store.get(key).decode("utf-8")


def join_ranks(
    device: torch.device, shard: Shard = "none", shard_size: int | None = None, tensor_parallel: int = 1
) -> Ranks:
    """Read torchrun's variables; join the process group when there are peers.

    `shard_size` processes share a copy of the weights under `hybrid`, those of one machine by default.
    Raises UsageError for half of torchrun's variables, and for a grid that the processes do not fill.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return Ranks()
    sizes = grid(world_size, shard, shard_size, tensor_parallel)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what NCCL and everything that names no number use
    if not torch.distributed.is_initialized():
        missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if missing:
            raise UsageError(
                f"WORLD_SIZE is {world_size}, but {', '.join(missing)} is not set",
                "the processes cannot find one another",
                "start them with torchrun, or unset WORLD_SIZE",
            )
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        kept, rank, _ = next(iter(torch.distributed.rendezvous("env://", timeout=TIMEOUT)))
        store = attempt_store(kept, rank, world_size)
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=TIMEOUT)
    rank = torch.distributed.get_rank()
    if rank > 0:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
    mesh = torch.distributed.init_device_mesh(device.type, sizes, mesh_dim_names=("replicate", "shard", "tensor"))
    return Ranks(rank, world_size, shard, tensor_parallel, mesh)


def attempt_store(store: torch.distributed.Store, rank: int, world_size: int) -> torch.distributed.Store:
    """A store of this attempt alone, in one that torchrun keeps from attempt to attempt with all that is in it.

    A process that read the addresses of an earlier attempt would look for the dead. The count of restarts in the
    environment cannot name the attempt, since every machine counts its own. So rank 0 makes a name up, and tells it in
    answer to a word that the asking process has just made up: whoever has an answer has it from a living process.
    """
    store.set_timeout(TIMEOUT)
    if rank > 0:
        word = uuid.uuid4().hex
        store.set(f"seodang/asks/{rank}", word)
        name = store.get(f"seodang/answers/{word}").decode()  # waits for it
        store.set(f"seodang/knows/{name}/{rank}", "")
    else:
        name, unanswered = uuid.uuid4().hex, set(range(1, world_size))
        deadline = time.monotonic() + TIMEOUT.total_seconds()
        while unanswered:
            for asking in [f"seodang/asks/{other}" for other in unanswered]:
                if store.check([asking]):  # perhaps a dead one's
                    store.set(f"seodang/answers/{store.get(asking).decode()}", name)
            unanswered = {other for other in unanswered if not store.check([f"seodang/knows/{name}/{other}"])}
            if time.monotonic() > deadline:
                raise SeodangError(
                    f"{len(unanswered)} of {world_size} processes have not come",
                    f"the first of them is rank {min(unanswered)}",
                    "look for its own message",
                )
            time.sleep(0.01)
    return torch.distributed.PrefixStore(f"seodang/{name}", store)


def grid(world_size: int, shard: Shard, shard_size: int | None, tensor_parallel: int) -> tuple[int, int, int]:
    """(replicas, shards, tensor ranks) of so many processes. Raises UsageError when they do not fill it."""
    if world_size % tensor_parallel:
        raise UsageError(
            f"--tensor-parallel {tensor_parallel}", f"it does not divide {world_size} processes", "choose a divisor"
        )
    copies = world_size // tensor_parallel
    if shard == "none":
        return copies, 1, tensor_parallel
    if shard == "full":
        return 1, copies, tensor_parallel
    size = shard_size or max(1, int(os.environ.get("LOCAL_WORLD_SIZE", copies)) // tensor_parallel)
    if copies % size:
        raise UsageError(
            f"--shard hybrid in groups of {size}", f"{copies} processes cannot be dealt into them", "set --shard-size"
        )
    return copies // size, size, tensor_parallel


def lost_peer(error: Exception) -> SeodangError | None:
    """What to say when `error` means that another process has gone; None for any other error."""
    distributed = isinstance(error, torch.distributed.DistError)
    if not distributed and not any(word in str(error).lower() for word in ("gloo", "nccl", "connection")):
        return None
    fix = "look for its own message; then start the same command with --resume (torchrun --max-restarts N does it)"
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) < int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")):
        fix = "torchrun starts all processes again, from the last checkpoint"
    return SeodangError("another process of this job is gone", str(error).splitlines()[0][:200], fix)


def restarted(job: str) -> bool:
    """Whether torchrun has started its processes again after an attempt that came as far as `begin(job)`.

    That it has started them again is not enough to know: the first attempt may have refused the job.
    """
    store = _kept_store()
    return store is not None and store.check([f"seodang/begun/{job}"])


def begin(job: str) -> None:
    """Let the attempts that may follow know that this one has begun `job`."""
    store = _kept_store()
    if store is not None:
        store.set(f"seodang/begun/{job}", "")


def _kept_store() -> torch.distributed.Store | None:
    """The store in which torchrun keeps everything from attempt to attempt; None without torchrun."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    return next(iter(torch.distributed.rendezvous("env://", timeout=TIMEOUT)))[0]


def report_failure(message: str, exit_code: int) -> tuple[bool, int]:
    """Whether this process is the one, of those that fail, to say why; and the exit code of all of them.

    The first one to fail speaks: what the others see, a peer that has gone, is its consequence. torchrun is given the
    message too, for its own summary.
    """
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file:
        stamp = {"py_callstack": message, "timestamp": str(int(time.time()))}
        Path(file).write_text(json.dumps({"message": {"message": message, "extraInfo": stamp}}), encoding="utf-8")
    if not torch.distributed.is_initialized():  # all have the same command, and the same fault in it
        return os.environ.get("RANK", "0") == "0", exit_code
    try:
        store = _store()
        if store.add("seodang/failed", 1) == 1:
            store.set("seodang/exit_code", str(exit_code))
            return True, exit_code
        store.wait(["seodang/exit_code"], timedelta(seconds=5))
        return False, int(store.get("seodang/exit_code"))
    except RuntimeError:  # whoever kept the store has gone
        return False, exit_code


def _store() -> torch.distributed.Store:
    return torch.distributed.distributed_c10d._get_default_store()
