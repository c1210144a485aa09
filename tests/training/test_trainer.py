"""The trainer: resumed = uninterrupted, kill -9, signals, divergence, a full disk, what it writes."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seodang.checkpoints.training import checkpoint_folders, newest_checkpoint
from seodang.data.batch import Batch
from seodang.errors import DivergedError, FitError
from seodang.files import check_manifest
from seodang.training.log import read_rows
from tests.training.run_for_kill import CountingLoader, build


def _losses(out: Path) -> list[tuple[int, float]]:
    rows = read_rows(out / "metrics.jsonl")
    return [(row["step"], row["loss_per_token"]) for row in rows if row.get("split") != "eval"]


def _weights(out: Path) -> dict[str, torch.Tensor]:
    newest = newest_checkpoint(out)
    assert newest is not None
    return load_file(newest / "model.safetensors")


def _child(out: Path, steps: int, hold: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.training.run_for_kill", str(out), str(steps), str(hold)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=os.environ | {"PYTHONPATH": "."})


def test_40_steps_equal_20_kill_9_resume_20(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    build(whole, 40, save_every=100).fit()
    child = _child(broken, 40, hold=21)
    assert child.stdout is not None
    for line in child.stdout:
        if line == "step 21\n":  # 20 steps are done and saved
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert len(_losses(broken)) == 20
    build(broken, 40, save_every=100).fit()
    assert _losses(broken) == _losses(whole)  # bit for bit
    a, b = _weights(whole), _weights(broken)
    assert all(torch.equal(a[name], b[name]) for name in a)


def _assert_newest_is_whole(out: Path) -> None:
    named = checkpoint_folders(out)
    if named:  # whatever has the name of a checkpoint is whole
        for folder in named:
            check_manifest(folder)
        assert newest_checkpoint(out) == named[-1]
        assert load_file(named[-1] / "model.safetensors")
        json.loads((named[-1] / "training.json").read_text())


def test_kill_9_at_random_moments_leaves_the_newest_checkpoint_whole(tmp_path: Path) -> None:
    chance = random.Random(0)
    for _ in range(4):
        child = _child(tmp_path, 10**6)
        assert child.stdout is not None
        child.stdout.readline()  # it runs; every step saves, so most moments are within a save
        time.sleep(chance.uniform(0.0, 0.5))
        child.kill()
        child.wait()
        _assert_newest_is_whole(tmp_path)
    assert checkpoint_folders(tmp_path)


@pytest.mark.slow
def test_kill_9_at_30_random_moments(tmp_path: Path) -> None:
    chance = random.Random(1)
    for _ in range(30):
        child = _child(tmp_path, 10**6)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(chance.uniform(0.0, 1.0))
        child.kill()
        child.wait()
        _assert_newest_is_whole(tmp_path)
    assert checkpoint_folders(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(tmp_path: Path, number: signal.Signals) -> None:
    child = _child(tmp_path, 10**6)
    assert child.stdout is not None
    for line in child.stdout:
        if line == "step 3\n":
            break
    child.send_signal(number)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 0 and said.splitlines()[-1] == "interrupted"
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert int(newest.name.removeprefix("step-")) == len(_losses(tmp_path))


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path) -> None:
    build(tmp_path, 4, save_every=2).fit()
    older, newest = checkpoint_folders(tmp_path)
    with open(newest / "model.safetensors", "r+b") as stream:
        stream.truncate(100)
    told: list[str] = []
    assert newest_checkpoint(tmp_path, damaged=lambda error: told.append(error.why)) == older
    assert "model.safetensors has 100 bytes" in told[0]


class _Poisoned(CountingLoader):
    """From step 3 on, every batch has a target out of this world: the loss is not finite."""

    def __iter__(self):  # type: ignore[no-untyped-def]
        for micro_batches in super().__iter__():
            if self.step >= 3:
                micro_batches = [_NaNBatch(b.ids, b.targets) for b in micro_batches]
            yield micro_batches


class _NaNBatch(Batch):
    def to(self, device):  # type: ignore[no-untyped-def]
        return self


def test_three_bad_steps_stop_the_run_and_keep_the_last_good_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seodang.objectives.language import LanguageModelling

    real = LanguageModelling.__call__

    def poisoned(self, model, batch):  # type: ignore[no-untyped-def]
        loss = real(self, model, batch)
        if isinstance(batch, _NaNBatch):
            term = loss["language"]
            loss["language"] = type(term)(term.sum * math.nan, term.weight)
        return loss

    monkeypatch.setattr(LanguageModelling, "__call__", poisoned)
    with pytest.raises(DivergedError, match="step 5: 3 bad steps") as caught:
        build(tmp_path, 100, save_every=1000, loader=_Poisoned()).fit()
    assert caught.value.exit_code == 5
    newest = newest_checkpoint(tmp_path)
    assert newest is not None and newest.name.endswith("05")
    assert all(torch.isfinite(tensor).all() for tensor in load_file(newest / "model.safetensors").values())
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows if row.get("skipped") == "not finite"] == [3, 4, 5]


def test_a_model_that_is_not_finite_is_never_saved(tmp_path: Path) -> None:
    trainer = build(tmp_path, 3, save_every=1)
    with torch.no_grad():
        trainer.model.embed.weight[0, 0] = math.inf  # type: ignore[union-attr, index]
    with pytest.raises(DivergedError, match="embed.weight"):
        trainer.save()
    assert not checkpoint_folders(tmp_path)


def test_a_full_disk_is_said_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = build(tmp_path, 3, save_every=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 10))  # type: ignore[attr-defined]
    with pytest.raises(FitError, match="no room") as caught:
        trainer.fit()
    assert caught.value.exit_code == 4
    assert not (tmp_path / "checkpoints").exists()


def test_what_a_run_writes(tmp_path: Path) -> None:
    summary = build(tmp_path, 6, save_every=2, eval_every=3).fit()
    rows = read_rows(tmp_path / "metrics.jsonl")
    train = [row for row in rows if "split" not in row]
    assert [row["step"] for row in train] == [1, 2, 3, 4, 5, 6]
    assert {
        "step", "tokens", "loss_per_token", "bits_per_byte", "tokens_per_second", "learning_rate", "grad_norm",
        "seconds", "peak_bytes",
    } <= set(train[0])  # fmt: skip
    assert [row["step"] for row in rows if row.get("split") == "eval"] == [0, 3, 6]
    assert train[-1]["tokens"] == summary.tokens == 6 * 8 * 12
    assert summary.evaluation["loss_per_token"] != summary.first_evaluation["loss_per_token"]
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["step-00000004", "step-00000006"]


def test_looking_up_does_not_change_what_is_trained(tmp_path: Path) -> None:
    build(tmp_path / "often", 6, save_every=100, eval_every=1).fit()
    build(tmp_path / "never", 6, save_every=100).fit()
    assert _losses(tmp_path / "often") == _losses(tmp_path / "never")


def test_a_run_by_the_clock_ends_and_its_schedule_comes_down(tmp_path: Path) -> None:
    trainer = build(tmp_path, 1, save_every=1000)
    trainer.plan.steps, trainer.plan.seconds = None, 1.0
    summary = trainer.fit()
    rates = [row["learning_rate"] for row in read_rows(tmp_path / "metrics.jsonl") if "learning_rate" in row]
    assert summary.steps > 3 and 1.0 <= summary.seconds < 5
    assert rates[-1] < 0.3 * max(rates)
