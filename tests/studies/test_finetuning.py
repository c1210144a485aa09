"""The studies that fine-tune, from files to tables: a cell is what its command makes, and stopping changes nothing."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from seodang.cli.main import main
from seodang.errors import UsageError
from seodang.evaluation.results import load_results
from seodang.studies import finetuning
from seodang.studies.ablation import ablation, averages
from seodang.studies.config import AblationConfig, TransferConfig
from seodang.studies.grid import Interrupted
from seodang.studies.published import TABLE_5
from seodang.studies.study import run_study
from seodang.studies.tables import summarise
from seodang.studies.transfer import transfer
from tests.recipes.tasks import base_model, rows, write


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {which: base_model(folder / which, which) for which in ("decoder", "lstm")}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    for kind in ("classify", "choice"):
        write(folder / f"{kind}.jsonl", rows(kind, 64, 0))
        write(folder / f"{kind}-dev.jsonl", rows(kind, 20, 1))
    return folder


def options(files: Path, *kinds: str) -> dict:
    return {
        "train": tuple(f"{kind}={files}/{kind}.jsonl" for kind in kinds),
        "eval": tuple(f"{kind}={files}/{kind}-dev.jsonl" for kind in kinds),
        "steps": 2, "lr": 1e-2, "batch_rows": 8, "device": "cpu", "dtype": "float32", "quiet": True,
    }  # fmt: skip


def test_transfer_from_files_to_table(bases, files, tmp_path, monkeypatch, capsys):
    config = TransferConfig(model=str(bases["decoder"]), out=tmp_path / "study", seeds=1, **options(files, "classify"))
    real, calls = finetuning.finetune, []

    def stopped(run):
        calls.append(run)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(run)

    monkeypatch.setattr(finetuning, "finetune", stopped)
    first = run_study(transfer(config), config)
    assert first.interrupted and [place["layers"] for place in first.places] == [0]
    assert "Not all cells are finished." in (config.out / "table.md").read_text()
    result = run_study(transfer(config), config)
    assert result.finished and len(calls) == 2 + 2 and [run.transfer_layers for run in calls] == [0, 1, 1, 2]
    assert [place["layers"] for place in result.places] == [0, 1, 2]
    assert {place["n_rows"] for place in result.places} == {20} and (config.out / "figure.png").exists()
    assert "0 (embeddings alone)" in result.lines[4]

    cell = config.out / "cells" / "classify-layers-1-seed-0"
    assert not list(cell.rglob("*.safetensors")) and (cell / "evaluation.json").exists()
    (line,) = json.loads((cell / "cell.json").read_text())["commands"]
    again = config.out / "again" / cell.name
    script = (config.out / "commands.sh").read_text().splitlines()
    (typed,) = [words for words in (shlex.split(text, comments=True) for text in script) if str(again) in words]
    assert [word for word in typed if word != str(again)] == [word for word in shlex.split(line) if word != str(cell)]
    assert main(typed[1:]) == 0  # the command, typed in
    capsys.readouterr()
    found, made = (load_results(folder / "evaluation.json").tasks["classify"] for folder in (again, cell))
    assert found.samples == made.samples and found.measurements == made.measurements


def test_ablation_from_files_to_table(bases, files, tmp_path):
    shared = options(files, "classify", "choice")
    model, lstm = str(bases["decoder"]), str(bases["lstm"])
    config = AblationConfig(model=model, lstm=lstm, out=tmp_path, seeds=2, **shared)
    study = ablation(config)
    assert len(study.grid.cells) == 4 * 2 * 2
    commands = {cell.name: cell.commands[0] for cell in study.grid.cells if cell.labels["seed"] == 1}
    assert "--aux-weight 0.0" in commands["choice-no-auxiliary-loss-seed-1"]
    assert "--from-scratch" in commands["choice-no-pre-training-seed-1"]
    assert f"--model {lstm}" in commands["choice-lstm-seed-1"] and "--seed 1" in commands["choice-full-seed-1"]
    assert f"--model {model} " in commands["choice-full-seed-1"] and "aux" not in commands["choice-full-seed-1"]
    few = AblationConfig(model=model, lstm=lstm, out=tmp_path, seeds=1, **options(files, "classify"))
    result = run_study(ablation(few), few)
    assert result.finished and [place["variant"] for place in result.places] == list(TABLE_5)
    text = (tmp_path / "table.md").read_text()
    assert "## The paper's own: GPT-1, table 5" in text and "| no pre-training   | 59.9 " in text
    ours, _, paper = text.partition("## The paper's own")
    assert "59.9" not in ours and "| lstm " in ours and (tmp_path / "figure.png").exists()


def test_the_lstm_is_one(bases, files, tmp_path):
    model = str(bases["decoder"])
    with pytest.raises(UsageError, match="--lstm"):
        ablation(AblationConfig(model=model, lstm=model, out=tmp_path, **options(files, "classify")))


def test_columns_of_own_tables(bases, tmp_path):
    """They go to the tables that are the user's own, not to published sets, whose columns are known."""
    table = tmp_path / "reviews.csv"
    lines = ["score,words,day", *(f"{'good' if n % 2 else 'bad'},text {n},monday" for n in range(40))]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sentences = tmp_path / "sst2.tsv"
    sentences.write_text("sentence\tlabel\n" + "".join(f"words {n}\t{n % 2}\n" for n in range(40)), encoding="utf-8")
    pairs = (f"classify={table}", f"sst2={sentences}")
    config = TransferConfig(
        model=str(bases["decoder"]), out=tmp_path / "study", seeds=1, layers=(2,), train=pairs, eval=pairs, steps=1,
        batch_rows=4, device="cpu", dtype="float32", quiet=True, columns=("text=words,label=score",),
    )  # fmt: skip
    study = transfer(config)
    result = run_study(study, config)
    assert result.finished and {place["task"] for place in result.places} == {"classify", "sst2"}
    assert [cell.commands[0].count("--columns") for cell in study.grid.cells] == [1, 0]


def test_averages_need_every_task():
    def place(variant: str, task: str, score: float) -> dict:
        return {"variant": variant, "task": task, "measure": "m", "score": score, "low": 0, "high": 1, "n": 9}

    found = summarise([place("full", "a", 0.5), place("full", "b", 0.25), place("lstm", "a", 0.5)], ["variant"])
    assert averages(found) == {"full": 0.375, "lstm": None}


def test_an_interrupted_run_is_taken_up(bases, files, tmp_path, monkeypatch):
    """A run that was saved half way goes on from there, to the same scores."""
    shared = options(files, "classify") | {"steps": 6}
    whole = TransferConfig(model=str(bases["decoder"]), out=tmp_path / "whole", seeds=1, layers=(1,), **shared)
    expected = run_study(transfer(whole), whole).places
    config = TransferConfig(model=str(bases["decoder"]), out=tmp_path / "study", seeds=1, layers=(1,), **shared)
    real, resumed = finetuning.finetune, []

    def interrupted(run):
        resumed.append(run.resume)
        if len(resumed) == 1:  # as Ctrl-C at step 3 leaves it
            from seodang.training.trainer import Trainer

            save = Trainer.save

            def stopping(self):
                save(self)
                signal.raise_signal(signal.SIGINT)

            run.save_every = 3
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Trainer, "save", stopping)
                return real(run)
        return real(run)

    monkeypatch.setattr(finetuning, "finetune", interrupted)
    first = run_study(transfer(config), config)
    assert first.interrupted and not first.places
    assert list((config.out / "cells").rglob("step-00000003")), "it was saved where it was stopped"
    found = run_study(transfer(config), config)
    assert resumed == [False, True] and found.finished and found.places == expected
    assert issubclass(Interrupted, Exception)


@pytest.mark.slow
def test_a_killed_study_goes_on(bases, files, tmp_path):
    given = options(files, "classify")
    argv = ["study", "transfer", "--model", str(bases["decoder"]), "--out", str(tmp_path), "--seeds", "2", "--train",
            *given["train"], "--eval", *given["eval"], "--steps", "4", "--batch-rows", "8"]  # fmt: skip
    command = [sys.executable, "-m", "seodang", *argv]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(tmp_path.rglob("result.json"))) < 2:
        time.sleep(0.05)
    process.kill()
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert len(before) >= 2
    assert main([*argv, "--quiet", "--json"]) == 0
    assert len(list(tmp_path.rglob("result.json"))) == 6
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


def test_every_task_has_its_own_time(bases, files, tmp_path, monkeypatch):
    """Seeds of a cell are estimated once, its tasks each."""
    seconds, asked = {"classify": 10.0, "choice": 200.0}, []

    def planned(run):
        asked.append((run.task, run.transfer_layers, run.seed))
        return SimpleNamespace(facts={"estimated_seconds": seconds[run.task]})

    monkeypatch.setattr(finetuning, "finetune", planned)
    shared = options(files, "classify", "choice")
    config = TransferConfig(
        model=str(bases["decoder"]), out=tmp_path / "study", seeds=2, layers=(0, 2), dry_run=True, **shared
    )
    lines = run_study(transfer(config), config).lines
    assert len([line for line in lines if "choice" in line and line.endswith("about 200 s")]) == 4
    assert lines[-1] == "8 cells, about 840 s for what is missing"
    assert asked == [(task, layers, 0) for task in ("classify", "choice") for layers in (0, 2)]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"train": ()}, "classify has no --train"), ({"eval": ()}, "classify has no --eval"),
        ({"seeds": 0}, "seeds"), ({"layers": (3,)}, "layers 3"), ({"layers": (-1,)}, "layers -1"),
    ],
)  # fmt: skip
def test_what_is_refused(bases, files, tmp_path, changes, what):
    settings = {**options(files, "classify"), "model": str(bases["decoder"]), "out": tmp_path, **changes}
    with pytest.raises(UsageError, match=what):
        transfer(TransferConfig(**settings))


def test_a_dry_run_names_cells_and_costs(bases, files, tmp_path, capsys):
    given = options(files, "classify")
    argv = ["--model", str(bases["decoder"]), "--out", str(tmp_path / "study"), "--train", *given["train"], "--eval",
            *given["eval"], "--steps", "4", "--seeds", "1", "--dry-run"]  # fmt: skip
    assert main(["study", "transfer", *argv]) == 0
    out = capsys.readouterr().out
    assert "--transfer-layers 2" in out and "3 cells, about" in out and not (tmp_path / "study").exists()
