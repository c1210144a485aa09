from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seodang.models.base import Model
from tests.checkpoints.files import tiny


@pytest.fixture
def gpt2() -> Model:
    return tiny("gpt2")


@pytest.fixture
def llama() -> Model:
    return tiny("llama")


def logits(model: Model) -> torch.Tensor:
    """(1, 12, V) of fixed ids."""
    with torch.no_grad():
        return model.logits(model(torch.arange(12)[None]))


def cut(path: Path, n_bytes: int) -> None:
    """Leave only the first `n_bytes` (negative: all but the last)."""
    path.write_bytes(path.read_bytes()[:n_bytes])
