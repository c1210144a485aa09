"""Several processes under torchrun: who they are, and sums over them. One process is the same code, alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn

from seodang.errors import UsageError


@dataclass(frozen=True)
class Ranks:
    """This process among its peers."""

    rank: int = 0
    world_size: int = 1

    @property
    def speaks(self) -> bool:
        """Only rank 0 prints, logs and writes."""
        return self.rank == 0

    def sum(self, values: list[float], device: torch.device | str = "cpu") -> list[float]:
        """Element-wise sums over the ranks, in float64."""
        if self.world_size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(tensor)
        return tensor.tolist()

    def sum_gradients(self, model: nn.Module) -> None:
        """Add the gradients of all ranks, in one message."""
        if self.world_size == 1:
            return
        parameters = [p for p in model.parameters() if p.requires_grad]
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
        """Wait for the others."""
        if self.world_size > 1:
            torch.distributed.barrier()


def join_ranks(device: torch.device) -> Ranks:
    """Read torchrun's variables; join the process group when there are peers. Raises UsageError for half of them."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return Ranks()
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
        backend = "nccl" if device.type == "cuda" else "gloo"
        # the others wait while rank 0 encodes a corpus; torchrun, not this clock, ends them when it fails
        torch.distributed.init_process_group(backend, timeout=timedelta(hours=24))
    return Ranks(torch.distributed.get_rank(), world_size)
