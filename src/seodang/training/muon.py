"""Muon: momentum whose matrix is made orthogonal before it is used (Jordan et al. 2024), on one rank or on many."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from seodang.training.moments import Moments, StatefulOptimizer, local, turn
from seodang.training.parallel import Ranks

Scaling = Literal["original", "match_rms_adamw"]

A, B, C = 3.4445, -4.7750, 2.0315
"""Coefficients of the quintic iteration: as steep at zero as can be while [0, 1] stays near 1 (Jordan et al. 2024)."""

BATCHED = 2**20
"""Matrices of up to so many numbers are worked on together with others of their shape: alone they are mostly calls."""


def orthogonalise(matrix: Tensor, steps: int = 5, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """About U·Vᵀ of matrix = U·S·Vᵀ, (…, rows, columns), in `dtype`: singular values between 0.7 and 1.2 instead of 1.

    X ← A·X + B·(X·Xᵀ)·X + C·(X·Xᵀ)²·X, begun at X / ‖X‖, on the shorter side. Jordan et al. 2024.
    """
    rows, columns = matrix.shape[-2:]
    x = matrix.to(dtype).reshape(-1, rows, columns)
    if rows > columns:
        x = x.mT
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return (x.mT if rows > columns else x).reshape(matrix.shape)


def orthogonalise_each(matrices: Sequence[Tensor], steps: int, dtype: torch.dtype) -> list[Tensor]:
    """`orthogonalise` of each; small ones of one shape, standing or lying, in one go."""
    batches: dict[tuple[int, ...], list[int]] = {}
    for i, matrix in enumerate(matrices):
        shape = (min(matrix.shape), max(matrix.shape)) if matrix.numel() <= BATCHED else (i,)
        batches.setdefault(shape, []).append(i)
    found: dict[int, Tensor] = {}
    for members in batches.values():
        lying = [m if m.shape[0] <= m.shape[1] else m.mT for m in (matrices[i] for i in members)]
        for i, result in zip(members, orthogonalise(torch.stack(lying), steps, dtype), strict=True):
            found[i] = result if matrices[i].shape[0] <= matrices[i].shape[1] else result.mT
    return [found[i] for i in range(len(matrices))]


def update_scale(rows: int, columns: int, scaling: Scaling) -> float:
    """What an orthogonal update is multiplied with.

    original: √max(1, rows / columns), the same spectral effect for all shapes (Jordan et al. 2024).
    match_rms_adamw: 0.2·√max(rows, columns), entries as large as AdamW's updates are in practice, so that its learning
    rate and decay serve (Liu et al. 2025, Moonlight, sec. 2.2).
    """
    if scaling == "original":
        return math.sqrt(max(1.0, rows / columns))
    return 0.2 * math.sqrt(max(rows, columns))


class Muon(StatefulOptimizer):
    """Muon for matrices: decoupled decay, Nesterov momentum, update made orthogonal by five Newton-Schulz steps.

    A group may say `parts`, the numbers of rows of matrices that are stored as one: fused q, k and v. Each is made
    orthogonal by itself, as it is where a family stores them apart: they are three maps, and orthogonal together they
    would have to be orthogonal to each other (Jordan et al. 2024 found it to train better).

    With several ranks each makes a share of the matrices orthogonal, and one message brings the results round. Plain
    parameters (every rank has them and the whole gradient): momentum is kept everywhere, results are gathered. DTensors
    sharded by rows (FSDP2): momentum stays sharded, a matrix's rows are sent to the rank that works on it, and back.
    Sharded any other way, a matrix is put together on every rank. How it is done does not change the result.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]] | Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        steps: int = 5,
        scaling: Scaling = "match_rms_adamw",
        dtype: torch.dtype = torch.bfloat16,
        moments: Moments | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """`dtype` is what Newton-Schulz computes, and ranks exchange, in."""
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov}
        super().__init__(groups, {**defaults, "scaling": scaling, "parts": None})
        self.steps, self.dtype = steps, dtype
        self.moments, self.ranks = moments or Moments(), ranks or Ranks()
        self.turn = 0

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        self.turn = turn(self)
        teams: dict[tuple[Any, ...], Team] = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    team = self._team(parameter)
                    teams.setdefault(team.key, team).add(parameter, group)
        for team in teams.values():
            for (parameter, group), update in zip(team.members, team.updates(self), strict=True):
                weights, lr = local(parameter), group["lr"]
                weights.mul_(1 - lr * group["weight_decay"]).add_(update, alpha=-lr)

    def _team(self, parameter: Tensor) -> Team:
        """Who works on this parameter together."""
        if not hasattr(parameter, "to_local"):
            return Replicated(None, self.ranks.rank, self.ranks.world_size)
        mesh, cut = parameter.device_mesh, []  # type: ignore[attr-defined]
        for dim, placement in enumerate(parameter.placements):  # type: ignore[attr-defined]
            if mesh.size(dim) > 1 and not placement.is_replicate():
                cut.append((dim, placement))
        if not cut:
            return Replicated(None)
        if len(cut) == 1 and cut[0][1].is_shard(0):
            group = mesh.get_group(cut[0][0])
            return Sharded(group, dist.get_rank(group), dist.get_world_size(group))
        return Scattered(None)

    def direction(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """Momentum with this step's gradient in it, of the rows that this rank holds, in `dtype`."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["step"] = torch.zeros(())
            self.moments.create(state, "momentum_buffer", parameter)
        flat, beta = local(gradient).reshape(-1), group["momentum"]
        direction = torch.empty_like(flat, dtype=self.dtype)
        for part in self.moments.parts(parameter):
            momentum = self.moments.read(state, "momentum_buffer", part).lerp_(flat[part], 1 - beta)
            direction[part] = flat[part].lerp(momentum, beta) if group["nesterov"] else momentum
            self.moments.write(state, "momentum_buffer", part, momentum, turn=self.turn)
        state["step"] += 1
        return direction.view_as(local(gradient))

    def orthogonal(self, directions: Sequence[Tensor], groups: Sequence[dict[str, Any]]) -> list[Tensor]:
        """Whole matrices, each of their parts made orthogonal."""
        pieces = [d.split(_parts(d, group)) for d, group in zip(directions, groups, strict=True)]
        flat = [piece for of_one in pieces for piece in of_one]
        made = iter(orthogonalise_each(flat, self.steps, self.dtype))
        return [torch.cat([next(made) for _ in of_one]) for of_one in pieces]


def _parts(matrix: Tensor, group: dict[str, Any]) -> list[int]:
    return list(group["parts"] or (matrix.shape[0],))


def _scaled(update: Tensor, parameter: Tensor, group: dict[str, Any], first: int = 0) -> Tensor:
    """float32 rows of an update, from the matrix's row `first` on, each part's multiplied by its `update_scale`."""
    scaled, start = update.float(), -first
    for rows in _parts(parameter, group):
        here = slice(max(start, 0), max(start + rows, 0))
        scaled[here] *= update_scale(rows, parameter.shape[1], group["scaling"])
        start += rows
    return scaled


@dataclass
class Team:
    """Ranks that hold the same matrices, and the matrices; here one rank, which holds all of each."""

    process_group: Any
    rank: int = 0
    size: int = 1
    members: list[tuple[Tensor, dict[str, Any]]] = field(default_factory=list)

    @property
    def key(self) -> tuple[Any, ...]:
        """Same for parameters that the same ranks share in the same way."""
        return type(self), self.process_group, self.size

    def add(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """One more matrix."""
        self.members.append((parameter, group))

    def updates(self, muon: Muon) -> Iterator[Tensor]:
        """For each member the update of what this rank holds, orthogonal, scaled, float32."""
        raise NotImplementedError

    def owners(self) -> list[int]:
        """For each member the rank that makes it orthogonal: the largest first, to whoever has least to do."""
        work = []
        for parameter, group in self.members:
            columns = parameter.shape[1]
            work.append(sum(rows * columns * min(rows, columns) for rows in _parts(parameter, group)))
        busy, owners = [0] * self.size, [0] * len(work)
        for index in sorted(range(len(work)), key=lambda i: (-work[i], i)):
            owners[index] = busy.index(min(busy))
            busy[owners[index]] += work[index]
        return owners


class Replicated(Team):
    """Every rank holds all of each matrix and its gradient."""

    def updates(self, muon: Muon) -> Iterator[Tensor]:
        groups = [group for _, group in self.members]
        if self.size == 1:
            directions = [muon.direction(parameter, group) for parameter, group in self.members]
            for update, (parameter, group) in zip(muon.orthogonal(directions, groups), self.members, strict=True):
                yield _scaled(update, parameter, group)
            return
        owners = self.owners()
        sizes = [sum(p.numel() for (p, _), o in zip(self.members, owners, strict=True) if o == rank)
                 for rank in range(self.size)]  # fmt: skip
        device = local(self.members[0][0]).device
        mine = torch.zeros(max(sizes), dtype=muon.dtype, device=device)
        # all keep the momentum: any of them can write a checkpoint
        directions = [muon.direction(parameter, group) for parameter, group in self.members]
        own = [i for i, owner in enumerate(owners) if owner == self.rank]
        filled = 0
        for update in muon.orthogonal([directions[i] for i in own], [groups[i] for i in own]):
            mine[filled : filled + update.numel()] = update.reshape(-1)
            filled += update.numel()
        everyone = torch.empty(self.size, max(sizes), dtype=muon.dtype, device=device)
        dist.all_gather(list(everyone), mine, group=self.process_group)
        taken = [0] * self.size
        for (parameter, group), owner in zip(self.members, owners, strict=True):
            start = taken[owner]
            taken[owner] += parameter.numel()
            yield _scaled(everyone[owner, start : taken[owner]].view(parameter.shape), parameter, group)


class Sharded(Team):
    """Every rank holds some rows of each matrix and of its gradient, as FSDP2 cuts them: `torch.chunk`."""

    def rows(self, parameter: Tensor, rank: int) -> tuple[int, int]:
        """The first row that `rank` holds, and the one behind its last."""
        n, each = parameter.shape[0], -(-parameter.shape[0] // self.size)
        return min(rank * each, n), min((rank + 1) * each, n)

    def updates(self, muon: Muon) -> Iterator[Tensor]:
        owners = self.owners()
        directions = [muon.direction(parameter, group) for parameter, group in self.members]
        by_owner = [[i for i, o in enumerate(owners) if o == rank] for rank in range(self.size)]
        mine = by_owner[self.rank]
        shapes = [[self._shape(i, rank) for i in mine] for rank in range(self.size)]
        received = self._exchange([[directions[i] for i in owned] for owned in by_owner], shapes, directions[0])
        back: list[list[Tensor]] = [[] for _ in range(self.size)]
        wholes = [torch.cat([pieces[place] for pieces in received]) for place in range(len(mine))]
        for i, update in zip(mine, muon.orthogonal(wholes, [self.members[i][1] for i in mine]), strict=True):
            for rank in range(self.size):
                back[rank].append(update[slice(*self.rows(self.members[i][0], rank))])
        shapes = [[self._shape(i, self.rank) for i in owned] for owned in by_owner]
        results = self._exchange(back, shapes, directions[0])
        found = {i: update for owned, updates in zip(by_owner, results, strict=True)
                 for i, update in zip(owned, updates, strict=True)}  # fmt: skip
        for i, (parameter, group) in enumerate(self.members):
            yield _scaled(found[i], parameter, group, first=self.rows(parameter, self.rank)[0])

    def _shape(self, member: int, rank: int) -> tuple[int, int]:
        parameter = self.members[member][0]
        first, end = self.rows(parameter, rank)
        return end - first, parameter.shape[1]

    def _exchange(
        self, sent: Sequence[Sequence[Tensor]], shapes: Sequence[Sequence[tuple[int, int]]], like: Tensor
    ) -> list[list[Tensor]]:
        """Send `sent[rank]` to each rank; what each sends here, of `shapes[rank]`. One message, of `like`'s kind."""
        message = torch.cat([like.new_empty(0), *(tensor.reshape(-1) for tensors in sent for tensor in tensors)])
        sizes = [[rows * columns for rows, columns in of_rank] for of_rank in shapes]
        arriving = [sum(of_rank) for of_rank in sizes]
        leaving = [sum(tensor.numel() for tensor in tensors) for tensors in sent]
        arrived = torch.empty(sum(arriving), dtype=like.dtype, device=like.device)
        dist.all_to_all_single(arrived, message, arriving, leaving, group=self.process_group)
        return [
            [piece.view(shape) for piece, shape in zip(block.split(of_rank), of_shape, strict=True)]
            for block, of_rank, of_shape in zip(arrived.split(arriving), sizes, shapes, strict=True)
        ]


class Scattered(Team):
    """Matrices cut by columns, or both ways: every rank puts each together and keeps its own piece of the result."""

    def updates(self, muon: Muon) -> Iterator[Tensor]:
        from torch.distributed.tensor import DTensor, distribute_tensor

        for parameter, group in self.members:
            mesh, placements = parameter.device_mesh, parameter.placements  # type: ignore[attr-defined]
            here = muon.direction(parameter, group)
            whole = DTensor.from_local(here, mesh, placements, shape=parameter.shape, stride=parameter.stride())
            (update,) = muon.orthogonal([whole.full_tensor()], [group])
            update = _scaled(update, parameter, group)
            yield distribute_tensor(update, mesh, placements, src_data_rank=None).to_local()
