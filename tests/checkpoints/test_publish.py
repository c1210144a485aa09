"""A crash while a run publishes its model leaves the old model or a folder that is seen to be incomplete."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from seodang.checkpoints.huggingface import load_folder, save_folder
from seodang.checkpoints.publish import is_interrupted
from seodang.errors import DataError
from seodang.files import check_manifest
from tests.checkpoints.conftest import logits
from tests.checkpoints.files import tiny


class Killed(BaseException):
    """Stands for kill -9: no handler may tidy up after it."""


def kill_at(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the `count`-th rename or removal of a file from now on never happen, nor anything after it."""
    state = {"left": count}

    def guarded(function: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            state["left"] -= 1
            if state["left"] < 0:
                raise Killed
            return function(*arguments, **keywords)

        return call

    monkeypatch.setattr(os, "replace", guarded(os.replace))
    monkeypatch.setattr(Path, "unlink", guarded(Path.unlink))
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)


def run_folder(folder: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 1}\n')
    return folder


def test_other_files_stay(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    save_folder(run, tiny("gpt2"), None)
    model = tiny("llama")
    save_folder(run, model, None)
    assert (run / "metrics.jsonl").read_text() == '{"step": 1}\n' and (run / "checkpoints").is_dir()
    check_manifest(run)
    assert torch.equal(logits(load_folder(run)[0]), logits(model))
    assert not list(run.glob(".writing*"))


def test_old_shards_do_not_stay(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    save_folder(run, tiny("gpt2"), None, max_shard_bytes=60_000)
    save_folder(run, tiny("gpt2"), None)
    assert [path.name for path in run.glob("model*")] == ["model.safetensors"]


def test_a_folder_of_ours_alone_is_replaced_whole(tmp_path: Path) -> None:
    save_folder(tmp_path / "model", tiny("gpt2"), None, max_shard_bytes=60_000)
    save_folder(tmp_path / "model", tiny("llama"), None)
    assert load_folder(tmp_path / "model")[0].config.family == "llama"
    assert not (tmp_path / "model" / "model.safetensors.index.json").exists()


def test_somebody_elses_files_are_never_deleted(tmp_path: Path) -> None:
    save_folder(tmp_path / "model", tiny("gpt2"), None)
    (tmp_path / "model" / "diary.txt").write_text("mine")
    save_folder(tmp_path / "model", tiny("llama"), None)
    assert (tmp_path / "model" / "diary.txt").read_text() == "mine"


@pytest.mark.parametrize("first", [None, "gpt2"])
def test_a_kill_at_every_step(first: str | None, tmp_path: Path) -> None:
    """Killed before each of its renames in turn, until it gets through."""
    new = tiny("llama")
    outcomes = []
    for count in range(40):
        run = run_folder(tmp_path / str(count))
        if first is not None:
            save_folder(run, tiny(first), None)
        with pytest.MonkeyPatch.context() as monkeypatch:
            kill_at(count, monkeypatch)
            try:
                save_folder(run, new, None)
            except Killed:
                pass
            else:
                outcomes.append("new")
                break
        if is_interrupted(run):
            outcomes.append("incomplete")
            with pytest.raises(DataError, match="interrupted"):
                load_folder(run)
            save_folder(run, new, None)  # and it can be done again
            assert load_folder(run)[0].config == new.config
        elif (run / "config.json").exists():
            assert load_folder(run)[0].config.family == first
            outcomes.append("old")
        else:
            assert first is None
            outcomes.append("nothing")
    assert outcomes[-1] == "new" and outcomes.count("incomplete") >= 3
    assert outcomes == sorted(outcomes, key=["nothing", "old", "incomplete", "new"].index)
