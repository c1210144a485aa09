"""Activations that are not kept on the device: computed a second time in the backward pass, or kept in main memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from seodang.models.attention import KERNELS
from seodang.models.base import Model
from seodang.objectives.loss import Loss, Objective

Mode = Literal["none", "blocks", "selective"]

_MATMULS = ("mm", "addmm", "bmm", "baddbmm", "linear", "matmul")


def checkpoint_activations(model: Model, mode: Mode) -> None:
    """Have `model` keep less for the backward pass. The gradients stay the same numbers, dropout's masks too.

    blocks: of every block its input alone; all else is computed again (Chen et al. 2016, sec. 4.1, with a block as
    the segment), which is about a third more work. selective: of every block its input and what matrix products and
    attention gave; norms, activation functions and rotations, which are cheap, are computed again (the trade of
    Korthikanti et al. 2022, sec. 5, chosen operator by operator). none: everything is kept.

    Parameter names do not change, and nothing happens where no gradient is asked for, as in generation.
    """
    for part in model.modules():  # ELECTRA's generator is a model within the model
        if isinstance(part, Model):
            part.run_block = None if mode == "none" else partial(_recomputed, mode == "selective")


def _recomputed(selective: bool, block: Callable[..., Any], *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return block(*inputs)
    if selective and isinstance(block, nn.Module):  # a recurrent layer's kernels change in place what would be kept
        chosen = partial(create_selective_checkpoint_contexts, _policy)
        return checkpoint(block, *inputs, use_reentrant=False, context_fn=chosen)
    return checkpoint(block, *inputs, use_reentrant=False)


def _policy(context: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    """Keep what matrix products and attention give, whichever kernel computes them.

    Attention that draws its own dropout is computed again: left out, it would leave the generator where it was, and the
    dropout behind it would draw another mask than in the forward pass.
    """
    name = getattr(operator, "__name__", str(operator)).split(".")[0].lstrip("_")
    dear = name in _MATMULS or any(part in name for part in KERNELS)
    if dear and not _draws(operator, args, kwargs):
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


def _draws(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether this call takes random numbers: torch's attention with a `dropout_p`."""
    schema = getattr(operator, "_schema", None)
    names = [argument.name for argument in schema.arguments] if schema is not None else []
    return bool((dict(zip(names, args, strict=False)) | kwargs).get("dropout_p", 0.0))


class OffloadActivations(saved_tensors_hooks):
    """Within this context, what autograd keeps for the backward pass goes to main memory and comes back when needed.

    On CUDA the way out runs on a stream of its own, beside the computation, into pinned memory; the way back waits
    for it and runs on the stream that computes. Parameters and tensors below `smallest` bytes stay where they are.
    Beside `checkpoint_activations` only the blocks' inputs are moved.
    """

    def __init__(self, model: nn.Module, smallest: int = 2**16) -> None:
        self.smallest, self.moved_bytes = smallest, 0
        self._stay = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self._stream: torch.cuda.Stream | None = None
        super().__init__(self._out, self._back)

    def _out(self, tensor: Tensor) -> Tensor | tuple[torch.device, Tensor]:
        if tensor.nbytes < self.smallest or tensor.untyped_storage().data_ptr() in self._stay:
            return tensor
        self.moved_bytes += tensor.nbytes
        if tensor.device.type != "cuda":
            return tensor.device, torch.empty_like(tensor, device="cpu").copy_(tensor)
        host = torch.empty_like(tensor, device="cpu", pin_memory=True)
        if self._stream is None:
            self._stream = torch.cuda.Stream(tensor.device)
        self._stream.wait_stream(torch.cuda.current_stream(tensor.device))
        with torch.cuda.stream(self._stream):
            host.copy_(tensor, non_blocking=True)
        tensor.record_stream(self._stream)  # its memory is not given to others before the copy is made
        return tensor.device, host

    def _back(self, kept: Tensor | tuple[torch.device, Tensor]) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        device, host = kept
        if self._stream is not None:
            torch.cuda.current_stream(device).wait_stream(self._stream)
        return host.to(device, non_blocking=True)


class Offloaded:
    """An objective whose activations wait in main memory for the backward pass; its numbers are the same."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def weights(self, batch: Any) -> dict[str, float]:
        """The objective's own."""
        return self.objective.weights(batch)

    def __call__(self, model: Any, batch: Any) -> Loss:
        if not torch.is_grad_enabled():
            return self.objective(model, batch)
        with OffloadActivations(model):
            return self.objective(model, batch)

    def __getattr__(self, name: str) -> Any:
        """What it carries from step to step is the objective's."""
        if name in ("state_dict", "load_state_dict"):
            return getattr(self.objective, name)
        raise AttributeError(name)
