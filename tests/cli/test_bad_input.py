"""Bad input through the front door: three lines, file and row, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from seodang.cli.main import main
from seodang.cli.results import finish_run
from seodang.recipes.config import PretrainConfig
from seodang.recipes.pretrain import pretrain
from seodang.recipes.run import RunResult
from seodang.training.trainer import Summary

TEXT = "The cat sat on the mat and looked at the moon. 달이 밝습니다. " * 60
OPTIONS = ["--quiet", "--dtype", "float32", "--device", "cpu", "--steps", "1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one step."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    pretrain(
        PretrainConfig(
            model="gpt2-mini", data=(folder / "text.txt",), out=folder / "m", steps=1, vocab_size=300,
            batch_tokens=64, max_length=32, quiet=True, device="cpu",
        )
    )  # fmt: skip
    return folder / "m"


def _fails(argv: list[str], code: int, words: list[str], capsys: pytest.CaptureFixture[str], out: Path | None) -> None:
    capsys.readouterr()
    assert main(argv) == code
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if not line.startswith(("note:", "tokenizer "))]
    assert [line.split(":")[0].strip() for line in lines] == ["error", "why", "fix"], printed.err
    assert printed.out == "" and "Traceback" not in printed.err
    for word in words:
        assert word in printed.err
    if out is not None:
        assert not list(out.rglob("*.safetensors")) and not (out / "config.json").exists()
        assert not list(out.parent.glob("**/.writing-*"))


TEXT_CASES = [
    ("missing.txt", None, ["missing.txt does not exist"]),
    ("empty.txt", b"", ["empty.txt is empty"]),
    ("broken.jsonl", b'{"text": "fine and long enough"}\n{"text": \n', ["broken.jsonl:2", "broken JSON"]),
    ("cp949.txt", "달이 밝습니다.".encode("cp949"), ["cp949.txt:1 is not UTF-8", "iconv -f cp949"]),
]


@pytest.mark.parametrize(("name", "content", "words"), TEXT_CASES)
def test_pretrain_on_bad_text(
    name: str, content: bytes | None, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    out = tmp_path / "out"
    argv = ["pretrain", "--model", "gpt2-mini", "--data", str(tmp_path / name), "--out", str(out), *OPTIONS]
    _fails(argv, 3, words, capsys, out)
    assert not out.exists()


ROW_CASES = [
    ("mixed.jsonl", '{"instruction":"a","output":"b"}\n{"text":"x"}\n', ["mixed.jsonl:2", "row 1"]),
    ("silent.jsonl", '{"instruction":"a","output":"b"}\n{"instruction":"a","output":""}\n', ["silent.jsonl:2"]),
    ("long.jsonl", json.dumps({"instruction": "a", "output": "long " * 400}) + "\n", ["long.jsonl:1"]),
    ("broken.jsonl", '{"instruction":"a","output":"b"}\n{oops\n', ["broken.jsonl:2"]),
    ("keys.jsonl", '{"foo":"a","bar":"b"}\n', ["keys.jsonl:1", "foo"]),
]


@pytest.mark.parametrize(("name", "content", "words"), ROW_CASES)
def test_sft_on_bad_rows(
    name: str, content: str, words: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    out = tmp_path / "out"
    argv = ["sft", "--model", str(model), "--data", str(tmp_path / name), "--out", str(out), *OPTIONS]
    _fails(argv, 3, words, capsys, out)
    assert not out.exists()


def test_unknown_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text(TEXT, encoding="utf-8")
    base = ["pretrain", "--data", str(tmp_path / "t.txt"), "--out", str(tmp_path / "out"), *OPTIONS]
    _fails([*base, "--model", "gpt2-mimi"], 2, ["unknown model 'gpt2-mimi'", "gpt2-mini"], capsys, tmp_path / "out")
    _fails([*base, "--model", "gpt2-mini", "--stpes", "3"], 2, ["--stpes", "--steps"], capsys, tmp_path / "out")
    _fails([*base, "--model", "gpt2-mini", "--set", "lrr=3"], 2, ["'lrr'", "'lr'"], capsys, tmp_path / "out")
    _fails(["pretrian"], 2, ["unknown verb", "pretrain"], capsys, None)
    _fails(["generate", "--model", "nobody-has-this", "--prompt", "x"], 2, ["nobody-has-this"], capsys, None)


def test_a_setting_without_effect_is_remarked_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text(TEXT, encoding="utf-8")
    argv = ["pretrain", "--model", "gpt2-mini", "--data", str(tmp_path / "t.txt"), "--out", str(tmp_path / "out"),
            "--dry-run", "--schedule", "constant", "--min-lr-ratio", "0.1", "--vocab-size", "300",
            *OPTIONS]  # fmt: skip
    assert main(argv) == 0
    assert "note: --min-lr-ratio has no effect with --schedule constant" in capsys.readouterr().err


def _damage(model: Path, copy: Path, how: str) -> None:
    shutil.copytree(model, copy)
    if how == "truncated":
        with open(copy / "model.safetensors", "r+b") as stream:
            stream.truncate(1000)
    elif how == "no weights":
        (copy / "model.safetensors").unlink()
    elif how == "other tokenizer":
        config = json.loads((copy / "config.json").read_text())
        config["vocab_size"] = 100
        (copy / "config.json").write_text(json.dumps(config))
    for derived in ("manifest.json", "seodang.json"):  # as another program's folder, found by its weights alone
        (copy / derived).unlink(missing_ok=True)
    shutil.rmtree(copy / "checkpoints", ignore_errors=True)


@pytest.mark.parametrize(
    ("how", "word"),
    [("truncated", "model.safetensors"), ("no weights", "model.safetensors"), ("other tokenizer", "tokenizer")],
)
@pytest.mark.parametrize("verb", ["generate", "verify", "sft"])
def test_damaged_models(
    how: str, word: str, verb: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    _damage(model, copy, how)
    (tmp_path / "rows.jsonl").write_text('{"instruction":"a","output":"b"}\n')
    argv = {
        "generate": ["generate", "--model", str(copy), "--prompt", "The"],
        "verify": ["verify", str(copy)],
        "sft": ["sft", "--model", str(copy), "--data", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out")],
    }[verb]
    capsys.readouterr()
    assert main(argv) == 3
    printed = capsys.readouterr()
    assert word in printed.out + printed.err and "Traceback" not in printed.err
    assert not (tmp_path / "out").exists()


def test_out_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "file").write_text("in the way")
    argv = ["pretrain", "--model", "gpt2-mini", "--data", str(tmp_path / "t.txt"), "--vocab-size", "300", *OPTIONS]
    _fails([*argv, "--out", str(tmp_path / "file" / "out")], 1, ["cannot create the folder"], capsys, None)
    if hasattr(os, "geteuid") and os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        _fails([*argv, "--out", str(tmp_path / "locked" / "out")], 1, ["ermission"], capsys, None)


def test_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 10**5))  # type: ignore[attr-defined]
    argv = ["pretrain", "--model", "gpt2-mini", "--data", str(tmp_path / "t.txt"), "--vocab-size", "300", *OPTIONS]
    _fails([*argv, "--out", str(tmp_path / "out")], 4, ["has no room", "MB are free"], capsys, tmp_path / "out")


def test_a_model_that_will_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text(TEXT, encoding="utf-8")
    argv = ["pretrain", "--model", "llama-65b", "--data", str(tmp_path / "t.txt"), "--vocab-size", "300", *OPTIONS]
    _fails([*argv, "--out", str(tmp_path / "out")], 4, ["needs about", "are free"], capsys, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "task", "tokenizer", "words"),
    [
        ("bert-tiny", "auto", True, ["--tokenizer", "no cls and no mask token", "tokenizer train --for bert"]),
        ("t5-mini", "infilling", False, ["no bos and no mask token", "tokenizer train --for bart"]),
        ("bart-mini", "spans", False, ["no sentinels", "tokenizer train --for t5"]),
        ("lstm-mini", "pairs", False, ["--task pairs with a model of the family 'lstm'", "--task language"]),
    ],
)
def test_a_task_without_its_parts_is_said_before_anything_is_encoded(
    name: str, task: str, tokenizer: bool, words: list[str], model: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    argv = ["pretrain", "--model", name, "--task", task, "--data", str(tmp_path / "text.txt"), *OPTIONS]
    argv += ["--tokenizer", str(model)] if tokenizer else ["--vocab-size", "400"]
    _fails([*argv, "--out", str(tmp_path / "out")], 2, words, capsys, None)
    assert not (tmp_path / "out").exists()


def test_data_too_small_to_hold_out_is_named_by_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.txt").write_text("hello")
    argv = ["pretrain", "--model", "lstm-mini", "--data", str(tmp_path / "tiny.txt"), "--out", str(tmp_path / "out")]
    _fails([*argv, *OPTIONS], 3, ["tiny.txt: too small to hold out", "--eval-fraction 0"], capsys, tmp_path / "out")


def test_an_interrupted_run_calls_no_early_evaluation_its_last(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"loss_per_token": 4.0, "bits_per_byte": 1.0}
    early = Summary(
        steps=9, interrupted=True, first_evaluation=row, evaluation=row | {"loss_per_token": 3.0}, evaluated_step=5
    )
    assert finish_run(RunResult(Path("run"), early), False) == 130
    assert "held-out loss at step 5 3.0000 per token" in capsys.readouterr().out
    assert finish_run(RunResult(Path("run"), replace(early, evaluation=row, evaluated_step=0)), False) == 130
    said = capsys.readouterr().out
    assert said.count("held-out loss") == 1 and "after" not in said


@pytest.mark.parametrize(
    ("name", "least"), [("bert-tiny", 5), ("albert-mini", 5), ("roberta-mini", 4), ("electra-mini", 4), ("t5-mini", 3),
                        ("bart-mini", 3)],
)  # fmt: skip
def test_rows_too_short_for_any_text(
    name: str, least: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    argv = ["pretrain", "--model", name, "--data", str(tmp_path / "text.txt"), "--out", str(tmp_path / "out"), *OPTIONS]
    argv += ["--dry-run", "--batch-tokens", "64", "--vocab-size", "400", "--eval-fraction", "0", "--max-length"]
    _fails([*argv, str(least - 1)], 2, [f"--max-length {least} or more"], capsys, tmp_path / "out")
    assert main([*argv, str(least)]) == 0
