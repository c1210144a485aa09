"""The optimisers, with the parameter groups of the papers, and their states as plain tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seodang.checkpoints.weights import part_like
from seodang.models.layers import Attention
from seodang.training.adamw import SmallAdamW
from seodang.training.moments import Moments, StatefulOptimizer, StateKind
from seodang.training.muon import Muon
from seodang.training.offload import HostOptimizer
from seodang.training.parallel import Ranks

OptimizerKind = Literal["adamw", "muon"]


def build_optimizer(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    kind: OptimizerKind = "adamw",
    muon_lr: float | None = None,
    states: StateKind = "float32",
    dtype: torch.dtype = torch.bfloat16,
    ranks: Ranks | None = None,
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) over the trainable parameters, or Muon for the matrices inside the layers.

    Decay reaches matrices only, embeddings among them: GPT-1 (sec. 4.1) exempts bias and gain weights. Muon leaves
    embeddings, learned positions and the output head to AdamW: their rows stand for tokens and places, one row a
    token's whole update, and are no maps of a space onto itself (Jordan et al. 2024).

    `muon_lr` is the rate of Muon's matrices where `lr` is AdamW's, and the same by default (see `update_scale`).
    `states`: how running means are kept. `dtype`: what Muon computes in. `ranks`: who shares its work.
    """
    matrices = hidden_matrices(model) if kind == "muon" else {}
    rest = [p for p in model.parameters() if p.requires_grad and p not in matrices]
    groups = [
        {"params": [p for p in rest if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    adamw: list[torch.optim.Optimizer] = []  # of what is trained, both kinds may find nothing
    if groups and states == "float32":
        adamw = [torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)]
    elif groups:
        adamw = [SmallAdamW(groups, lr=lr, betas=betas, eps=eps, moments=Moments(states))]
    if not matrices:
        return adamw[0]
    scale = 1.0 if muon_lr is None else muon_lr / lr
    by_parts: dict[tuple[int, ...] | None, list[Tensor]] = {}
    for parameter, parts in matrices.items():
        by_parts.setdefault(parts, []).append(parameter)
    muon = Muon(
        [{"params": found, "parts": parts, "lr_scale": scale} for parts, found in by_parts.items()],
        lr=lr * scale, weight_decay=weight_decay, dtype=dtype, moments=Moments(states), ranks=ranks,
    )  # fmt: skip
    return Together([muon, *adamw])


def hidden_matrices(model: nn.Module) -> dict[Tensor, tuple[int, ...] | None]:
    """The trainable matrices of linear maps inside the layers; for fused q, k and v, how many rows each has."""
    fused: dict[nn.Module, tuple[int, ...]] = {}
    for module in model.modules():
        if isinstance(module, Attention) and module.fused:
            q, kv = module.n_heads, module.n_kv_heads
            each = module.qkv.weight.shape[0] // (q + 2 * kv)
            fused[module.qkv] = (q * each, kv * each, kv * each)
    return {
        module.weight: fused.get(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "layers" in name.split(".") and module.weight.requires_grad
    }


class Together(StatefulOptimizer):
    """Several optimisers as one: their groups in a row, one state."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})
        self._share()

    def _share(self) -> None:
        """The state and the groups of each are this one's."""
        first = 0
        for optimizer in self.optimizers:
            end = first + len(optimizer.param_groups)
            optimizer.param_groups, optimizer.state = self.param_groups[first:end], self.state
            first = end

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)  # makes groups and state anew
        self._share()

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """A step of each."""
        for optimizer in self.optimizers:
            optimizer.step()


def state_bytes(model: nn.Module, kind: OptimizerKind = "adamw", states: StateKind = "float32") -> int:
    """Bytes of the states that the optimiser of `model`, which may be on the meta device, will keep."""
    matrices, moments = hidden_matrices(model) if kind == "muon" else {}, Moments(states)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return sum(
        tensor.numel() * tensor.element_size()
        for parameter in trainable
        for tensor in _fresh_state(parameter, moments, muon=parameter in matrices).values()
    )


def _fresh_state(parameter: Tensor, moments: Moments, *, muon: bool) -> dict[str, Tensor]:
    """The state of a parameter before its first step, without the counter."""
    state: dict[str, Tensor] = {}
    for name in ("momentum_buffer",) if muon else ("exp_avg", "exp_avg_sq"):
        moments.create(state, name, parameter)
    return state


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as plain tensors `<parameter name>/<state name>`, for safetensors."""
    tensors = {}
    if isinstance(optimizer, HostOptimizer):
        model = optimizer.twin
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}/{key}"] = value if isinstance(value, Tensor) else torch.tensor(float(value))
    return tensors


def load_optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`, whole tensors for a model that may be shared out over processes.

    Raises KeyError for a name that no parameter has, or a state of another kind.
    """
    if isinstance(optimizer, HostOptimizer):
        model, optimizer = optimizer.twin, optimizer.inner
    parameters = dict(model.named_parameters())
    for full_name, value in tensors.items():
        name, key = full_name.rsplit("/", 1)
        parameter = parameters[name]  # the fused step wants its counter beside the weights too
        value = value.to(parameter.device)
        optimizer.state[parameter][key] = (part_like(parameter, value) if value.dim() else value).clone()
    for part in getattr(optimizer, "optimizers", (optimizer,)):
        moments, muon = getattr(part, "moments", Moments()), isinstance(part, Muon)
        for parameter in (parameter for group in part.param_groups for parameter in group["params"]):
            loaded = {key: value.dtype for key, value in optimizer.state.get(parameter, {}).items() if key != "step"}
            wanted = {key: value.dtype for key, value in _fresh_state(parameter, moments, muon=muon).items()}
            if loaded and loaded != wanted:
                raise KeyError(", ".join(f"{key} in {str(kind)[6:]}" for key, kind in wanted.items()))
