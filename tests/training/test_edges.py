"""What must hold at the edges of a run: its last step, its signals, its default looks, what is deleted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seodang.checkpoints.training import checkpoint_folders, save_checkpoint
from seodang.errors import FitError, SeodangError
from seodang.files import check_manifest
from seodang.training.log import read_rows
from seodang.training.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors
from seodang.training.parallel import Ranks
from tests.training.helpers import tiny
from tests.training.run_for_kill import build


def _evaluated(out: Path) -> list[int]:
    return [row["step"] for row in read_rows(out / "metrics.jsonl") if row.get("split") == "eval"]


def test_a_run_killed_before_its_last_evaluation_makes_it_when_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(tmp_path / "whole", 4, save_every=2).fit()
    trainer = build(tmp_path / "broken", 4, save_every=2, eval_every=1000)

    def killed(log: object) -> dict[str, float]:
        if trainer.summary.steps == 4:
            raise InterruptedError
        return {}

    monkeypatch.setattr(trainer, "_evaluate", killed)
    with pytest.raises(InterruptedError):
        trainer.fit()
    summary = build(tmp_path / "broken", 4, save_every=2).fit()
    again = build(tmp_path / "broken", 4, save_every=2).fit()  # nothing is left to do
    losses = [each.evaluation["loss_per_token"] for each in (whole, summary, again)]
    assert losses[0] == losses[1] == losses[2]
    assert _evaluated(tmp_path / "broken").count(4) == 1


def test_a_signal_behind_the_agreement_waits_for_the_next_one(tmp_path: Path) -> None:
    """The other ranks are already in the next step: one that left now would leave them waiting."""
    trainer = build(tmp_path, 10, save_every=100)

    class Late(Ranks):
        def sum(self, values: list[float], device: torch.device | str = "cpu") -> list[float]:
            if values == [0.0] and trainer.summary.steps == 3 and not trainer._asked:
                signal.raise_signal(signal.SIGINT)
            return values

    trainer.ranks = Late()
    summary = trainer.fit()
    assert summary.interrupted and summary.steps == 4


def test_evaluation_comes_about_twenty_times_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = build(tmp_path / "cheap", 60, save_every=100)
    monkeypatch.setattr("seodang.training.trainer.time.monotonic", lambda: float(trainer.summary.steps))
    trainer.fit()
    assert 18 <= len(_evaluated(tmp_path / "cheap")) <= 22


def test_evaluation_takes_little_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = build(tmp_path, 60, save_every=100)
    real, spent = trainer.objective.__call__, [0.0]

    def slow(model: object, batch: object) -> object:
        spent[0] += 0.0 if trainer.model.training else 5.0  # two batches: an evaluation takes ten steps' time
        return real(model, batch)

    monkeypatch.setattr("seodang.training.trainer.time.monotonic", lambda: trainer.summary.steps + spent[0])
    monkeypatch.setattr(type(trainer.objective), "__call__", lambda self, model, batch: slow(model, batch))
    trainer.fit()
    assert len(_evaluated(tmp_path)) == 2


def test_steps_and_minutes_together_come_down_with_whichever_ends_first(tmp_path: Path) -> None:
    trainer = build(tmp_path, 10**6, save_every=10**6)
    trainer.plan.seconds = 1.0
    trainer.fit()
    rates = [row["learning_rate"] for row in read_rows(tmp_path / "metrics.jsonl") if "learning_rate" in row]
    assert rates[-1] < 0.3 * max(rates)


def test_a_damaged_later_checkpoint_never_costs_the_whole_one(tmp_path: Path) -> None:
    for step in (2, 4):
        save_checkpoint(tmp_path, step, lambda folder: None, {"a": torch.zeros(3)}, {}, keep=2)
    (checkpoint_folders(tmp_path)[-1] / "training.json").write_text("damaged")
    written = save_checkpoint(tmp_path, 3, lambda folder: None, {"a": torch.zeros(3)}, {}, keep=1)
    assert checkpoint_folders(tmp_path) == [written]
    check_manifest(written)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="file size limits are POSIX")
def test_a_disk_that_takes_no_more_is_no_traceback(tmp_path: Path) -> None:
    import resource

    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(SeodangError, match="was not written"):
            save_checkpoint(tmp_path, 1, lambda folder: None, {"a": torch.zeros(100_000)}, {}, keep=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_memory_that_the_cpu_does_not_have_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = build(tmp_path, 3, save_every=10)
    monkeypatch.setattr(trainer, "_run", lambda log: torch.empty(2**60))
    with pytest.raises(FitError, match="out of memory"):
        trainer.fit()


def test_the_optimiser_s_state_lies_where_the_weights_lie() -> None:
    model = tiny()
    optimizer = build_optimizer(model, lr=0.1, weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    elsewhere = tiny().to("meta")
    other = build_optimizer(elsewhere, lr=0.1, weight_decay=0.0)
    load_optimizer_tensors(elsewhere, other, optimizer_tensors(model, optimizer))
    assert {value.device.type for state in other.state.values() for value in state.values()} == {"meta"}


def test_so_many_checkpoints_stay_as_were_asked_for(tmp_path: Path) -> None:
    for step in range(1, 6):
        save_checkpoint(tmp_path, step, lambda folder: None, {"a": torch.zeros(3)}, {}, keep=3)
    assert [folder.name[-1] for folder in checkpoint_folders(tmp_path)] == ["3", "4", "5"]


def test_two_ranks_with_dropout_resume_bit_for_bit(tmp_path: Path) -> None:
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tests.training.two_ranks"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, str(tmp_path)],
        cwd=Path(__file__).parents[2], env=os.environ | {"PYTHONPATH": "."}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [read_rows(tmp_path / name / "metrics.jsonl") for name in ("whole", "broken")]
    losses = [[row["loss_per_token"] for row in run if "split" not in row] for run in rows]
    assert len(losses[0]) == 6 and losses[0] == losses[1]
