"""torch.compile: what is compiled, and what happens without a compiler."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from seodang.models.decoder import Decoder
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.recipes import run
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer(corpus: Path) -> Tokenizer:
    return train_tokenizer([corpus.read_text(encoding="utf-8")], kind="bpe", vocab_size=300)


def _model(tokenizer: Tokenizer) -> Decoder:
    model = build_model(published("gpt2-mini", vocab_size=tokenizer.vocab_size, n_layers=1))
    model.init_weights()
    return model


def test_samples_leave_the_compiled_graphs_to_training(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.utils import counters

    real = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: real(self, backend="eager"))
    model = run.compiled(_model(tokenizer)).eval()
    before = counters["stats"]["unique_graphs"]
    assert before > 0
    sample = run.sampler(model, tokenizer, {"The": tokenizer.encode("The")}, seed=0)
    assert sample is not None and len(sample()) == 2
    assert counters["stats"]["unique_graphs"] == before


def test_without_a_compiler_training_goes_on(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(self: nn.Module) -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(nn.Module, "compile", missing)
    model = run.compiled(_model(tokenizer))
    assert "going on without it" in capsys.readouterr().err
    assert model(torch.zeros(1, 4, dtype=torch.long)).shape == (1, 4, 128)
