"""pretrain → sft → resume as Python functions, on a text that the test writes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from seodang.checkpoints.huggingface import save_folder
from seodang.checkpoints.resolve import load_model
from seodang.checkpoints.training import checkpoint_folders
from seodang.errors import DataError, UsageError
from seodang.inference.decode import generate
from seodang.inference.sampling import Settings
from seodang.recipes.config import PretrainConfig, SFTConfig
from seodang.recipes.pretrain import pretrain
from seodang.recipes.resume import resume
from seodang.recipes.run import read_run
from seodang.recipes.sft import sft
from seodang.text.chat import render
from seodang.training.log import read_rows
from tests.recipes.conftest import TINY


def _losses(out: Path) -> list[float]:
    return [row["loss_per_token"] for row in read_rows(out / "metrics.jsonl") if "split" not in row]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A model pre-trained for 60 steps."""
    out = tmp_path_factory.mktemp("base") / "model"
    result = pretrain(
        PretrainConfig(
            model="gpt2-mini", data=(corpus,), out=out, steps=60, lr=3e-3, vocab_size=400, eval_fraction=0.1,
            max_length=64, sample=("The little", "작은"), **TINY,
        )
    )  # fmt: skip
    before, after = result.summary.first_evaluation, result.summary.evaluation
    assert after["bits_per_byte"] < 0.4 * before["bits_per_byte"]
    return out


def test_pretraining_leaves_a_model_folder_and_its_story(base: Path) -> None:
    present = {path.name for path in base.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "seodang.json", "manifest.json"} <= present
    assert {"metrics.jsonl", "samples.jsonl", "run.json", "checkpoints"} <= present
    samples = read_rows(base / "samples.jsonl")
    assert {row["prompt"] for row in samples} == {"The little", "작은"}
    assert {0, 60} <= {row["step"] for row in samples}
    verb, options = read_run(base)
    assert verb == "pretrain" and options["steps"] == 60
    lineage = json.loads((base / "seodang.json").read_text())["lineage"]
    assert lineage["verb"] == "pretrain" and lineage["data"][0].endswith("stories.jsonl")


def test_the_vocabulary_and_the_context_are_the_data_s(base: Path) -> None:
    loaded = load_model(str(base))
    assert loaded.tokenizer is not None
    assert loaded.model.config.vocab_size == loaded.tokenizer.vocab_size <= 400
    assert loaded.model.config.context_length == 256


def test_micro_batches_do_not_change_a_run(tmp_path: Path, corpus: Path) -> None:
    for name, rows in (("one", 1), ("four", 4)):
        pretrain(
            PretrainConfig(
                model="llama-mini", data=(corpus,), out=tmp_path / name, steps=3, vocab_size=400, max_length=64,
                micro_batch=rows, **TINY,
            )
        )  # fmt: skip
    assert _losses(tmp_path / "one") == pytest.approx(_losses(tmp_path / "four"), abs=1e-5)


def test_sft_teaches_to_answer_and_to_stop(base: Path, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "chat"
    result = sft(
        SFTConfig(
            model=str(base),
            data=(questions,),
            out=out,
            epochs=40,
            lr=3e-3,
            eval_fraction=0,
            **(TINY | {"batch_tokens": 128}),
        )
    )
    assert result.facts["rows"] == 20
    loaded = load_model(str(out))
    tokenizer = loaded.tokenizer
    assert tokenizer is not None
    prompts = [
        render(tokenizer, [{"role": "user", "content": f"Say the number {n}."}], add_generation_prompt=True)
        for n in range(20)
    ]
    end = tokenizer.end_of_turn_id
    assert end is not None
    answers = generate(loaded.model, prompts, Settings(max_new_tokens=40, stop_ids=(end,)))
    assert sum(answer.finish_reason == "stop" for answer in answers) >= 19  # at least 95 % stop by themselves
    texts = [tokenizer.decode(answer.tokens, skip_special=True) for answer in answers]
    assert all(text.startswith("The number is ") for text in texts)
    assert result.facts["dropped_rows"] == 0 and _losses(out)[-1] < 0.1 * _losses(out)[0]
    assert json.loads((out / "seodang.json").read_text())["lineage"]["parent"]["path"].endswith("model")


def test_sft_of_a_model_without_a_chat_template_gives_it_one(base: Path, questions: Path, tmp_path: Path) -> None:
    loaded = load_model(str(base))
    assert loaded.tokenizer is not None
    plain = loaded.tokenizer
    plain.chat_template = None
    before = plain.vocab_size
    save_folder(tmp_path / "plain", loaded.model, plain)
    sft(SFTConfig(model=str(tmp_path / "plain"), data=(questions,), out=tmp_path / "chat", steps=2, **TINY))
    chat = load_model(str(tmp_path / "chat"))
    assert chat.tokenizer is not None and chat.tokenizer.chat_template is not None
    assert chat.model.config.vocab_size == chat.tokenizer.vocab_size >= before
    assert chat.tokenizer.end_of_turn_id in chat.generation["eos_token_id"]


def test_resume_is_the_same_run(tmp_path: Path, corpus: Path) -> None:
    """40 steps = some steps + kill -9 + resume, through the front door, mid-epoch and with accumulation."""

    def command(out: Path) -> list[str]:
        return [
            sys.executable, "-m", "seodang", "pretrain", "--model", "gpt1-mini", "--data", str(corpus),
            "--out", str(out), "--steps", "40", "--save-every", "5", "--vocab-size", "400", "--max-length", "32",
            "--batch-tokens", "256", "--micro-batch", "3", "--dropout", "0.1", "--dtype", "float32", "--device", "cpu",
        ]  # fmt: skip

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert subprocess.run(command(whole), capture_output=True).returncode == 0
    child = subprocess.Popen(command(broken), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not checkpoint_folders(broken) or int(checkpoint_folders(broken)[-1].name[-8:]) < 15:
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = int(checkpoint_folders(broken)[-1].name[-8:])
    assert 15 <= done < 40
    result = resume(broken, quiet=True)
    assert result.summary.steps == 40
    assert _losses(broken) == _losses(whole)  # bit for bit
    a, b = load_model(str(whole)).model.state_dict(), load_model(str(broken)).model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_two_processes_train_as_one_and_one_of_them_speaks(base: Path, tmp_path: Path, corpus: Path) -> None:
    def command(out: Path) -> list[str]:
        return [
            "seodang", "pretrain", "--model", "llama-mini", "--data", str(corpus), "--out", str(out), "--steps", "8",
            "--tokenizer", str(base), "--max-length", "32", "--batch-tokens", "256", "--micro-batch", "2",
            "--dtype", "float32", "--device", "cpu",
        ]  # fmt: skip

    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    alone = subprocess.run(
        [sys.executable, "-m", *command(tmp_path / "one")], capture_output=True, text=True, timeout=120
    )
    both = subprocess.run([*launcher, *command(tmp_path / "two")], capture_output=True, text=True, timeout=120)
    assert alone.returncode == 0 and both.returncode == 0, both.stderr
    assert _losses(tmp_path / "two") == pytest.approx(_losses(tmp_path / "one"), abs=1e-6)
    assert both.stdout.count("8 steps") == 1 and both.stderr.count("held out") == 1
    assert load_model(str(tmp_path / "two")).model.config == load_model(str(tmp_path / "one")).model.config


def test_resuming_other_data_is_refused(tmp_path: Path, corpus: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_bytes(corpus.read_bytes())
    config = PretrainConfig(
        model="gpt2-mini", data=(own,), out=tmp_path / "run", steps=2, vocab_size=400, max_length=64, **TINY
    )
    pretrain(config)
    own.write_text('{"text": "something else entirely, and long enough to train on for a while"}\n' * 30)
    with pytest.raises(DataError, match="not that of the interrupted run"):
        resume(tmp_path / "run", quiet=True)


def test_a_finished_model_is_not_overwritten(base: Path, corpus: Path) -> None:
    with pytest.raises(UsageError, match="already holds a run"):
        pretrain(PretrainConfig(model="gpt2-mini", data=(corpus,), out=base, steps=1))


def test_dry_run_says_what_would_happen_and_writes_nothing(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = PretrainConfig(
        model="gpt2-mini", data=(corpus,), out=tmp_path / "run", steps=7, vocab_size=400, dry_run=True
    )
    result = pretrain(config)
    said = capsys.readouterr().err
    assert result.dry_run and result.facts["steps"] == 7
    assert "parameters" in said and "tokens a step" in said and "7 steps" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "--steps 0"),
        ({"lr": -1.0}, "--lr"),
        ({"steps": 1, "epochs": 1.0}, "--steps with --epochs"),
        ({"eval_fraction": 1.5}, "--eval-fraction"),
        ({"dropout": 1.0, "steps": 1}, "dropout"),
        ({"device": "tpu"}, "tpu"),
        ({"model": "gpt9"}, "gpt9"),
        ({"max_length": 64, "batch_tokens": 0}, "--batch-tokens 0"),
    ],
)
def test_options_that_cannot_be_meant(changes: dict[str, object], message: str, tmp_path: Path, corpus: Path) -> None:
    options = {"model": "gpt2-mini", "data": (corpus,), "out": tmp_path / "run", "quiet": True, **changes}
    with pytest.raises(UsageError) as caught:
        pretrain(PretrainConfig(**options))  # type: ignore[arg-type]
    assert message in caught.value.what
    assert not (tmp_path / "run" / "checkpoints").exists()
