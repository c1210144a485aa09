"""DDP, FSDP2, hybrid and tensor parallelism train what one process trains, and take up each other's checkpoints."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from seodang.checkpoints.resolve import load_model
from seodang.checkpoints.training import checkpoint_folders
from seodang.errors import UsageError
from seodang.files import check_manifest
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.training.log import read_rows
from seodang.training.parallel import Ranks, attempt_store, grid
from seodang.training.sharding import require_heads
from tests.training.many_ranks import HALF, SCENARIOS, STEPS, Scenario, build, run

TWO = ("ddp", "full", "full-untied", "tensor", "tensor-untied", "muon", "compiled", "ddp-then-full", "full-then-ddp",
       "tensor-then-full", "muon-then-ddp", "one-then-full")  # fmt: skip
FOUR = ("hybrid", "tensor-full", "full-then-hybrid")


def launch(out: Path, processes: int, names: tuple[str, ...]) -> str:
    """Train the scenarios in so many processes; what they said."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", "tests.training.many_ranks", str(out), *names],
        cwd=Path(__file__).parents[2], env=os.environ | {"PYTHONPATH": "src:.", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def alone(scenario: Scenario) -> str:
    """Name of the run of one process that a scenario must equal."""
    return f"one-{scenario.model}-{scenario.tied}-{scenario.optimizer}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every scenario of two ranks, and the runs of one process that they must equal."""
    out = tmp_path_factory.mktemp("runs")
    for name in {alone(scenario): scenario for scenario in SCENARIOS.values()}.values():
        same = Scenario(alone(name), name.model, name.tied, optimizer=name.optimizer, states=name.states)
        run(out, same, Ranks())
    os.symlink(out / "one-gpt2-mini-True-adamw", out / "one")
    launch(out, 2, TWO)
    return out


@pytest.fixture(scope="module")
def runs_of_four(runs: Path) -> Path:
    launch(runs, 4, FOUR)
    return runs


def assert_equal(out: Path, name: str) -> None:
    """Losses, evaluations, gradient norms and the last weights are one process's, from where the run began."""
    scenario = SCENARIOS[name]
    same, first = alone(scenario), HALF + 1 if scenario.begun_by else 0
    rows = [[row for row in read_rows(out / run / "metrics.jsonl") if row["step"] >= first] for run in (same, name)]
    assert len(rows[0]) == len(rows[1]) == (STEPS + 3 if not first else HALF + 1)
    for mine, other in zip(*rows, strict=True):
        assert mine["loss_per_token"] == pytest.approx(other["loss_per_token"], abs=1e-6), mine["step"]
        assert mine["tokens"] == other["tokens"]
        if "grad_norm" in mine:
            assert mine["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)
    models = [load_model(checkpoint_folders(out / run)[-1]).model for run in (same, name)]
    for (key, a), (_, b) in zip(*(model.state_dict().items() for model in models), strict=True):
        if key.endswith("qkv.bias"):  # keys' biases change no score: their gradient is rounding, which AdamW blows up
            a, b = (torch.cat((bias[:16], bias[32:])) for bias in (a, b))
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", TWO)
def test_two_ranks_train_what_one_trains(runs: Path, name: str) -> None:
    assert_equal(runs, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUR)
def test_four_ranks_train_what_one_trains(runs_of_four: Path, name: str) -> None:
    assert_equal(runs_of_four, name)


def test_one_process_takes_up_a_sharded_checkpoint(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to(runs / "full")
    run(tmp_path, Scenario("full-then-ddp", begun_by="full"), Ranks())
    (tmp_path / alone(SCENARIOS["full"])).symlink_to(runs / alone(SCENARIOS["full"]))
    assert_equal(tmp_path, "full-then-ddp")


def test_a_sharded_checkpoint_is_whole_and_has_a_part_of_every_rank(runs: Path) -> None:
    for folder in checkpoint_folders(runs / "full"):
        check_manifest(folder)
        assert len(list((folder / "sharded").glob("*.safetensors"))) == 2
        assert not (folder / "model.safetensors").exists()
    assert not (runs / "full" / "checkpoints" / ".shards").exists()


def test_a_grid_that_the_processes_do_not_fill_is_refused() -> None:
    assert grid(8, "none", None, 2) == (4, 1, 2)
    assert grid(8, "full", None, 2) == (1, 4, 2)
    assert grid(8, "hybrid", 4, 1) == (2, 4, 1)
    with pytest.raises(UsageError, match="tensor-parallel 3"):
        grid(8, "full", None, 3)
    with pytest.raises(UsageError, match="groups of 3"):
        grid(8, "hybrid", 3, 1)


def test_what_an_earlier_attempt_has_left_in_the_store_is_not_seen() -> None:
    """Three processes, one of which the first attempt lost before it was answered."""
    kept = torch.distributed.HashStore()
    kept.set("seodang/asks/2", "the word of one that has died")
    with ThreadPoolExecutor(3) as pool:
        for attempt in range(2):
            stores = list(pool.map(lambda rank: attempt_store(kept, rank, 3), range(3)))
            assert not any(store.check(["address"]) for store in stores), attempt
            stores[0].set("address", "here")
            assert all(store.get("address") == b"here" for store in stores)


def test_heads_that_cannot_be_dealt_out_are_refused() -> None:
    require_heads(build_model(published("llama-7b"), "meta"), 8)
    with pytest.raises(UsageError, match="n_kv_heads = 1") as caught:
        require_heads(build_model(published("llama-mini", n_kv_heads=1), "meta"), 2)
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="one matrix"):
        require_heads(build_model(published("gpt2"), "meta"), 2)
    with pytest.raises(UsageError, match="share the norm"):
        require_heads(build_model(published("qwen3-mini"), "meta"), 2)


def test_tensor_ranks_drop_the_same_whatever_grid_the_checkpoint_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = build(tmp_path, Scenario("one"), Ranks())
    states = [torch.Generator().manual_seed(seed).get_state() for seed in range(4)]
    drawn = []
    for rank in range(2):
        trainer.ranks = Ranks(rank, 2, tensor_parallel=2)
        trainer._set_random({f"random/cpu/{share}": state for share, state in enumerate(states)})
        drawn.append(torch.rand(8))
    assert torch.equal(*drawn)
    trainer.ranks = Ranks(0, 4, tensor_parallel=2)
    monkeypatch.setattr(Ranks, "gather", lambda self, values, device="cpu": states)
    saved = trainer._random()
    assert list(saved) == ["random/cpu/0", "random/cpu/1"] and saved["random/cpu/1"] is states[2]
