"""Is a model whole, finite, in agreement with itself, and does it give the logits it should?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seodang.checkpoints import huggingface
from seodang.checkpoints.probe import check_probe
from seodang.checkpoints.publish import SEODANG, is_interrupted, require_published
from seodang.checkpoints.resolve import load_model, resolve
from seodang.checkpoints.training import STATE, checkpoint_folders, load_checkpoint_state
from seodang.errors import DataError, SeodangError
from seodang.files import MANIFEST, check_manifest
from seodang.models.config import ModelConfig


@dataclass(frozen=True)
class Check:
    """One question: did it pass, and what was found."""

    name: str
    passed: bool
    detail: str


@dataclass
class Report:
    """The checks of one model folder, checkpoint or file."""

    path: Path
    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every check did."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        checks = [{"name": check.name, "passed": check.passed, "detail": check.detail} for check in self.checks]
        return {"path": str(self.path), "passed": self.passed, "checks": checks}

    def ask(self, name: str, question: Callable[[], str]) -> bool:
        """Add a check: `question` returns what was found, or raises a SeodangError that says what is wrong."""
        try:
            self.checks.append(Check(name, True, question()))
        except SeodangError as error:
            self.checks.append(Check(name, False, f"{error.what}: {error.why}" if error.why else error.what))
        return self.checks[-1].passed


def verify(path: Path | str) -> list[Report]:
    """Check a model folder, a checkpoint, every model of a run folder, or a GGUF or llama2.c file.

    A damaged model gives a report with failed checks, not an exception. Raises as `resolve` when `path` is
    nothing to check.
    """
    path = Path(path)
    if not path.is_dir():
        source = resolve(str(path))
        return [_verify_file(source.path or path)]
    folders = [path] if (path / "config.json").is_file() or is_interrupted(path) else []
    folders += checkpoint_folders(path)
    if not folders:
        source = resolve(path)  # a folder with one GGUF file, or an error that says what is not there
        return [_verify_file(source.path or path)]
    return [verify_folder(folder) for folder in folders]


def verify_folder(folder: Path) -> Report:
    """Check one Hugging Face folder, ours or another's; one of ours has a manifest and a probe as well."""
    report = Report(folder)
    report.ask("files", lambda: _files(folder))
    report.ask("tokenizer", lambda: _tokenizer(folder))
    if report.ask("shapes", lambda: _shapes(folder)) and report.ask("finite", lambda: _finite(folder)):
        report.ask("logits", lambda: _logits(folder))
    if (folder / STATE).exists():
        report.ask("training state", lambda: _training_state(folder))
    return report


def _files(folder: Path) -> str:
    require_published(folder)
    if not (folder / MANIFEST).is_file():
        return "no manifest: written by another program"
    check_manifest(folder)
    return "every file has the size and SHA-256 it was written with"


def _tokenizer(folder: Path) -> str:
    tokenizer = huggingface.read_tokenizer(folder)
    if tokenizer is None:
        return "none in the folder"
    rows = huggingface.read_config(folder).vocab_size
    huggingface.check_tokenizer(tokenizer, rows, folder)
    stated = huggingface.read_metadata(folder).get("tokenizer")
    if stated is not None and stated != tokenizer.fingerprint():
        raise DataError("the tokenizer is not the one that the model was saved with", "its fingerprint differs")
    return f"{tokenizer.vocab_size:,} ids for {rows:,} embedding rows"


def _shapes(folder: Path) -> str:
    tensors, _, layout, config = huggingface.published_tensors(folder)
    stated = huggingface.read_metadata(folder).get("config")
    if isinstance(stated, dict):
        now, then = layout.from_config(config), layout.from_config(ModelConfig.from_dict(stated))
        for key, value in then.items():
            if now[key] != value:
                raise DataError(f"config.json has {key} = {now[key]}", f"{SEODANG} was written with {value}")
    return f"{len(tensors.files)} tensors, as config.json of the type {layout.model_type} says"


def _finite(folder: Path) -> str:
    tensors, *_ = huggingface.published_tensors(folder)
    return _all_finite(tensors.items())


def _logits(folder: Path) -> str:
    model, _, _ = huggingface.load_folder(folder, dtype=torch.float32)
    probe = huggingface.read_metadata(folder).get("probe")
    if probe is None:
        return "no probe to compare with: written by another program, or in shards"
    return f"as when it was saved, to {check_probe(model, probe):.1g} (tolerance {probe['tolerance']:.1g})"


def _training_state(folder: Path) -> str:
    tensors, state = load_checkpoint_state(folder)
    _all_finite(iter(tensors.items()))
    step = f"step {state['step']}, " if "step" in state else ""
    return f"{step}{len(tensors)} tensors to resume from"


def _all_finite(tensors: Iterator[tuple[str, Tensor]]) -> str:
    count = 0
    for name, tensor in tensors:
        count += tensor.numel()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DataError(f"{name} holds NaN or infinity", "training diverged before it was saved")
    return f"{count:,} numbers, none of them NaN or infinite"


def _verify_file(path: Path) -> Report:
    """Check a GGUF or llama2.c file: it loads strictly, its tokenizer fits, its numbers and logits are finite."""
    report = Report(path)
    holder: list[Any] = []

    def load() -> str:
        holder.append(load_model(path))
        return f"{sum(p.numel() for p in holder[0].model.parameters()):,} parameters"

    def finite() -> str:
        model = holder[0].model
        with torch.no_grad():
            logits = model.logits(model(torch.tensor([[0, 1]])))
        return _all_finite(iter([*model.state_dict().items(), ("the logits", logits)]))

    if report.ask("loads", load):
        report.ask("finite", finite)
    return report
