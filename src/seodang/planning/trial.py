"""A few seconds of real work: how fast this machine trains, and whether it computes what it should."""

from __future__ import annotations

import functools
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seodang.data.batch import Batch
from seodang.errors import SeodangError
from seodang.files import atomic_folder, check_manifest, write_manifest
from seodang.models.base import Model
from seodang.models.cache import KVCache
from seodang.models.config import ModelConfig
from seodang.models.cost import n_parameters
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.objectives.language import LanguageModelling
from seodang.planning.machine import usable_cpus
from seodang.text.train import train_tokenizer
from seodang.training.machine import choose_dtype
from seodang.training.optimizer import build_optimizer
from seodang.training.step import train_step

Row = dict[str, Any]


def torch_facts() -> list[Row]:
    """Threads, vector units, reduced precision, accelerators."""
    threads, cores = torch.get_num_threads(), usable_cpus()
    few = threads < cores and "OMP_NUM_THREADS" in os.environ  # by itself torch takes the physical cores
    rows: list[Row] = [
        {
            "name": "threads",
            "value": threads,
            "text": f"{threads} of {cores} logical cores",
            "status": "note" if few else "ok",
            "advice": f"torch uses {threads} of {cores} cores: OMP_NUM_THREADS says so" if few else "",
        },
        {"name": "vector units", "value": torch.backends.cpu.get_cpu_capability()},
    ]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        text = f"{properties.name}, {properties.total_memory / 1e9:.0f} GB, "
        text += f"compute capability {properties.major}.{properties.minor}"
        rows.append({"name": f"cuda:{index}", "value": properties.name, "text": text})
    if torch.backends.mps.is_available():
        rows.append({"name": "mps", "value": True, "text": "Apple's GPU"})
    if len(rows) == 2:
        rows.append({"name": "gpu", "value": None, "text": "none that torch can use; everything runs on the CPU"})
    return rows


def _devices() -> list[torch.device]:
    found = [torch.device("cpu")]
    if torch.cuda.is_available():
        found.append(torch.device("cuda"))
    if torch.backends.mps.is_available():
        found.append(torch.device("mps"))
    return found


def _fresh(config: ModelConfig, device: torch.device) -> Model:
    model = build_model(config, "cpu")
    model.init_weights(torch.Generator().manual_seed(0))
    return model.to(device)


def speed(seconds: float = 1.0) -> list[Row]:
    """Training steps of `gpt2-primer`, the demo's model, in each type on each device: tokens per second."""
    config = published("gpt2-primer")
    size = n_parameters(config)
    rows: list[Row] = []
    for device in _devices():
        rates = {}
        for dtype in (torch.float32, torch.bfloat16):
            rates[dtype] = _tokens_per_second(config, device, dtype, seconds)
            name = str(dtype).removeprefix("torch.")
            text = f"{rates[dtype]:,.0f} tokens/s training gpt2-primer ({size / 1e6:.1f} M parameters)"
            rows.append({"name": f"{device.type} {name}", "value": round(rates[dtype], 1), "text": text})
        chosen = choose_dtype("auto", device)
        faster = max(rates, key=lambda dtype: rates[dtype])
        name = str(chosen).removeprefix("torch.")
        rows.append({"name": f"{device.type} --dtype auto", "value": name, "text": f"takes {name}"})
        if rates[faster] > 1.1 * rates[chosen]:  # below ten percent it is the noise of a second's measure
            better = str(faster).removeprefix("torch.")
            rows[-1]["status"] = "note"
            rows[-1]["advice"] = f"{better} was the faster one on {device.type} just now: --dtype {better}"
    return rows


def _tokens_per_second(config: ModelConfig, device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    model = _fresh(config, device)
    optimizer = build_optimizer(model, lr=1e-4, weight_decay=0.1)
    ids = torch.randint(config.vocab_size, (4, config.context_length))
    batch = Batch(ids, ids.roll(-1, 1))
    objective = LanguageModelling()
    start, n_tokens, first = time.perf_counter(), 0, True
    while first or time.perf_counter() - start < seconds:
        result = train_step(
            model, objective, [batch], optimizer, lr=1e-4, grad_clip=1.0, device=device, dtype=dtype
        )
        if first:  # the first step pays for allocation and kernel choice
            start, first = time.perf_counter(), False
            continue
        n_tokens += result.n_tokens
    return n_tokens / (time.perf_counter() - start)


def self_test(folder: Path) -> list[Row]:
    """Small things that must come out right; each row is `ok` or `bad`."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("files", lambda: _check_files(folder)),
        ("tokenizer", _check_tokenizer),
        ("learning", _check_learning),
        ("key-value cache", _check_cache),
    ]
    for device in _devices()[1:]:
        checks.append((f"{device.type} agrees with the CPU", functools.partial(_check_device, device)))
    rows: list[Row] = []
    for name, check in checks:
        try:
            rows.append({"name": name, "value": True, "text": check()})
        except (AssertionError, SeodangError, RuntimeError, OSError) as error:
            advice = f"the self-test '{name}' failed: {str(error).splitlines()[0] if str(error) else 'see above'}"
            rows.append({"name": name, "value": False, "text": "failed", "status": "bad", "advice": advice})
    return rows


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _check_files(folder: Path) -> str:
    while not folder.exists():
        folder = folder.parent
    with tempfile.TemporaryDirectory(dir=folder, prefix="seodang-doctor-") as scratch:
        target = Path(scratch) / "whole"
        with atomic_folder(target) as temporary:
            (temporary / "text").write_text("서당", encoding="utf-8")
            write_manifest(temporary)
        check_manifest(target)
        (target / "text").write_text("서딩", encoding="utf-8")  # as long, but not what was written
        try:
            check_manifest(target)
        except SeodangError:
            return "a folder is written whole, and damage is noticed"
    raise AssertionError("a changed file was not noticed")


def _check_tokenizer() -> str:
    seen, unseen = "서당에서 책을 읽습니다. A school in a village. ", "훈장님과 아이들이 꽃밭에서 웃었습니다 🌸"
    tokenizer = train_tokenizer([seen] * 20, vocab_size=300)
    for text in (seen, unseen):
        found = tokenizer.decode(tokenizer.encode(text))
        _require(found == text, f"{text!r} comes back as {found!r}")
    return "Korean, English and emoji come back as they were, unseen ones too"


_TINY = ModelConfig(family="gpt2", vocab_size=64, context_length=32, d_model=32, n_layers=2, n_heads=2)


def _sentence() -> Tensor:
    return (torch.arange(33) * 7 % 64)[None, :]


def _check_learning() -> str:
    model = _fresh(_TINY, torch.device("cpu"))
    optimizer = build_optimizer(model, lr=1e-2, weight_decay=0.0)
    text = _sentence()
    batch = Batch(text[:, :-1], text[:, 1:])
    losses = [
        train_step(
            model,
            LanguageModelling(),
            [batch],
            optimizer,
            lr=1e-2,
            grad_clip=1.0,
            device=torch.device("cpu"),
            dtype=torch.float32,
        ).loss
        for _ in range(40)
    ]
    chance = math.log(_TINY.vocab_size)
    _require(abs(losses[0] - chance) < 0.3, f"the first loss is {losses[0]:.3f}, chance is {chance:.3f}")
    _require(losses[-1] < 0.3, f"after 40 steps on one sentence the loss is still {losses[-1]:.3f}")
    return f"a tiny GPT learns a sentence by heart: loss {losses[0]:.2f} → {losses[-1]:.2f} in 40 steps"


@torch.no_grad()
def _check_cache() -> str:
    model = _fresh(_TINY, torch.device("cpu")).eval()
    ids = _sentence()[:, :-1]
    whole = model.logits(model(ids))
    cache = KVCache(_TINY, 1, ids.shape[1])
    steps = []
    for column in range(ids.shape[1]):
        steps.append(model.logits(model(ids[:, column : column + 1], cache=cache)))
        cache.advance(1)
    difference = float((torch.cat(steps, 1) - whole).abs().max())
    _require(difference < 1e-4, f"token by token the logits differ by {difference:.1e}")
    return f"token by token equals all at once (largest difference {difference:.0e})"


@torch.no_grad()
def _check_device(device: torch.device) -> str:
    cpu, other = _fresh(_TINY, torch.device("cpu")).eval(), _fresh(_TINY, device).eval()
    ids = _sentence()[:, :-1]
    difference = float((cpu.logits(cpu(ids)) - other.logits(other(ids.to(device))).cpu()).abs().max())
    _require(difference < 1e-2, f"the logits differ by {difference:.1e}")
    return f"logits within {difference:.0e}"
