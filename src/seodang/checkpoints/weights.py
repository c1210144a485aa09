"""Named tensors → a model, strictly: every weight there, none left over, every shape right."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from seodang.errors import DataError, DivergedError
from seodang.models.base import Model
from seodang.models.config import ModelConfig
from seodang.models.families import build_model

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}

_COPY_AGAIN = "copy the model again from where it came"


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Our name → shape of every parameter of `config`'s model."""
    return {name: tuple(value.shape) for name, value in build_model(config, "meta").state_dict().items()}


def assemble(
    config: ModelConfig,
    tensors: Iterable[tuple[str, Tensor]],
    *,
    origin: object,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    owned: bool = False,
) -> Model:
    """Build `config`'s model without memory and give it `tensors` (our name, value), in evaluation mode.

    dtype: that of the weights; None is float32, in which training keeps them. owned: nothing else uses the
    tensors' memory; otherwise they are copied, as memory mapped from a file changes with it.
    Raises DataError, naming the tensor and `origin`, when one is missing, left over or of the wrong shape.
    """
    model = build_model(config, "meta")
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    state: dict[str, Tensor] = {}
    for name, tensor in tensors:
        if name not in shapes:
            raise DataError(f"{origin} has an unexpected tensor {name}", "the config has no place for it", _COPY_AGAIN)
        check_shape(name, tuple(tensor.shape), shapes[name], origin)
        if owned:
            state[name] = tensor.to(device=device, dtype=dtype or torch.float32).contiguous()
        else:
            state[name] = torch.empty(tensor.shape, dtype=dtype or torch.float32, device=device).copy_(tensor)
    missing = sorted(set(shapes) - set(state))
    if missing:
        raise DataError(f"{origin} lacks {_list(missing)}", "the config asks for it", _COPY_AGAIN)
    model.load_state_dict(state, assign=True)
    return model.eval()


@torch.no_grad()
def fill(model: nn.Module, tensors: Iterable[tuple[str, Tensor]], *, origin: object) -> None:
    """Copy `tensors` (our name, whole value), one after the other, into `model`, which may be shared out over ranks.

    Every process is given the same stream and keeps its own part of each tensor; nothing is sent.
    Raises DataError, naming the tensor and `origin`, when one is missing, left over or of the wrong shape.
    """
    parameters = dict(model.named_parameters())
    missing = set(parameters)
    for name, tensor in tensors:
        if name not in parameters:
            raise DataError(f"{origin} has an unexpected tensor {name}", "the config has no place for it", _COPY_AGAIN)
        parameter = parameters[name]
        check_shape(name, tuple(tensor.shape), tuple(parameter.shape), origin)
        parameter.copy_(part_like(parameter, tensor))
        missing.discard(name)
    if missing:
        raise DataError(f"{origin} lacks {_list(sorted(missing))}", "the config asks for it", _COPY_AGAIN)


def part_like(example: Tensor, whole: Tensor) -> Tensor:
    """`whole`, or, where `example` is shared out over processes, this process's part of it, shared out alike."""
    mesh = getattr(example, "device_mesh", None)
    if mesh is None:
        return whole
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(example, DTensor)
    return distribute_tensor(whole.to(example.device), mesh, example.placements, src_data_rank=None)


def check_shape(name: str, found: tuple[int, ...], wanted: tuple[int, ...], origin: object) -> None:
    """Raise DataError naming the tensor and both shapes when they differ."""
    if found != wanted:
        raise DataError(
            f"{origin}: {name} has the shape {list(found)}",
            f"the config asks for {list(wanted)}",
            "the config and the weights are of different models; copy both again",
        )


def check_finite(name: str, tensor: Tensor) -> None:
    """Raise DivergedError when `tensor` holds NaN or infinity."""
    if not bool(torch.isfinite(tensor).all()):
        raise DivergedError(
            f"the model is not saved: {name} holds NaN or infinity",
            "training diverged, or the numbers do not fit the dtype",
            "go back to the last good checkpoint, with a lower --lr; or save as float32",
        )


def _list(names: list[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
