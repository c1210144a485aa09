"""Parameters that are not trained: chosen by name, kept in the compute type, published as they were loaded."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seodang.checkpoints.tensor_files import Tensors, write_file
from seodang.errors import UsageError, suggest
from seodang.files import require_free_space
from seodang.models.base import Model

FILE = "frozen.safetensors"


def freeze(model: Model, patterns: str) -> list[str]:
    """Stop training the parameters that `patterns` name; returns their names.

    patterns: separated by commas; each names a module or parameter by the beginning of its dotted name, with `*`
    for any one part and `0-3` for a range of numbers: `embed,layers.0-3`, `layers.*.mlp`, `layers.5.attention.q`.
    A tied output matrix is the embedding, and is frozen and trained with it.
    Raises UsageError for a pattern that matches nothing, and when nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    chosen: set[str] = set()
    for pattern in filter(None, (part.strip() for part in patterns.split(","))):
        if pattern.partition(".")[0] == "head" and model.head is None:
            raise UsageError(
                f"--freeze {pattern}", "the output matrix of this model is its embedding (tied)", "freeze embed"
            )
        found = [name for name in parameters if _matches(pattern.split("."), name.split("."))]
        if not found:
            parts = [re.sub(r"\.\d+\.", ".*.", name).split(".") for name in parameters]
            known = {".".join(part[:n]) for part in parts for n in range(1, len(part) + 1)}
            raise UsageError(f"--freeze {pattern}", "no parameter has this name", suggest(pattern, known))
        chosen.update(found)
    if len(chosen) == len(parameters):
        raise UsageError(f"--freeze {patterns}", "nothing is left to train", "freeze less")
    for name in chosen:
        parameters[name].requires_grad_(False)
    return [name for name in parameters if name in chosen]


def _matches(pattern: list[str], name: list[str]) -> bool:
    """Whether `name` begins with parts that `pattern` allows."""
    return len(pattern) <= len(name) and all(map(_part_matches, pattern, name))


def _part_matches(pattern: str, part: str) -> bool:
    numbers = re.fullmatch(r"(\d+)-(\d+)", pattern)
    if numbers is not None and part.isdigit():
        return int(numbers[1]) <= int(part) <= int(numbers[2])
    return pattern in ("*", part)


def frozen_matrices(model: Model) -> int:
    """Frozen numbers that tokens are multiplied with: the 2 operations a token for their gradients are not made."""
    matrices = {model.output_weight, *(m.weight for m in model.layers.modules() if isinstance(m, nn.Linear))}
    return sum(matrix.numel() for matrix in matrices if not matrix.requires_grad)


def keep_frozen_low(model: nn.Module, dtype: torch.dtype, folder: Path | None) -> int:
    """Cast the frozen weights and biases of linear layers to `dtype`; returns the bytes that this saves.

    They are what autocast casts at every use, so the forward pass gives the same numbers bit for bit. Tables that are
    looked up, and norms, keep their type: autocast does not cast them either. Where the cast loses digits, the
    weights as they were go into `folder`/frozen.safetensors, and `state_dict()` reads them from there: what is saved
    later is exactly what was loaded. `folder` None (a rank that never saves) keeps no copy. The caller deletes the
    file when the model has been published. Raises FitError when the disk is too small for it.
    """
    low: dict[str, nn.Parameter] = {}
    for prefix, module in model.named_modules():
        if isinstance(module, nn.Linear):
            for name, parameter in module.named_parameters(recurse=False):
                if not parameter.requires_grad and parameter.dtype.itemsize > dtype.itemsize:
                    low[f"{prefix}.{name}"] = parameter
    lossy = {name: p.detach().cpu() for name, p in low.items() if not torch.equal(p.to(dtype).to(p.dtype), p)}
    if lossy and folder is not None:
        require_free_space(folder, sum(tensor.nbytes for tensor in lossy.values()))
        write_file(lossy, folder / FILE)
        model.register_state_dict_post_hook(_Exact(folder / FILE))
    saved = 0
    for parameter in low.values():
        saved += parameter.numel() * (parameter.dtype.itemsize - dtype.itemsize)
        parameter.data = parameter.data.to(dtype)
    return saved


def computing(model: nn.Module) -> AbstractContextManager[Any]:
    """Autocast where weights of several types meet outside of a training step; nothing for a model of one type."""
    by_type = {parameter.dtype: parameter for parameter in model.parameters()}
    if len(by_type) < 2:
        return nullcontext()
    low = min(by_type, key=lambda dtype: dtype.itemsize)
    return torch.autocast(by_type[low].device.type, dtype=low)


class _Exact:
    """Puts the weights as they were loaded into a state dict, mapped from the file that holds them."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __call__(self, module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
        if self.file.exists():
            values: dict[str, Tensor] = {prefix + name: value for name, value in Tensors([self.file]).items()}
            state.update(values)
