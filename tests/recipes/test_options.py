"""Options that reach the run, that have no effect and say so, and that survive a move to another folder."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from seodang.checkpoints.huggingface import read_metadata
from seodang.errors import SeodangError, UsageError
from seodang.recipes import vocabulary
from seodang.recipes.config import PretrainConfig, SFTConfig
from seodang.recipes.plan import Machine
from seodang.recipes.pretrain import pretrain
from seodang.recipes.resume import resume
from seodang.recipes.run import check_options, read_run
from seodang.recipes.sft import sft
from seodang.text.tokenizer import Tokenizer
from seodang.training.parallel import Ranks
from seodang.training.trainer import Trainer
from tests.recipes.conftest import TINY


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A model of one step."""
    out = tmp_path_factory.mktemp("start") / "model"
    pretrain(PretrainConfig(model="llama-mini", data=(corpus,), out=out, steps=1, vocab_size=400, **TINY))
    return out


@pytest.mark.parametrize(
    "changes",
    [{"seed": -1}, {"beta2": 1.5}, {"beta2": -0.1}, {"lr": math.nan}, {"minutes": math.nan}, {"warmup": math.inf},
     {"muon_lr": 0.0}, {"decay_share": 0.0}, {"decay_share": 1.5}],
)  # fmt: skip
def test_numbers_that_cannot_be_meant_are_usage_errors(changes: dict[str, float], tmp_path: Path) -> None:
    name = next(iter(changes)).replace("_", "-")
    with pytest.raises(UsageError, match=f"--{name}"):
        check_options(PretrainConfig(model="gpt2-mini", data=(), out=tmp_path, **changes))  # type: ignore[arg-type]


def test_the_optimiser_s_options_reach_it_and_are_announced(
    tmp_path: Path, start: Path, questions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[dict[str, object]] = []
    monkeypatch.setattr(Trainer, "fit", lambda self: groups.extend(self.optimizer.param_groups) or self.summary)
    config = SFTConfig(
        model=str(start), data=(questions,), out=tmp_path / "run", steps=1, beta2=0.0, weight_decay=0.3, **TINY
    )
    assert sft(config).facts["weight_decay"] == 0.3
    assert groups[0]["betas"] == (0.9, 0.0) and groups[0]["weight_decay"] == 0.3


def test_muon_and_its_states_reach_the_run_and_are_announced(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the front door, with a checkpoint in between: interrupted and resumed is as if never interrupted."""
    options: dict[str, Any] = {
        "model": "gpt2-mini", "data": (corpus,), "vocab_size": 400, "max_length": 64, "optimizer": "muon",
        "muon_lr": 0.002, "optimizer_state": "8bit", "zero_init": True, "schedule": "wsd", "decay_share": 0.5,
        "decay_shape": "1-sqrt", "steps": 4, "save_every": 2, "keep": 3, **TINY, "quiet": False,
    }  # fmt: skip
    whole = pretrain(PretrainConfig(**options, out=tmp_path / "whole"))
    said = capsys.readouterr().err
    assert "Muon at 2.00e-03 with AdamW, states in 8 bits, wsd" in said and "no effect" not in said
    assert whole.facts["optimizer"] == "muon" and whole.facts["muon_learning_rate"] == 0.002
    tensors = load_file(tmp_path / "whole" / "checkpoints" / "step-00000004" / "training.safetensors")
    assert tensors["layers.0.mlp.up.weight/momentum_buffer"].dtype == torch.uint8
    assert tensors["embed.weight/exp_avg"].dtype == torch.uint8
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    shutil.rmtree(tmp_path / "broken" / "checkpoints" / "step-00000004")
    assert resume(tmp_path / "broken", quiet=True).summary.steps == 4
    ends = [load_file(tmp_path / run / "model.safetensors") for run in ("whole", "broken")]
    assert all(torch.equal(ends[1][name], tensor) for name, tensor in ends[0].items())
    rates = [json.loads(row) for row in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    rates = [row["learning_rate"] / whole.facts["learning_rate"] for row in rates if "learning_rate" in row]
    assert rates[1:] == pytest.approx([1.0, 0.1 + 0.9 * (1 - 0.5**0.5), 0.1])


def test_memory_planned_follows_the_states(tmp_path: Path, corpus: Path) -> None:
    options: dict[str, Any] = {"model": "gpt2-mini", "data": (corpus,), "vocab_size": 400, "dry_run": True, **TINY}
    plain, small = (
        pretrain(PretrainConfig(**options, out=tmp_path / states, optimizer_state=states)).facts  # type: ignore[arg-type]
        for states in ("float32", "8bit")
    )
    saved = (plain["memory_bytes"] - small["memory_bytes"]) / plain["parameters"]
    assert saved == pytest.approx(6, rel=0.03)


def test_a_row_that_does_not_multiply_out_is_said_and_not_begun(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"data": (corpus,), "vocab_size": 400, "steps": 1, **TINY}
    with pytest.raises(UsageError, match="no 'gpt_neo' form"):
        pretrain(PretrainConfig(model="gpt3-xl", out=tmp_path / "run", **options))
    assert "fit 16 heads of 128 (1,316M)" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_options_without_effect_say_so_and_a_decay_must_wait_for_the_warm_up(
    tmp_path: Path, start: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"model": str(start), "data": (corpus,), "dry_run": True, "steps": 10, **TINY}
    pretrain(
        PretrainConfig(
            **options, out=tmp_path / "a", muon_lr=0.1, decay_share=0.3, decay_shape="cosine", zero_init=True,
            shard_size=2, profile_steps=5,
        )  # fmt: skip
    )
    said = capsys.readouterr().err
    for option in ("--muon-lr", "--decay-share", "--decay-shape", "--zero-init", "--shard-size", "--profile-steps"):
        assert f"note: {option} has no effect" in said
    with pytest.raises(UsageError, match="--warmup and --decay-share take 110% of the run"):
        pretrain(PretrainConfig(**options, out=tmp_path / "b", schedule="wsd", warmup=0.3, decay_share=0.8))


def test_warm_up_in_steps_has_no_effect_by_the_clock_and_says_so(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"model": "gpt2-mini", "data": (corpus,), "vocab_size": 400, "dry_run": True, "warmup": 100.0}
    pretrain(PretrainConfig(**options, out=tmp_path / "clock", minutes=1))  # type: ignore[arg-type]
    assert "--warmup in steps has no effect" in capsys.readouterr().err
    pretrain(PretrainConfig(**options, out=tmp_path / "steps", steps=1000))  # type: ignore[arg-type]
    assert "no effect" not in capsys.readouterr().err


def test_a_run_is_resumed_from_anywhere_without_its_parent_and_keeps_its_lineage(
    start: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(start, "parent")
    out = tmp_path / "run"
    pretrain(PretrainConfig(model="parent", data=(corpus,), out=out, steps=2, max_length=64, **TINY))
    options = read_run(out)[1]
    assert options["model"] == str(tmp_path / "parent")
    before = read_metadata(out)["lineage"]["parent"]
    shutil.rmtree("parent")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (out / "run.json").write_text(json.dumps({"verb": "pretrain", "options": options | {"steps": 3}}))
    assert resume(out, quiet=True).summary.steps == 3
    assert read_metadata(out)["lineage"]["parent"] == before
    assert read_metadata(out / "checkpoints" / "step-00000003")["lineage"]["parent"] == before


def test_evaluation_rows_may_be_longer_than_those_trained_on(start: Path, questions: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"instruction": "Count.", "output": " ".join(str(n) for n in range(45))}) + "\n")
    config = SFTConfig(
        model=str(start), data=(questions,), eval=(long,), out=tmp_path / "run", steps=1, **TINY | {"batch_tokens": 64}
    )
    result = sft(config)
    assert result.facts["context_length"] < 100 and math.isfinite(result.summary.evaluation["loss_per_token"])


@pytest.mark.parametrize("text", ["[]", '{"verb": "pretrain", "options": {}}', "{"])
def test_a_damaged_run_file_is_no_traceback(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(SeodangError, match="damaged"):
        resume(tmp_path)


class _Second(Ranks):
    """One of two processes, whose peer has always done its part."""

    def barrier(self) -> None:
        pass


def test_only_the_first_process_learns_a_tokenizer(
    tmp_path: Path, start: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned = Tokenizer.load(start)
    monkeypatch.setattr(vocabulary, "train_tokenizer", lambda *_, **__: learned)
    config = PretrainConfig(model="gpt2-mini", data=(corpus,), out=tmp_path, quiet=True)
    cpu = torch.device("cpu")
    first = vocabulary.tokenizer_for(config, Machine(cpu, torch.float32, _Second(0, 2)), pairs=False)
    monkeypatch.delattr(vocabulary, "train_tokenizer")
    second = vocabulary.tokenizer_for(config, Machine(cpu, torch.float32, _Second(1, 2)), pairs=False)
    assert first.fingerprint() == second.fingerprint() == learned.fingerprint()


def test_what_an_interrupted_encoding_left_is_removed(tmp_path: Path, corpus: Path) -> None:
    left = tmp_path / "run" / "shards" / ".writing-train-abc"
    left.mkdir(parents=True)
    pretrain(
        PretrainConfig(model="gpt2-mini", data=(corpus,), out=tmp_path / "run", vocab_size=400, steps=1, **TINY)
    )
    assert not left.exists() and (tmp_path / "run" / "shards" / "train").is_dir()


@pytest.mark.parametrize("recipe", [pretrain, sft])
def test_a_missing_evaluation_file_is_said_before_anything_is_made(
    recipe: Any, tmp_path: Path, start: Path, corpus: Path
) -> None:
    kind = PretrainConfig if recipe is pretrain else SFTConfig
    config = kind(model=str(start), data=(corpus,), eval=(tmp_path / "none.jsonl",), out=tmp_path / "run", **TINY)
    with pytest.raises(SeodangError, match=r"none\.jsonl"):
        recipe(config)
    assert not (tmp_path / "run").exists()


def test_evaluation_rows_that_do_not_fit_are_said(
    start: Path, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = tmp_path / "mixed.jsonl"
    rows = questions.read_text() + json.dumps({"instruction": "Count.", "output": "one two three " * 99}) + "\n"
    mixed.write_text(rows)
    options = TINY | {"quiet": False}
    sft(SFTConfig(model=str(start), data=(questions,), eval=(mixed,), out=tmp_path / "run", dry_run=True, **options))
    assert "--eval: dropped as too long 1: " in capsys.readouterr().err
