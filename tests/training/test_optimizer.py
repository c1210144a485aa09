"""Muon, and optimiser states in two bytes or one."""

from __future__ import annotations

import math

import pytest
import torch

from seodang.objectives.language import LanguageModelling
from seodang.training.adamw import SmallAdamW
from seodang.training.freeze import freeze
from seodang.training.moments import BLOCK, SMALL, Codebook, Moments, StateKind, block_size, dynamic_map
from seodang.training.muon import Muon, orthogonalise
from seodang.training.optimizer import (
    build_optimizer,
    hidden_matrices,
    load_optimizer_tensors,
    optimizer_tensors,
    state_bytes,
)
from seodang.training.step import train_step
from tests.training.helpers import CPU, one_step, ragged_batch, tiny

KINDS = [("adamw", "bfloat16"), ("adamw", "8bit"), ("muon", "float32"), ("muon", "bfloat16"), ("muon", "8bit")]


def parameter(*shape: int, seed: int = 0) -> torch.nn.Parameter:
    """Normal numbers."""
    return torch.nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))


def gradients(shape: tuple[int, ...], steps: int, seed: int = 1) -> list[torch.Tensor]:
    """Normal numbers, anew for every step."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(steps)]


# ---- Muon


@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (48, 16)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalise(matrix, dtype=torch.float32)
    in_its_directions = u.T @ found @ v.T
    values = in_its_directions.diagonal()
    assert values.min() > 0.3 and values.max() < 1.3  # 0.7 and above for all but the smallest
    assert values[s > s[0] / 10].min() > 0.65
    assert (in_its_directions - values.diag()).abs().max() < 1e-4


@pytest.mark.parametrize("scaling", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("shape", [(32, 32), (48, 16), (16, 48)])
def test_muon_equals_torch_s(shape: tuple[int, int], scaling: str) -> None:
    ours, theirs = parameter(*shape), parameter(*shape)
    mine = Muon([ours], lr=0.02, weight_decay=0.1, scaling=scaling)  # type: ignore[arg-type]
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn=scaling)
    for gradient in gradients(shape, 4):
        for p, optimizer in ((ours, mine), (theirs, reference)):
            p.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


def test_fused_q_k_v_are_three_matrices() -> None:
    """As torch's Muon moves them when each is a parameter of its own."""
    whole, gradient = parameter(16 + 8 + 8, 16), gradients((32, 16), 1)[0]
    gradient[:16] *= 1000  # together, q's gradient would leave nothing of the others'
    apart = [torch.nn.Parameter(part.clone()) for part in whole.detach().split((16, 8, 8))]
    whole.grad = gradient.clone()
    Muon([{"params": [whole], "parts": (16, 8, 8)}], lr=0.1, scaling="match_rms_adamw").step()
    reference = torch.optim.Muon(apart, lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for p, part in zip(apart, gradient.split((16, 8, 8)), strict=True):
        p.grad = part.clone()
    reference.step()
    torch.testing.assert_close(whole, torch.cat([p.detach() for p in apart]), rtol=0, atol=2e-6)


@pytest.mark.parametrize("family", ["gpt1-mini", "gpt2-mini", "gpt3-mini", "neox-mini", "llama-mini", "gemma3-mini"])
def test_muon_takes_the_matrices_inside_the_layers(family: str) -> None:
    model = tiny(family)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {names[id(p)]: parts for p, parts in hidden_matrices(model).items()}
    fused = {"layers.0.attention.qkv.weight": (16, 16, 16), "layers.0.attention.out.weight": None}
    apart = {f"layers.0.attention.{part}.weight": None for part in ("q", "k", "v", "out")}
    mlp = {f"layers.0.mlp.{part}.weight": None for part in ("up", "down")}
    gate = {"layers.0.mlp.gate.weight": None} if family in ("llama-mini", "gemma3-mini") else {}
    expected = (fused if family in ("gpt1-mini", "gpt2-mini", "neox-mini") else apart) | mlp | gate
    assert {name: parts for name, parts in found.items() if ".0." in name} == expected
    assert all("layers." in name for name in found)
    optimizer = build_optimizer(model, lr=0.01, weight_decay=0.1, kind="muon")
    in_groups = [p for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, in_groups)) == sorted(map(id, model.parameters()))


def test_each_group_has_its_rate() -> None:
    model = tiny()
    optimizer = build_optimizer(model, lr=0.01, weight_decay=0.1, kind="muon", muon_lr=0.05)
    train_step(
        model, LanguageModelling(), [ragged_batch()], optimizer, lr=0.004, grad_clip=1, device=CPU, dtype=torch.float32
    )
    rates = {"parts" in group: group["lr"] for group in optimizer.param_groups}
    assert rates == {True: pytest.approx(0.02), False: pytest.approx(0.004)}


# ---- states


def test_the_map_is_the_published_one() -> None:
    """By hand: 254 levels and 0 and 1; the top decade's first and last; symmetric but for 1."""
    signed, unsigned = dynamic_map(signed=True), dynamic_map(signed=False)
    assert len(signed) == len(unsigned) == 256 and signed.unique().numel() == unsigned.unique().numel() == 256
    assert signed[-2] == pytest.approx(1 - 0.9 / 64 / 2) and signed[0] == -signed[-2]
    assert unsigned[-2] == pytest.approx(1 - 0.9 / 128 / 2)
    assert signed[signed > 0][0] == pytest.approx(0.55e-6)  # the middle of the lowest decade
    assert unsigned[unsigned > 0][:2].tolist() == pytest.approx([0.325e-6, 0.775e-6])
    assert (signed == 0).sum() == (unsigned == 0).sum() == 1


@pytest.mark.parametrize("signed", [True, False])
def test_encoding_finds_the_nearest(signed: bool) -> None:
    book = Codebook(signed=signed, device=CPU)
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(50_000, generator=generator) * 10.0 ** -torch.randint(0, 9, (50_000,), generator=generator)
    between = (book.values[1:] + book.values[:-1]) / 2
    edges = torch.cat((between, between.nextafter(torch.tensor(2.0)), between.nextafter(torch.tensor(-2.0))))
    numbers = torch.cat((numbers, -numbers, edges, book.values, torch.tensor([0.0, -0.0, 1.0, -1.0])))
    if not signed:
        numbers = numbers[numbers >= 0]
    codes = book.encode(numbers).long()
    distance = (numbers.double() - book.values.double()[codes]).abs()
    allowed = book.values.double()[1 if not signed else 0 :]  # the unsigned map never says 0
    best = (numbers.double()[:, None] - allowed).abs().amin(1)
    assert (distance - best).abs().max() < 1e-7
    assert torch.equal(book.encode(book.values[1:]).long(), torch.arange(1, 256))


def test_blocks_do_not_share_scales() -> None:
    p = parameter(2, 4096)
    with torch.no_grad():
        p[0, :BLOCK] *= 1e-6
    state: dict[str, torch.Tensor] = {}
    moments = Moments("8bit")
    moments.create(state, "x", p)
    assert state["x"].shape == p.shape and state["x_scale"].shape == (2, 4096 // BLOCK)
    for part in moments.parts(p):
        moments.write(state, "x", part, p.detach().view(-1)[part].clone(), turn=0)
    back = torch.cat([moments.read(state, "x", part) for part in moments.parts(p)]).view_as(p)
    blocks = p.detach().view(-1, BLOCK)
    error = (back.view(-1, BLOCK) - blocks).abs().amax(1) / blocks.abs().amax(1)
    assert 0.001 < error.max() <= 0.9 / 64 / 2 + 1e-6


@pytest.mark.parametrize(("columns", "block"), [(768, 256), (384, 192), (128, 128), (1600, 200), (257, 1)])
def test_blocks_divide_rows(columns: int, block: int) -> None:
    p = torch.empty(64, columns, device="meta")
    assert block_size(p) == block
    state: dict[str, torch.Tensor] = {}
    Moments("8bit").create(state, "x", p)
    assert (state["x"].dtype == torch.uint8) == (block > 1)


def test_bfloat16_is_right_on_the_mean() -> None:
    moments, value = Moments("bfloat16"), torch.full((SMALL,), 1 + 2**-10)  # an eighth of the way to the next number
    turns = torch.stack([moments.rounded(value, turn, 0).float() for turn in range(400)])
    assert set(turns.unique().tolist()) == {1.0, 1 + 2**-7}
    assert turns.mean().item() == pytest.approx(1 + 2**-10, abs=2e-6)
    each = turns.mean(0) - (1 + 2**-10)  # every number for itself, not only their mean
    assert each.std().item() == pytest.approx(2**-7 * math.sqrt(7 / 64 / 400), rel=0.2)


def test_a_mean_that_shrinks_slowly_is_followed() -> None:
    """With β₂ = 0.999 rounding to the nearest would keep the second moment where it is for ever."""
    p = parameter(64, 128)
    optimizer = SmallAdamW([p], lr=0.0, betas=(0.9, 0.999), eps=1e-8, moments=Moments("bfloat16"))  # type: ignore[list-item]
    stalled = torch.tensor(1.0, dtype=torch.bfloat16)
    for step in range(500):
        p.grad = torch.full_like(p, 31.6 if step == 0 else 1e-3)
        optimizer.step()
        stalled = (stalled.float() * 0.999).bfloat16()
    assert stalled == 1.0  # that is what this test is about
    found = optimizer.state[p]["exp_avg_sq"].float().mean().item()
    assert found == pytest.approx(31.6**2 * 0.001 * 0.999**499, rel=0.01)


def test_a_small_second_moment_beside_a_large_one_is_no_zero() -> None:
    """Its update must stay as large as AdamW's at most, not grow to momentum / eps."""
    p = parameter(16, BLOCK)
    before = p.detach().clone()
    optimizer = SmallAdamW([p], lr=1.0, betas=(0.9, 0.95), eps=1e-8, moments=Moments("8bit"))  # type: ignore[list-item]
    for step in range(3):
        p.grad = torch.full_like(p, 1e-5 if step == 0 else 0.0)
        p.grad[:, 0] = 1.0
        optimizer.step()
    assert (p - before).abs().max() < 4


@pytest.mark.parametrize(("states", "most"), [("bfloat16", 0.004), ("8bit", 0.05)])
def test_small_states_follow_adamw(states: str, most: float) -> None:
    """Ten steps at a rate of 0.01: as far from AdamW's weights as the rounding of the moments allows."""
    ours, theirs, bias = parameter(64, 128), parameter(64, 128), parameter(64)
    mine = SmallAdamW([ours, bias], lr=0.01, betas=(0.9, 0.95), eps=1e-8, moments=Moments(states))  # type: ignore[arg-type,list-item]
    reference = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    for gradient in gradients((64, 128), 10):
        bias.grad = gradient[:, 0].clone()
        for p, optimizer in ((ours, mine), (theirs, reference)):
            p.grad = gradient.clone()
            optimizer.step()
    assert mine.state[bias]["exp_avg"].dtype == torch.float32  # few numbers: kept whole
    difference = (ours - theirs).norm() / (theirs - parameter(64, 128)).norm()
    assert 0 < difference < most


@pytest.mark.parametrize(
    ("kind", "states", "per_parameter"),
    [("adamw", "float32", 8.0), ("adamw", "bfloat16", 4.0), ("adamw", "8bit", 2 * (1 + 4 / BLOCK)),
     ("muon", "float32", 4.0), ("muon", "bfloat16", 2.0), ("muon", "8bit", 1 + 4 / BLOCK)],
)  # fmt: skip
def test_bytes_of_the_states(kind: str, states: str, per_parameter: float) -> None:
    """Counted in the optimiser after a step; small tensors and, for Muon, the few that AdamW keeps aside."""
    model = tiny(d_model=256, d_head=128, d_ff=1024, n_layers=1)
    optimizer = build_optimizer(model, lr=0.01, weight_decay=0.1, kind=kind, states=states)  # type: ignore[arg-type]
    for p in model.parameters():
        p.grad = torch.randn(p.shape)
    optimizer.step()
    tensors = [t for state in optimizer.state.values() for key, t in state.items() if key != "step"]
    held = sum(t.numel() * t.element_size() for t in tensors)
    assert held == state_bytes(model, kind, states)  # type: ignore[arg-type]
    assert held / sum(p.numel() for p in model.parameters()) == pytest.approx(per_parameter, rel=0.12)


@pytest.mark.parametrize(("kind", "states"), KINDS)
def test_resuming_is_exact(kind: str, states: str) -> None:
    model, twin = (tiny(d_model=64, d_head=32, d_ff=128) for _ in range(2))

    def build(m: torch.nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(m, lr=0.01, weight_decay=0.1, kind=kind, states=states)  # type: ignore[arg-type]

    def step(m: torch.nn.Module, o: torch.optim.Optimizer, seed: int) -> None:
        train_step(
            m, LanguageModelling(), [ragged_batch(seed=seed)], o, lr=0.01, grad_clip=1, device=CPU, dtype=torch.float32
        )

    first, second = build(model), build(twin)
    step(model, first, 1)
    step(model, first, 2)
    twin.load_state_dict(model.state_dict())
    load_optimizer_tensors(twin, second, optimizer_tensors(model, first))
    for seed in (3, 4):
        step(model, first, seed)
        step(twin, second, seed)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True))
    third = build(model)  # torch's own way to the same end
    third.load_state_dict(first.state_dict())
    twin.load_state_dict(model.state_dict())
    step(twin, second, 5)
    step(model, third, 5)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True))


def test_states_of_another_kind_are_refused() -> None:
    model = tiny(d_model=64, d_head=32, d_ff=128)
    first, second = (
        build_optimizer(model, lr=0.01, weight_decay=0.1, states=states)  # type: ignore[arg-type]
        for states in ("8bit", "float32")
    )
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    first.step()
    with pytest.raises(KeyError, match="exp_avg in float32"):
        load_optimizer_tensors(model, second, optimizer_tensors(model, first))


@pytest.mark.parametrize("states", ["float32", "8bit"])
@pytest.mark.parametrize("frozen", ["layers", "embed,positions,norm,layers.*.attention_norm,layers.*.mlp_norm"])
def test_muon_where_only_one_of_its_two_kinds_is_trained(frozen: str, states: StateKind) -> None:
    model = tiny(attention_bias=False, mlp_bias=False)
    freeze(model, frozen)
    optimizer = build_optimizer(model, lr=0.01, weight_decay=0.1, kind="muon", states=states)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in trained} == {id(p) for p in model.parameters() if p.requires_grad}
    one_step(model, [ragged_batch()])  # for its gradients
    before = [p.detach().clone() for p in trained]
    optimizer.step()
    assert not any(torch.equal(a, b) for a, b in zip(before, trained, strict=True))
