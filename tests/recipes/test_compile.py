"""torch.compile: what is compiled, and what happens without a compiler."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from seodang.checkpoints.weights import fill
from seodang.models.base import Model
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.recipes import compiling, run
from seodang.recipes.compiling import compiled, compiling_repays
from seodang.recipes.plan import Machine
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer
from seodang.training.parallel import Ranks
from seodang.training.sharding import shard_model

HERE = Machine(torch.device("cpu"), torch.bfloat16, Ranks())


@pytest.fixture(scope="module")
def tokenizer(corpus: Path) -> Tokenizer:
    return train_tokenizer([corpus.read_text(encoding="utf-8")], kind="bpe", vocab_size=300)


def _model(tokenizer: Tokenizer) -> Model:
    model = build_model(published("gpt2-mini", vocab_size=tokenizer.vocab_size, n_layers=1))
    model.init_weights()
    return model


def test_samples_leave_the_compiled_graphs_to_training(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.utils import counters

    real = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: real(self, backend="eager"))
    model = compiled(_model(tokenizer), (2, 16), HERE).eval()
    before = counters["stats"]["unique_graphs"]
    assert before > 0
    sample = run.sampler(model, tokenizer, {"The": tokenizer.encode("The")}, seed=0)
    assert sample is not None and len(sample()) == 2
    assert counters["stats"]["unique_graphs"] == before


def test_without_a_compiler_training_goes_on(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(self: nn.Module, **options: bool) -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(nn.Module, "compile", missing)
    model = compiled(_model(tokenizer), (2, 16), HERE)
    assert "going on without it" in capsys.readouterr().err
    assert model(torch.zeros(1, 4, dtype=torch.long)).shape == (1, 4, 128)


def test_compiled_steps_equal_eager_ones(tokenizer: Tokenizer) -> None:
    """The whole graph, both passes, through the compiler's front end, with documents and without."""
    from seodang.data.batch import Batch
    from seodang.objectives.language import LanguageModelling

    eager, other = _model(tokenizer), _model(tokenizer)
    other.load_state_dict(eager.state_dict())
    other.compile(backend="aot_eager", fullgraph=True, dynamic=False)
    ids = torch.randint(0, 300, (2, 150))
    for documents in (None, (torch.arange(150) // 40).expand(2, -1).contiguous()):
        batch = Batch(ids, ids.roll(-1, 1), documents)
        losses = [LanguageModelling()(model, batch)["language"].sum for model in (eager, other)]
        gradients = [
            torch.autograd.grad(loss, list(model.parameters()))
            for loss, model in zip(losses, (eager, other), strict=True)
        ]
        torch.testing.assert_close(losses[1], losses[0])
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("minutes", "changes", "compiler", "answer"),
    [
        (20, {}, "/usr/bin/g++", True),
        (10, {}, "/usr/bin/g++", False),
        (20, {}, None, False),
        (20, {"attention_dropout": 0.1}, "/usr/bin/g++", False),
    ],
)
def test_only_long_runs_are_compiled(
    minutes: int, changes: dict[str, float], compiler: str | None, answer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "cpp_compiler", lambda: compiler)
    model = published("llama-mini", vocab_size=300, **changes)
    assert compiling_repays(model, {"seconds": minutes * 60}, HERE) is answer
    assert compiling_repays(model, {"seconds": None, "estimated_seconds": minutes * 60}, HERE) is answer


def test_a_shared_out_model_is_tried_and_continues_texts_in_its_compute_type(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: None)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (1, 1, 1), mesh_dim_names=("replicate", "shard", "tensor"))
        ranks, start = Ranks(0, 1, "full", 1, mesh), _model(tokenizer)
        model = build_model(start.config, "meta")
        shard_model(model, ranks, torch.bfloat16)
        fill(model.to_empty(device="cpu"), start.state_dict().items(), origin="the test")
        compiled(model, (2, 8), Machine(torch.device("cpu"), torch.bfloat16, ranks))
        assert capsys.readouterr().err == ""
        sample = run.sampler(model.eval(), tokenizer, {"The": tokenizer.encode("The")}, 0, torch.bfloat16)
        assert sample is not None and len(sample()) == 2
    finally:
        torch.distributed.destroy_process_group()
