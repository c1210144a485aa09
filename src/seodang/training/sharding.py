"""A model shared out over processes, with PyTorch's own engine: FSDP2 and tensor parallelism on one device mesh.

Sharding happens on the meta device, before there are weights; `checkpoints.weights.fill` then gives every process its
part of each tensor, one tensor at a time, so that no process ever holds the whole model.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from seodang.checkpoints.sharded import MODEL, OPTIMIZER, load_shards, save_shards, stored
from seodang.errors import UsageError
from seodang.files import make_folder
from seodang.models.base import Model
from seodang.models.decoder import Decoder
from seodang.models.layers import Attention
from seodang.training.moments import local
from seodang.training.parallel import Ranks

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def shard_model(model: Model, ranks: Ranks, dtype: torch.dtype = torch.float32) -> None:
    """Share `model`, on the meta device, out over `ranks`, in place. dtype: what its matrices are computed in.

    Weights, gradients and the sums of gradients stay float32. Gradients are added over the processes, never
    averaged: the loss has been divided by the weight of the whole step. Raises UsageError when the model's heads
    cannot be dealt out.
    """
    if ranks.mesh is None or not ranks.shards:
        return
    # half a second to import
    from torch.distributed.fsdp import (
        FSDPModule,
        MixedPrecisionPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )

    if ranks.tensor_parallel > 1:
        _share_matrices(model, ranks.mesh["tensor"])
    mesh = ranks.mesh["shard"] if ranks.mesh["replicate"].size() == 1 else ranks.mesh["replicate", "shard"]
    # The residual stream stays float32, as in one process: nothing that flows in is cast, and autocast casts what is
    # multiplied. A block's weights are gathered in the compute type, at half the traffic; the tables are not.
    compute = MixedPrecisionPolicy(
        param_dtype=None if dtype == torch.float32 else dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    whole = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    encoder = getattr(model, "encoder", None)
    for layer in (*model.layers, *(encoder.layers if encoder is not None else ())):
        if dtype != torch.float32:  # gains of a float32 stream, and no size to speak of
            norms = [module for name, module in layer.named_modules() if name.endswith("norm")]
            fully_shard(norms, mesh=mesh, mp_policy=whole)
        fully_shard(layer, mesh=mesh, mp_policy=compute)
    # An objective reads `output_weight` after the forward pass: the root's weights stay gathered until backward ends.
    fully_shard(model, mesh=mesh, mp_policy=whole, reshard_after_forward=False)
    for name in ("encode", "generator_states"):  # they come before the forward pass, and need the root's weights
        if hasattr(model, name):
            register_fsdp_forward_method(model, name)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows neither averages nor scaled sums


def require_heads(model: Model, tensor_parallel: int) -> None:
    """Raise UsageError unless every process gets whole heads and as many inner numbers as the others."""
    config, option = model.config, f"--tensor-parallel {tensor_parallel}"
    attention = getattr(model.layers[0], "attention", None)
    reason = None
    if not isinstance(model, Decoder) or not isinstance(attention, Attention):
        reason = "only decoders are dealt out by heads"
    elif attention.fused:
        reason = "its q, k and v are one matrix, whose rows cannot be dealt out in equal parts with heads kept whole"
    elif attention.q_norm is not None:
        reason = "all heads share the norm of queries and keys, whose gradient every process would have a part of"
    if reason is not None:
        raise UsageError(
            f"{option} with a model of the family {config.family!r}",
            reason,
            "use --shard full, or a model of the LLaMA layout",
        )
    if config.attention_dropout > 0:
        raise UsageError(
            f"{option} with dropout in attention",
            "processes that draw alike, as the shared residual stream asks, would drop the same in different heads",
            "add --dropout 0",
        )
    for name in ("n_heads", "n_kv_heads", "d_ff"):
        if getattr(config, name) % tensor_parallel:
            raise UsageError(
                option, f"the model has {name} = {getattr(config, name)}, which it does not divide", "choose a divisor"
            )


def _share_matrices(model: Model, mesh: DeviceMesh) -> None:
    """Deal the heads and the MLPs' inner numbers out: matrices into them by rows of the output, matrices out of them
    by columns of the input, so that each pair costs one sum over the processes (Shoeybi et al. 2019, sec. 3)."""
    from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

    require_heads(model, mesh.size())
    for layer in model.layers:
        plan: dict[str, ParallelStyle] = {}
        for name, module in layer.named_modules():
            if isinstance(module, nn.Linear):
                plan[name] = RowwiseParallel() if name in ("attention.out", "mlp.down") else ColwiseParallel()
        parallelize_module(layer, mesh, plan)


def set_last_micro_batch(model: nn.Module, last: bool) -> None:
    """Replicas of a shared-out model add their gradients after the step's last micro-batch only.

    Within a group of shards every micro-batch's gradients are added and shared out at once: kept whole until the
    last one, they would take as much memory as the model on every process.
    """
    from torch.distributed.fsdp import FSDPModule

    assert isinstance(model, FSDPModule)
    model.set_requires_all_reduce(last)


def reshard(model: nn.Module) -> None:
    """Let go of the weights that a forward pass without a backward pass has left gathered."""
    from torch.distributed.fsdp import FSDPModule

    assert isinstance(model, FSDPModule)
    model.reshard()


def not_finite(model: nn.Module) -> list[str]:
    """Names of the parameters of which this process's part holds NaN or infinity."""
    return [name for name, p in model.named_parameters() if not bool(torch.isfinite(local(p)).all())]


def write_shards(run: Path, model: nn.Module, tensors: dict[str, Tensor], ranks: Ranks) -> Path:
    """Write the model and those of `tensors` that are shared out, which are taken out of the dictionary.

    All ranks call it. Returns the folder, beside the checkpoints, where every rank's file lies when all have written;
    they must see the same disk.
    """
    folder = run / "checkpoints" / ".shards"
    if ranks.speaks:
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)
    ranks.barrier()
    shared = {MODEL + name: parameter.detach() for name, parameter in model.named_parameters()}
    for name in [name for name, tensor in tensors.items() if hasattr(tensor, "device_mesh")]:
        shared[OPTIMIZER + name] = tensors.pop(name)
    save_shards(folder, shared)
    return folder


def load_model_shards(folder: Path, model: nn.Module) -> None:
    """Each process's part of the weights of a sharded checkpoint, in place."""
    load_shards(folder, {MODEL + name: parameter.detach() for name, parameter in model.named_parameters()})


def load_optimizer_shards(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Each process's part of the optimiser's state in a sharded checkpoint. Raises KeyError for an unknown name."""
    parameters, found, known = dict(model.named_parameters()), {}, stored(folder)
    for full_name, (shape, dtype) in known.items():
        if full_name.startswith(OPTIMIZER):
            name, key = full_name.removeprefix(OPTIMIZER).rsplit("/", 1)
            parameter = parameters[name]
            state = _empty(shape, dtype, parameter)  # of 8 bits, the scales have another shape than the parameter
            optimizer.state[parameter][key] = found[full_name] = state
    load_shards(folder, found, known)


def _empty(shape: tuple[int, ...], dtype: torch.dtype, like: Tensor) -> Tensor:
    mesh = getattr(like, "device_mesh", None)
    if mesh is None:
        return torch.empty(shape, dtype=dtype, device=like.device)
    from torch.distributed.tensor import DTensor, empty

    assert isinstance(like, DTensor)
    return empty(shape, dtype=dtype, device_mesh=mesh, placements=like.placements)


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients down to the norm `max_norm` if theirs is larger; returns theirs, over all processes."""
    by_mesh: dict[object, list[Tensor]] = {}  # norms are taken of tensors that are shared out alike
    for parameter in parameters:
        if parameter.grad is not None:
            by_mesh.setdefault(getattr(parameter.grad, "device_mesh", None), []).append(parameter)
    norms = [nn.utils.get_total_norm([p.grad for p in group if p.grad is not None]) for group in by_mesh.values()]
    norms = [norm.full_tensor() if hasattr(norm, "full_tensor") else norm for norm in norms]
    total = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros(())
    for group in by_mesh.values():
        nn.utils.clip_grads_with_norm_(group, max_norm, total)
    return float(total)
