"""A model in another form: a GGUF file or a Hugging Face folder, read back and compared with the original."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import seodang
from seodang.checkpoints.gguf import write_gguf
from seodang.checkpoints.huggingface import save_folder
from seodang.checkpoints.resolve import Loaded, load_model
from seodang.checkpoints.weights import DTYPES
from seodang.errors import UsageError, suggest
from seodang.inference.decode import generate
from seodang.inference.sampling import Settings
from seodang.models.base import Model

PROMPTS = ("Once upon a time", "The capital of France is", "옛날 어느 마을에", "안녕하세요. 오늘은")
NEW_TOKENS = 16

Texts = list[tuple[list[int], list[int]]]
"""Prompts and their continuations, as ids."""


def export_gguf(model: str | Path, out: Path, kind: str = "f16", name: str | None = None) -> dict[str, Any]:
    """Write a model, named as after --model, as a GGUF file with matrices of type `kind`.

    Returns what was written, the largest difference of a weight, and on how many of the model's own greedy tokens the
    file agrees. Raises as `load_model` and `write_gguf`.
    """
    start = time.perf_counter()
    loaded = _load(model, out)
    written = write_gguf(out, loaded.model, loaded.tokenizer, kind, name=name or Path(loaded.source.name).stem)
    texts = greedy(loaded)
    del loaded  # one of the two is in memory at a time
    found = {**asdict(written), "path": str(out), "type": kind, "agreement": agreement(load_model(out).model, texts)}
    return {"model": str(model), **found, "seconds": round(time.perf_counter() - start, 3)}


def export_folder(model: str | Path, out: Path, dtype: str | None = None) -> dict[str, Any]:
    """Write a model, named as after --model, as a Hugging Face folder with weights of `dtype` (float32 by default).

    Returns and raises as `export_gguf`.
    """
    start = time.perf_counter()
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"unknown dtype {dtype!r}", "there is no such type", suggest(dtype, DTYPES))
    kind = DTYPES[dtype or "float32"]
    loaded = _load(model, out)
    lineage = {"verb": "export", "parent": loaded.lineage, "seodang": seodang.__version__}
    save_folder(
        out, loaded.model, loaded.tokenizer, generation=loaded.generation, metadata=lineage, dtype=kind,
        task=loaded.task,
    )  # fmt: skip
    texts, before = greedy(loaded), loaded.model.state_dict()
    after = load_model(out).model
    differences = {key: float((after.state_dict()[key] - before[key]).abs().max()) for key in before}
    largest = max(differences, key=lambda key: differences[key])
    return {
        "model": str(model),
        "path": str(out),
        "n_bytes": sum(file.stat().st_size for file in out.glob("*.safetensors")),
        "n_parameters": sum(value.numel() for value in before.values()),
        "largest_difference": differences[largest],
        "largest_in": largest,
        "kinds": {dtype or "float32": len(before)},
        "type": dtype or "float32",
        "agreement": agreement(after, texts),
        "seconds": round(time.perf_counter() - start, 3),
    }


def _load(model: str | Path, out: Path) -> Loaded:
    loaded = load_model(model)
    if loaded.source.path is not None and out.exists() and out.samefile(loaded.source.path):
        raise UsageError(f"{out} is the model itself", "it would be overwritten", "choose another name with --out")
    return loaded


def greedy(loaded: Loaded) -> Texts:
    """The model's greedy continuations of a few prompts, in English and Korean; of some ids without a tokenizer.

    None of a model that continues no texts.
    """
    if loaded.model.kind != "causal" or not loaded.model.predicts_tokens:
        return []
    config, tokenizer = loaded.model.config, loaded.tokenizer
    if tokenizer is None:
        prompts = [[(7 * row + 3 * place) % config.vocab_size for place in range(4)] for row in range(len(PROMPTS))]
    else:
        start = [tokenizer.bos_id] if tokenizer.add_bos and tokenizer.bos_id is not None else []
        prompts = [start + tokenizer.encode(prompt) for prompt in PROMPTS]
    prompts = [prompt[: max(1, config.context_length // 2)] for prompt in prompts]
    rows = None if tokenizer is None else tokenizer.vocab_size
    found = generate(loaded.model, prompts, Settings(max_new_tokens=NEW_TOKENS), vocabulary=rows)
    return [(prompt, one.tokens) for prompt, one in zip(prompts, found, strict=True)]


@torch.inference_mode()
def agreement(model: Model, texts: Texts) -> dict[str, int]:
    """On how many tokens of the continuations `model` would have chosen the same, having read the same before it."""
    same = 0
    for prompt, tokens in texts:
        logits = model.logits(model(torch.tensor([prompt + tokens])))[0, len(prompt) - 1 : -1]
        same += int((logits.argmax(-1) == torch.tensor(tokens)).sum())
    return {"tokens": sum(len(tokens) for _, tokens in texts), "same": same, "prompts": len(texts)}
