"""Model folders as Hugging Face keeps them: saved whole or not at all, loaded strictly, with no pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import seodang
from seodang.checkpoints.layouts import Layout, layout_of_config, layout_of_family
from seodang.checkpoints.layouts.classes import class_keys, class_settings, task_in
from seodang.checkpoints.probe import make_probe
from seodang.checkpoints.publish import SEODANG, publish_folder, require_published
from seodang.checkpoints.sharded import Parts, is_sharded
from seodang.checkpoints.tensor_files import Tensors, read_json, stored_keys, weight_files, write_tensors
from seodang.checkpoints.weights import DTYPES, assemble, check_finite, check_shape, expected_shapes
from seodang.errors import DataError, SeodangError, UsageError
from seodang.files import require_free_space
from seodang.models.base import Model
from seodang.models.config import ModelConfig
from seodang.text.tokenizer import Tokenizer
from seodang.text.vocabularies import has_tokenizer

MAX_SHARD_BYTES = 5_000_000_000

_OURS = ("embedding_dropout", "attention_dropout", "residual_dropout", "head_dropout", "heads", "generator_share")


def save_folder(
    folder: Path | str,
    model: Model,
    tokenizer: Tokenizer | None,
    *,
    generation: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    task: dict[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Publish `model` in `folder`, which `transformers` and this package load with no export step.

    generation: entries of generation_config.json beside the tokenizer's ids. metadata: lineage for seodang.json. task:
    what a model with a class head was fine-tuned for, as `read_task` gives it.
    dtype: of the stored weights; None keeps the model's. A run folder's other files stay where they are.
    Raises DivergedError when a weight is not finite, FitError when the disk is too small, DataError when the
    tokenizer has more ids than the model has rows, UsageError for a model that has no such form.
    """
    folder = Path(folder)
    width = _stored_dtype(model, dtype).itemsize
    require_free_space(folder, int(1.05 * width * sum(p.numel() for p in model.parameters())) + 20_000_000)
    with publish_folder(folder) as stage:
        write_model(
            stage,
            model,
            tokenizer,
            generation=generation,
            metadata=metadata,
            task=task,
            dtype=dtype,
            max_shard_bytes=max_shard_bytes,
        )


def write_model(
    folder: Path,
    model: Model,
    tokenizer: Tokenizer | None,
    *,
    generation: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    task: dict[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Put all files of a model but the manifest into `folder`, which the caller makes atomic.

    seodang.json gets the config, the lineage and a probe: the logits, in float32, of fixed ids, computed from
    the files just written, which `verify` computes again. Where `sharded/` already holds the weights, neither they nor
    the probe, which needs all of them, are written. Raises as `save_folder`.
    """
    layout = layout_of_family(model.config.family).of(model.config)
    stored = _stored_dtype(model, dtype)
    check_tokenizer(tokenizer, model.config.vocab_size, "the model is not saved")
    ids = {**_family_ids(model.config), **_given(special_ids(tokenizer)), **_given(generation)}
    configs = {**layout.inner_configs(model.config), "": model.config}
    for name, config in configs.items():
        (folder / name).mkdir(exist_ok=True)
        _describe(folder / name, layout, config, ids, stored, (task or {}).get("spec") or {})
        if tokenizer is not None:
            tokenizer.save(folder / name)
    sharded = is_sharded(folder)
    if not sharded:
        tensors = dict(_outgoing(model, layout, stored))
        for name in configs:
            mine = {key.removeprefix(name): tensors.pop(key) for key in list(tensors) if key.startswith(name)}
            write_tensors(folder / name, mine, max_shard_bytes)
    ours = {
        "seodang": seodang.__version__,
        "config": model.config.to_dict(),
        "tokenizer": tokenizer.fingerprint() if tokenizer is not None else None,
        "lineage": metadata or {},
        **({"task": task} if task else {}),
        "probe": None if sharded else make_probe(_load_model(folder, torch.float32, "cpu")),
    }
    _write_json(folder / SEODANG, ours)


def _describe(
    folder: Path,
    layout: Layout,
    config: ModelConfig,
    ids: dict[str, Any],
    stored: torch.dtype,
    spec: dict[str, Any],
) -> None:
    """Write config.json and generation_config.json."""
    values = {
        "architectures": [layout.architecture],
        "model_type": layout.model_type,
        **{key: ids.get(key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
        **layout.from_config(config),
        **class_keys(layout, config, tuple(spec.get("labels", ())), spec.get("kind", "")),
        **dict.fromkeys(("dtype", "torch_dtype"), str(stored).removeprefix("torch.")),
    }
    _write_json(folder / "config.json", values)
    _write_json(folder / "generation_config.json", {key: value for key, value in ids.items() if value is not None})


def load_folder(
    folder: Path | str, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> tuple[Model, Tokenizer | None, dict[str, Any]]:
    """The model, tokenizer (None when there is none) and generation settings of a Hugging Face folder.

    dtype: None is float32. Raises DataError, naming the file or tensor, for anything missing, left over,
    damaged or unsupported, for pickled weights, and when the tokenizer has more ids than the model has rows.
    """
    folder = Path(folder)
    require_published(folder)
    tokenizer = read_tokenizer(folder)
    config = read_config(folder)
    check_tokenizer(tokenizer, config.vocab_size, folder)
    return _load_model(folder, dtype, device), tokenizer, read_generation(folder)


def read_config(folder: Path) -> ModelConfig:
    """config.json as a ModelConfig; what it cannot state comes from seodang.json: dropouts and an encoder's heads,
    which of another program's folder are those that config.json names and those whose weights are there.

    Raises DataError for an unsupported model_type or feature.
    """
    raw = read_json(folder / "config.json")
    layout = layout_of_config(raw)
    try:
        config = replace(layout.to_config(raw), **class_settings(layout, raw))
    except (SeodangError, TypeError, ValueError, KeyError) as error:
        if isinstance(error, DataError):
            raise DataError(f"{folder}: {error.what}", error.why, error.fix) from None
        raise DataError(f"{folder / 'config.json'} does not describe a model", str(error), "copy it again") from None
    if (folder / SEODANG).is_file():
        stated = read_json(folder / SEODANG).get("config")
        if isinstance(stated, dict) and stated.get("family") == config.family:
            known = {name: stated[name] for name in _OURS if name in stated}
            return ModelConfig.from_dict({**config.to_dict(), **known})
    if layout.share_of is not None:
        config = replace(config, generator_share=layout.share_of(folder, config))
    if layout.heads:
        present = {*(config.heads or ()), *layout.heads_in(stored_keys(folder))}
        config = replace(config, heads=tuple(head for head in layout.heads if head in present))
    elif config.n_classes and not config.tied:
        keys = {layout.canonical(key) for key in stored_keys(folder)}
        matrix = {layout.theirs("head.weight"), *(key for key, name in layout.copies.items() if name == "head.weight")}
        config = config if matrix & keys else replace(config, heads=())
    return config


def read_generation(folder: Path) -> dict[str, Any]:
    """generation_config.json without its book-keeping; the ids in config.json where there is none."""
    if (folder / "generation_config.json").is_file():
        values = read_json(folder / "generation_config.json")
    else:
        raw = read_json(folder / "config.json")
        values = {key: raw.get(key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    kept = {key: value for key, value in values.items() if key != "transformers_version" and key[0] != "_"}
    return {key: value for key, value in kept.items() if value is not None}


def read_metadata(folder: Path) -> dict[str, Any]:
    """seodang.json, or {} where another program wrote the folder."""
    return read_json(folder / SEODANG) if (folder / SEODANG).is_file() else {}


def read_task(folder: Path) -> dict[str, Any] | None:
    """What the model in `folder` was fine-tuned for; None where it has no class head.

    spec: a TaskSpec as plain values; of ours also max_length in tokens, and special: the tokens start, delimiter and
    extract of a decoder. Raises DataError for another program's model that gives a text several labels at once.
    """
    raw = read_json(folder / "config.json")
    ours, theirs = read_metadata(folder).get("task"), task_in(raw)
    return ours if theirs is not None and isinstance(ours, dict) else None if theirs is None else {"spec": theirs}


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """The folder's tokenizer; None when it has no file of one. Raises DataError when the file is damaged."""
    return Tokenizer.load(folder) if has_tokenizer(folder) else None


def check_tokenizer(tokenizer: Tokenizer | None, rows: int, origin: object) -> None:
    """Raise DataError when the tokenizer has ids that the model has no embedding row for."""
    if tokenizer is not None and tokenizer.vocab_size > rows:
        raise DataError(
            f"{origin}: the tokenizer does not fit the model",
            f"it has {tokenizer.vocab_size:,} ids and the model has {rows:,} embedding rows",
            "use the tokenizer that the model was trained with",
        )


def special_ids(tokenizer: Tokenizer | None) -> dict[str, Any]:
    """bos, eos and pad ids for generation_config.json; eos lists the end of a turn before the end of a text."""
    if tokenizer is None:
        return {}
    ends = [tokenizer.end_of_turn_id, tokenizer.eos_id, tokenizer.end_of_text_id]
    unique = list(dict.fromkeys(end for end in ends if end is not None))
    eos = unique if len(unique) > 1 else unique[0] if unique else None
    return {"bos_token_id": tokenizer.bos_id, "eos_token_id": eos, "pad_token_id": tokenizer.pad_id}


def _family_ids(config: ModelConfig) -> dict[str, Any]:
    """What a decoder's text begins with, and what fills an encoder's up."""
    return _given({"decoder_start_token_id": config.start_id, "pad_token_id": config.pad_id})


def published_tensors(folder: Path) -> tuple[Tensors | Parts, dict[str, str], Layout, ModelConfig]:
    """The folder's tensor files, their key → our name, its layout and config, all names and shapes checked.

    Raises DataError naming every missing or unexpected key.
    """
    config = read_config(folder)
    layout = layout_of_config(read_json(folder / "config.json")).of(config)
    if is_sharded(folder):
        publish = partial(layout.to_theirs, config=config)
        tensors: Tensors | Parts = Parts(folder, layout.theirs, publish)
    else:
        inner = layout.inner_configs(config)
        tensors = Tensors(weight_files(folder), {name: weight_files(folder / name) for name in inner})
    shapes = expected_shapes(config)
    wanted = {layout.theirs(name): name for name in shapes}
    names: dict[str, str] = {}
    unexpected = []
    for key in tensors.files:
        canonical = layout.canonical(key)
        if canonical in wanted:
            names[key] = wanted[canonical]
        elif canonical is not None and layout.copies.get(canonical) in shapes:
            names[key] = layout.copies[canonical]
        elif canonical is not None:
            unexpected.append(key)
    missing = sorted(key for key, name in wanted.items() if name not in set(names.values()))
    if missing or unexpected:
        parts = [f"missing: {_list(missing)}"] if missing else []
        parts += [f"unexpected: {_list(sorted(unexpected))}"] if unexpected else []
        raise DataError(
            f"{folder}: the weights are not those of its config.json",
            "; ".join(parts),
            "copy both again; the config and the weights may be of different models",
        )
    for key, shape in tensors.shapes():
        if key in names:
            turned = shape[::-1] if layout.is_transposed(names[key]) else shape
            check_shape(key, turned, shapes[names[key]], folder)
    return tensors, names, layout, config


def _load_model(folder: Path, dtype: torch.dtype | None, device: torch.device | str) -> Model:
    config, tensors = model_tensors(folder)
    return assemble(config, tensors, origin=folder, dtype=dtype, device=device)


def model_tensors(folder: Path) -> tuple[ModelConfig, Iterator[tuple[str, Tensor]]]:
    """The folder's config, and (our name, whole value) of every weight, each read when it is asked for.

    Raises as `published_tensors`; the iterator raises DataError for numbers that are no weights, and for two copies of
    one weight, such as a tied output matrix, that are not the same.
    """
    tensors, names, layout, config = published_tensors(folder)

    def ours() -> Iterator[tuple[str, Tensor]]:
        stored = list(names.values())
        first: dict[str, Tensor] = {}
        for key, tensor in tensors.items():
            if key not in names:
                continue
            if not tensor.is_floating_point():
                raise DataError(f"{folder}: {key} is {tensor.dtype}", "weights are floating-point numbers", "")
            name = names[key]
            if name not in first:
                if stored.count(name) > 1:
                    first[name] = tensor
                yield name, layout.to_ours(name, tensor, config)
            elif not torch.equal(first[name], tensor):
                raise DataError(
                    f"{folder} has two different copies of {layout.theirs(name)}",
                    "its config.json says that they are one (an output matrix tied to the embedding, as a rule)",
                    'set "tie_word_embeddings": false in config.json if the weights are right',
                )

    return config, ours()


def _outgoing(model: Model, layout: Layout, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """(their name, tensor on the CPU in `dtype`) of each parameter, a tied head once."""
    for name, tensor in model.state_dict().items():
        value = layout.to_theirs(name, tensor.detach().cpu(), model.config).to(dtype).contiguous()  # rounded once
        check_finite(name, value)
        yield layout.theirs(name), value
        yield from ((double, value.clone()) for double, ours in layout.doubles.items() if ours == name)


def _stored_dtype(model: Model, dtype: torch.dtype | None) -> torch.dtype:
    stored = dtype or model.embed.weight.dtype
    if stored not in DTYPES.values():
        raise UsageError(f"weights cannot be saved as {stored}", "", "choose from " + ", ".join(DTYPES))
    return stored


def _given(generation: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (generation or {}).items() if value is not None}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _list(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
