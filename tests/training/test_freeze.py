"""Parameters that are not trained: which, what they cost, and that they come out as they went in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seodang.errors import UsageError
from seodang.objectives.language import LanguageModelling
from seodang.training.freeze import FILE, freeze, frozen_matrices, keep_frozen_low
from seodang.training.offload import HostOptimizer
from seodang.training.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors
from seodang.training.step import autocast, train_step
from tests.training.helpers import CPU, cut, one_step, ragged_batch, tiny


@pytest.mark.parametrize(
    "patterns, frozen",
    [
        ("embed", ["embed.weight"]),
        ("layers.1.attention.q", ["layers.1.attention.q.weight"]),
        ("layers.*.attention.k, norm", ["layers.0.attention.k.weight", "layers.1.attention.k.weight", "norm.weight"]),
        ("layers.0-0.mlp", [f"layers.0.mlp.{part}.weight" for part in ("up", "down", "gate")]),
        ("layers.1-7.mlp_norm", ["layers.1.mlp_norm.weight"]),
    ],
)
def test_patterns(patterns: str, frozen: list[str]) -> None:
    model = tiny("llama-mini", tied=True)
    assert freeze(model, patterns) == frozen
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == frozen


@pytest.mark.parametrize(
    "patterns, said",
    [
        ("layer.0", "layers"),
        ("layers.7", "layers"),
        ("head", "freeze embed"),
        ("embed,layers,norm", "left to train"),
        ("layers.*.atention", "attention"),
    ],
)
def test_patterns_that_cannot_be_meant(patterns: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        freeze(tiny("llama-mini", tied=True), patterns)
    assert said in str(caught.value) + caught.value.why + caught.value.fix


@pytest.mark.parametrize("family", ["gpt1-mini", "gpt2-mini", "gpt3-mini", "neox-mini", "llama-mini", "gemma3-mini"])
def test_low_precision_costs_half_and_changes_nothing(family: str, tmp_path: Path) -> None:
    plain, low = tiny(family), tiny(family)
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    for model in (plain, low):
        freeze(model, "embed,layers.0")
    n_bytes = sum(p.nbytes for p in low.parameters())
    saved = keep_frozen_low(low, torch.bfloat16, tmp_path)
    cast = [name for name, p in low.named_parameters() if p.dtype == torch.bfloat16]
    assert cast and all(name.startswith("layers.0.") and "norm" not in name for name in cast)
    assert saved == sum(p.nbytes for name, p in low.named_parameters() if name in cast)
    assert n_bytes - saved == sum(p.nbytes for p in low.parameters())
    with torch.no_grad(), autocast(CPU, torch.bfloat16):
        assert torch.equal(plain(ragged_batch().ids), low(ragged_batch().ids))  # bit for bit
    losses = [one_step(model, cut(ragged_batch(), 4), torch.bfloat16).loss for model in (plain, low)]
    assert losses[0] == losses[1]
    after, published = plain.state_dict(), low.state_dict()
    for name, value in published.items():
        assert torch.equal(value.float(), after[name])
        if name.startswith(("embed", "layers.0.")):
            assert torch.equal(value.float(), before[name])  # exactly as loaded
    assert not torch.equal(after["layers.1.mlp.up.weight"], before["layers.1.mlp.up.weight"])


def test_gradients_that_are_not_computed_are_no_work() -> None:
    model = tiny("llama-mini", tied=True)  # 16 wide, one of two key-value heads, 24 inner
    assert frozen_matrices(model) == 0
    freeze(model, "embed,layers.0.mlp,layers.1.attention.k,norm")
    assert frozen_matrices(model) == 40 * 16 + 3 * 16 * 24 + 8 * 16


def test_weights_that_lose_nothing_need_no_copy(tmp_path: Path) -> None:
    model = tiny()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    freeze(model, "layers.0")
    assert keep_frozen_low(model, torch.bfloat16, tmp_path) > 0
    assert not (tmp_path / FILE).exists()
    assert all(torch.equal(value.float(), before[name]) for name, value in model.state_dict().items())


def test_the_optimiser_in_main_memory_takes_the_same_steps() -> None:
    def build(model: torch.nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(model, lr=0.01, weight_decay=0.1)

    plain, model, resumed = tiny(), tiny(), tiny()
    for each in (plain, model, resumed):
        freeze(each, "layers.0.mlp")

    def step(of: torch.nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        train_step(
            of, LanguageModelling(), [ragged_batch(seed=seed)], optimizer, lr=0.01, grad_clip=1.0, device=CPU,
            dtype=torch.float32,
        )  # fmt: skip

    ordinary, host = build(plain), HostOptimizer(model, build)
    assert {id(p) for p in model.parameters()} & {id(p) for g in host.param_groups for p in g["params"]} == set()
    for seed in range(3):
        step(plain, ordinary, seed)
        step(model, host, seed)
    expected, found = optimizer_tensors(plain, ordinary), optimizer_tensors(model, host)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    resumed.load_state_dict(model.state_dict())
    again = HostOptimizer(resumed, build)
    load_optimizer_tensors(resumed, again, found)
    for of, optimizer in ((plain, ordinary), (model, host), (resumed, again)):
        step(of, optimizer, 9)
    for other in (model, resumed):
        assert all(torch.equal(p, q) for p, q in zip(plain.parameters(), other.parameters(), strict=True))
