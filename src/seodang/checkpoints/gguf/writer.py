"""GGUF files out: written tensor by tensor, read back and compared before they get their name."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seodang.checkpoints.gguf.architectures import Architecture, architecture_of_family
from seodang.checkpoints.gguf.metadata import library, planned
from seodang.checkpoints.gguf.reader import GGUFFile
from seodang.checkpoints.gguf.rope import TABLE, rope_table
from seodang.checkpoints.gguf.vocabulary import check_same, tokenizer_keys, tokenizer_of
from seodang.checkpoints.huggingface import check_tokenizer
from seodang.checkpoints.layouts.base import cannot_express
from seodang.checkpoints.weights import check_finite
from seodang.errors import DataError, SeodangError, UsageError, suggest
from seodang.files import atomic_file, require_free_space
from seodang.models.base import Model
from seodang.models.config import ModelConfig
from seodang.models.positions import rotary_frequencies
from seodang.text.tokenizer import Tokenizer

KINDS = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0"}
"""What the matrices of a file can be → its name in general.file_type."""

_STEPS = {"Q8_0": 128, "Q4_0": 8}
"""How many steps of a block lie between 0 and its largest number."""

_FORGOTTEN = ("family", "embedding_dropout", "attention_dropout", "residual_dropout", "init_std", "rope", "query_scale")
"""Settings that no key states, or that are compared otherwise."""


@dataclass(frozen=True)
class Written:
    """What `write_gguf` wrote and found when it read it back."""

    path: Path
    n_bytes: int
    n_parameters: int
    largest_difference: float
    """Between a weight of the model and of the file."""
    largest_in: str
    """Our name of the tensor where it is."""
    kinds: dict[str, int]
    """How many tensors are stored as which type."""
    note: str = ""
    """Where llama.cpp computes otherwise."""


@dataclass(frozen=True)
class _Plan:
    """One tensor to be written."""

    ours: str
    theirs: str
    kind: Any
    value: Tensor


def write_gguf(
    path: Path | str, model: Model, tokenizer: Tokenizer | None, kind: str = "f16", *, name: str | None = None
) -> Written:
    """Write `model` as one GGUF file, which llama.cpp and this package read; an older file is replaced.

    kind: of the matrices, one of KINDS. Norms, biases and learned positions stay float32; a matrix whose rows hold no
    whole blocks is float16; with q4_0 the embedding and the output matrix are q8_0. name: general.name.
    The class head of a fine-tuned model is left out, and `note` says so.
    Every tensor is read back: exact in f32, f16 and bf16 (rounded to nearest), within a step of its block otherwise.
    Raises UsageError for an unknown kind and for a model that GGUF cannot state, DataError for such a tokenizer,
    DivergedError for weights that are not finite, FitError when the disk is too small.
    """
    path = Path(path)
    if kind not in KINDS:
        raise UsageError(f"unknown type {kind!r}", "GGUF files are not written in it", suggest(kind, KINDS))
    gguf = library()
    config, state = _without_class_head(*_without_repeated_head(model))
    architecture = architecture_of_family(config.family)
    plans = [_plan(architecture, config, ours, value, kind) for ours, value in state.items()]
    table = rope_table(config)
    if table is not None and architecture.name != "llama":
        raise cannot_express("GGUF", "Llama 3.1's rotary bands", f"llama.cpp's {architecture.name} knows none")
    check_tokenizer(tokenizer, config.vocab_size, "the model is not written")
    keys = {
        "general.architecture": architecture.name,
        "general.type": "model",
        "general.name": name or f"{config.family} {sum(value.numel() for value in state.values()) / 1e6:.0f}M",
        "general.file_type": int(gguf.LlamaFileType[KINDS[kind]]),
        "general.quantization_version": gguf.GGML_QUANT_VERSION,
        **architecture.keys(config),
        **tokenizer_keys(tokenizer, config.vocab_size),
    }
    file = planned(keys, {plan.theirs: tuple(plan.value.shape) for plan in plans} | _shape_of(table), table)
    _check_config(config, architecture.config(file))
    if tokenizer is not None:
        check_same(tokenizer, tokenizer_of(file), file)
    require_free_space(path, sum(_n_bytes(plan) for plan in plans) + 20_000_000)
    with atomic_file(path) as temporary:
        _write(temporary, keys, plans, table, config, architecture)
        difference, where = _compare(temporary, keys, plans, config)
        n_bytes = temporary.stat().st_size
    names = [plan.kind.name for plan in plans]
    notes = [architecture.note.format(window=config.window)] if config.local_layers or not architecture.windowed else []
    notes += ["the class head is left out: GGUF states a language model"] if model.config.n_classes else []
    return Written(
        path,
        n_bytes,
        sum(value.numel() for value in state.values()),
        difference,
        where,
        {kind: names.count(kind) for kind in dict.fromkeys(names)},
        "; ".join(filter(None, notes)),
    )


def _without_repeated_head(model: Model) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The config and weights; an output matrix that repeats the embedding is left out, as readers take it for tied."""
    state = {name: value.detach() for name, value in model.state_dict().items()}
    if "head.weight" in state and torch.equal(state["head.weight"], state["embed.weight"]):
        del state["head.weight"]
        return replace(model.config, tied=True), state
    return model.config, state


def _without_class_head(config: ModelConfig, state: dict[str, Tensor]) -> tuple[ModelConfig, dict[str, Tensor]]:
    """What is left of a fine-tuned model is the language model that it is as well."""
    kept = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    return replace(config, n_classes=0, head_dropout=0.0), kept


def _plan(architecture: Architecture, config: ModelConfig, ours: str, value: Tensor, kind: str) -> _Plan:
    """The type of one tensor, as llama.cpp's converter chooses it."""
    kinds = library().GGMLQuantizationType
    module = ours.rpartition(".")[0]
    chosen = kinds[kind.upper()]
    if kind == "q4_0" and module in ("embed", "head"):
        chosen = kinds.Q8_0
    if chosen.name in _STEPS and value.shape[-1] % 32:
        chosen = kinds.F16
    if value.dim() < 2 or module == "positions":
        chosen = kinds.F32
    return _Plan(ours, architecture.theirs(ours), chosen, value)


def _shape_of(table: np.ndarray | None) -> dict[str, tuple[int, ...]]:
    return {} if table is None else {TABLE: table.shape}


def _n_bytes(plan: _Plan) -> int:
    block, size = library().GGML_QUANT_SIZES[plan.kind]
    return plan.value.numel() // block * size


def _check_config(before: ModelConfig, after: ModelConfig) -> None:
    """Raise UsageError where a reader of the file would build another model."""
    if (before.window or 0) >= before.context_length and before.rope_local is None:
        before = replace(before, window=None, local_layers=())  # which sees as much
    for field in fields(before):
        ours, theirs = getattr(before, field.name), getattr(after, field.name)
        if field.name not in _FORGOTTEN and ours != theirs:
            raise cannot_express("GGUF", f"{field.name} = {ours!r}", f"it would be read as {theirs!r}")
    scale, read = ((config.query_scale or config.d_head**-0.5) for config in (before, after))
    if not math.isclose(scale, read, rel_tol=1e-6):
        raise cannot_express("GGUF", f"query_scale = {scale:.6g}", f"llama.cpp computes with {read:.6g}")
    if before.rope is not None and after.rope is not None:
        ours, theirs = (
            torch.cat([part, torch.tensor([factor])])
            for part, factor in (
                rotary_frequencies(rope, before.d_head, before.context_length, 0) for rope in (before.rope, after.rope)
            )
        )
        if not torch.allclose(ours, theirs, rtol=1e-5):
            raise cannot_express("GGUF", f"{before.rope.scaling} rotary scaling", "it would be read as another one")


def _write(
    path: Path,
    keys: dict[str, Any],
    plans: list[_Plan],
    table: np.ndarray | None,
    config: ModelConfig,
    architecture: Architecture,
) -> None:
    gguf = library()
    writer = gguf.GGUFWriter(path, architecture.name)
    try:
        for key, value in keys.items():
            if key != "general.architecture":  # the writer has put it first
                add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
                add.get(type(value), writer.add_array)(key, value)
        if table is not None:
            writer.add_tensor_info(TABLE, table.shape, table.dtype, table.nbytes)
        for plan in plans:
            shape = list(plan.value.shape)
            writer.add_tensor_info(plan.theirs, shape, np.dtype(np.float32), _n_bytes(plan), raw_dtype=plan.kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if table is not None:
            writer.write_tensor_data(table)
        for plan in plans:
            writer.write_tensor_data(_encoded(plan, config, architecture))
    finally:
        writer.close()


def _encoded(plan: _Plan, config: ModelConfig, architecture: Architecture) -> np.ndarray:
    check_finite(plan.ours, plan.value)
    value = architecture.outgoing(plan.ours, plan.value.float().cpu(), config).contiguous().numpy()
    with np.errstate(over="ignore"):
        encoded = library().quants.quantize(value, plan.kind)
    if plan.kind.name == "F16" and not np.isfinite(encoded).all():
        raise UsageError(
            f"{plan.ours} holds {np.abs(value).max():.3g}", "float16 ends at 65,504", "write bf16 or f32: --type bf16"
        )
    return encoded


def _compare(path: Path, keys: dict[str, Any], plans: list[_Plan], config: ModelConfig) -> tuple[float, str]:
    """The largest difference between a weight and what the file at `path` gives for it, and where it is.

    Raises SeodangError where it is larger than the rounding of its type.
    """
    written = GGUFFile(path)
    for key, value in keys.items():
        if _rounded(value) != written.metadata.value(key):
            raise _misread(key)
    found: dict[str, float] = {}
    values = {plan.ours: plan for plan in plans}
    for name, tensor, theirs in written.quantised():
        plan = values[name]
        gain = written.architecture.gain_of(name)
        ours = plan.value.float().cpu() + gain - gain  # as both additions round it
        error = (theirs - ours).abs()
        if plan.kind.name in _STEPS:
            right = bool((error <= _bound(tensor, written, name, config)).all())
        else:
            exact = {"F16": torch.float16, "BF16": torch.bfloat16}.get(plan.kind.name, torch.float32)
            right = torch.equal(theirs, ours.to(exact).float())
        if not right:
            raise _misread(name)
        found[name] = float(error.max())
    if len(found) != len(plans):
        raise _misread(next(name for name in values if name not in found))
    where = max(found, key=lambda name: found[name])
    return found[where], where


def _rounded(value: Any) -> Any:
    """A key's value as the file keeps it: decimals are float32."""
    if isinstance(value, list) and value and isinstance(value[0], float):
        return np.asarray(value, np.float32).tolist()
    return float(np.float32(value)) if isinstance(value, float) else value


def _bound(tensor: Any, written: GGUFFile, name: str, config: ModelConfig) -> Tensor:
    """For each number of a quantised tensor the most that it may be off: the step of its block.

    A step is stored as float16, in front of its block; its own rounding is a hundredth of it at most, or that of
    float16's smallest numbers.
    """
    size = library().GGML_QUANT_SIZES[tensor.tensor_type][1]
    blocks = np.asarray(tensor.data).reshape(-1, size)
    steps = np.abs(blocks[:, :2].copy().view(np.float16).astype(np.float32))
    bounds = 1.01 * steps + _STEPS[tensor.tensor_type.name] * 2.0**-25
    rows, columns = written.metadata.shapes[written.architecture.theirs(name)]
    whole = torch.from_numpy(np.repeat(bounds, 32, axis=1)).reshape(rows, columns)
    return written.architecture.incoming(name, whole, config)


def _misread(what: str) -> SeodangError:
    return DataError(
        f"the GGUF file is not kept: {what} read back is not what was written",
        "the disk or the `gguf` package lost something",
        "write it again, on another disk",
    )
