"""One step: accumulation, ranks, bad steps, groups of the optimiser."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch
import torch.multiprocessing

from seodang.data.batch import Batch
from seodang.training.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors
from seodang.training.parallel import join_ranks
from seodang.training.step import SpikeGuard, train_step
from tests.training.helpers import CPU, cut, one_step, ragged_batch, tiny


@pytest.mark.parametrize("family", ["gpt1-mini", "gpt2-mini", "llama-mini"])
def test_accumulation_changes_nothing(family: str) -> None:
    batch = ragged_batch()
    whole, pieces = tiny(family), tiny(family)
    a, b = one_step(whole, [batch]), one_step(pieces, cut(batch, 1))
    assert a.loss == pytest.approx(b.loss, abs=1e-6)
    assert a.weights == b.weights
    for p, q in zip(whole.parameters(), pieces.parameters(), strict=True):
        assert p.grad is not None and q.grad is not None
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=1e-6)


def _rank_step(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = tiny()
    rows = cut(ragged_batch(), 1)[rank::2]
    result = one_step(model, rows, ranks=join_ranks(CPU))
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    from safetensors.torch import save_file

    save_file({**gradients, "loss": torch.tensor(result.loss, dtype=torch.float64)}, f"{folder}/{rank}.safetensors")
    torch.distributed.destroy_process_group()


def test_two_ranks_are_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank_step, args=(str(tmp_path),), nprocs=2)
    from safetensors.torch import load_file

    model = tiny()
    alone = one_step(model, [ragged_batch()])
    for rank in (0, 1):
        found = load_file(tmp_path / f"{rank}.safetensors")
        assert found.pop("loss").item() == pytest.approx(alone.loss, abs=1e-6)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(found[name], parameter.grad, rtol=0, atol=1e-6)


def test_a_loss_that_is_not_finite_leaves_the_weights_alone() -> None:
    model = tiny()
    with torch.no_grad():
        model.norm.weight[0] = math.nan
    before = model.embed.weight.clone()
    result = one_step(model, [ragged_batch()])
    assert result.skipped == "not finite"
    assert torch.equal(before, model.embed.weight)


def test_spike_guard_calls_a_jump_a_spike_and_not_noise() -> None:
    guard = SpikeGuard(window=16)
    for i in range(16):
        assert not guard.is_spike(100.0 if i < 8 else 3.0)  # silent until it knows enough
        guard.remember(3.0 + 0.01 * (i % 3))
    assert not guard.is_spike(3.3)
    assert guard.is_spike(9.0)


def test_a_spike_is_skipped() -> None:
    model = tiny()
    guard = SpikeGuard(window=4)
    guard.losses = [0.1, 0.1, 0.1, 0.1]
    optimizer = build_optimizer(model, lr=0.01, weight_decay=0.0)
    before = model.embed.weight.clone()
    from seodang.objectives.language import LanguageModelling

    result = train_step(
        model, LanguageModelling(), [ragged_batch()], optimizer, lr=0.01, grad_clip=1, device=CPU,
        dtype=torch.float32, guard=guard,
    )  # fmt: skip
    assert result.skipped == "spike" and torch.equal(before, model.embed.weight)


def test_weight_decay_reaches_matrices_only() -> None:
    model = tiny("gpt1-mini")
    decayed, plain = build_optimizer(model, lr=1, weight_decay=0.1).param_groups
    assert decayed["weight_decay"] == 0.1 and plain["weight_decay"] == 0
    names = {id(p): name for name, p in model.named_parameters()}
    assert all(p.dim() == 2 for p in decayed["params"])
    assert {names[id(p)].split(".")[-1] for p in plain["params"]} == {"weight", "bias"}
    assert all("norm" in names[id(p)] or names[id(p)].endswith("bias") for p in plain["params"])


def test_clipping_limits_the_update_not_the_report() -> None:
    model = tiny()
    from seodang.objectives.language import LanguageModelling

    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = [p.clone() for p in model.parameters()]
    result = train_step(
        model, LanguageModelling(), [ragged_batch()], optimizer, lr=1.0, grad_clip=1e-3, device=CPU, dtype=torch.float32
    )
    moved = torch.cat([(p - q).flatten() for p, q in zip(model.parameters(), before, strict=True)]).norm().item()
    assert result.grad_norm > 1e-2
    assert moved == pytest.approx(1e-3, rel=1e-2)


def test_optimizer_state_survives_as_plain_tensors() -> None:
    model, twin = tiny(), tiny()
    optimizer = build_optimizer(model, lr=0.01, weight_decay=0.1)
    from seodang.objectives.language import LanguageModelling

    def step(m: torch.nn.Module, o: torch.optim.Optimizer, batch: Batch) -> None:
        train_step(m, LanguageModelling(), [batch], o, lr=0.01, grad_clip=1, device=CPU, dtype=torch.float32)

    step(model, optimizer, ragged_batch(seed=1))
    twin.load_state_dict(model.state_dict())
    second = build_optimizer(twin, lr=0.01, weight_decay=0.1)
    load_optimizer_tensors(twin, second, optimizer_tensors(model, optimizer))
    step(model, optimizer, ragged_batch(seed=2))
    step(twin, second, ragged_batch(seed=2))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True))
