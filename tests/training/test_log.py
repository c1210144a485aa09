"""metrics.jsonl over a resumption, and what a joined run needs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from seodang.errors import SeodangError, UsageError
from seodang.training import log
from seodang.training.log import RunLog, duration, in_words, read_rows
from seodang.training.parallel import join_ranks


def _write(folder: Path, steps: int) -> None:
    run = RunLog(folder, quiet=True)
    for step in range(1, steps + 1):
        run.row({"step": step, "loss_per_token": math.nan if step == 2 else 1.0})
    run.close()


def test_rows_behind_the_checkpoint_are_dropped_and_the_others_stay_as_they_are(tmp_path: Path) -> None:
    _write(tmp_path, 5)
    before = (tmp_path / "metrics.jsonl").read_text().splitlines()
    run = RunLog(tmp_path, quiet=True, after_step=3)
    run.row({"step": 4})
    run.close()
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == [*before[:3], json.dumps({"step": 4})]


def test_a_crash_while_a_run_is_taken_up_costs_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, 5)
    monkeypatch.setattr("seodang.files.os.replace", _full)
    with pytest.raises(SeodangError):
        RunLog(tmp_path, quiet=True, after_step=3)
    assert len(read_rows(tmp_path / "metrics.jsonl")) == 5


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_missing_tensorboard_is_said_before_anything_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise UsageError("--tensorboard needs a package")

    _write(tmp_path, 2)
    monkeypatch.setattr(log, "_open_tensorboard", missing)
    with pytest.raises(UsageError):
        RunLog(tmp_path, quiet=True, tensorboard=True)
    assert len(read_rows(tmp_path / "metrics.jsonl")) == 2


@pytest.mark.parametrize(("seconds", "text"), [(245, "4:05"), (3723, "1:02:03"), (-1, "0:00"), (math.inf, "?")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_half_of_torchrun_s_variables_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="RANK"):
        join_ranks(torch.device("cpu"))


def test_an_evaluation_says_what_its_loss_is_a_mean_over() -> None:
    row = {"loss_per_token": 4.0, "bits_per_byte": 1.25}
    assert in_words(row) == "4.0000 per token, 1.250 bits per byte"
    unknown = {"loss_per_token": 4.0, "bits_per_byte": math.nan, "masked_accuracy": 0.1}
    assert in_words(unknown) == "4.0000 per masked token, masked accuracy 0.100"
    both = unknown | {"masked_loss": 3.3, "next_sentence_loss": 0.7}
    assert in_words(both).startswith("4.0000 in all, masked accuracy 0.100, masked loss 3.300")


def test_the_live_line_shows_bits_per_byte_only_where_there_are_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunLog(tmp_path)
    row = {"step": 1, "loss_per_token": 4.0, "learning_rate": 1e-3, "tokens_per_second": 9.0, "peak_bytes": 1}
    run.progress(row | {"bits_per_byte": math.nan}, "", 1.0, last=True)
    assert "bits/byte" not in capsys.readouterr().err
    run.progress(row | {"bits_per_byte": 1.5}, "", 1.0, last=True)
    assert "bits/byte 1.500  lr" in capsys.readouterr().err
    run.close()
