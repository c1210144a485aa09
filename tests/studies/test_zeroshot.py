"""The zero-shot study from text to table: pre-trains, asks every checkpoint, goes on after it was stopped."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from seodang.checkpoints.training import checkpoint_folders
from seodang.cli.main import main
from seodang.errors import DataError, UsageError
from seodang.inference.language_model import load
from seodang.recipes.config import PretrainConfig
from seodang.recipes.pretrain import pretrain
from seodang.studies import zeroshot as module
from seodang.studies.config import ZeroShotConfig
from seodang.studies.heuristics import acceptability, predict
from seodang.studies.study import run_study
from seodang.studies.zeroshot import ModelScorer, questions_of, scales_of, spread, start_of, zeroshot

TEXT = "The cat sat on the mat. The film was very positive. A dog ran to the river and it was very negative. " * 60


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "text.txt").write_text(TEXT)
    for name, sentences in (("train", ["The cat sat.", "Sat cat the.", "A dog ran.", "Ran to dog a."] * 2),
                            ("dev", ["The dog sat.", "Dog the the.", "The film ran.", "On a was."])):  # fmt: skip
        rows = "".join(f"x\t{1 - number % 2}\t\t{sentence}\n" for number, sentence in enumerate(sentences))
        (folder / f"cola-{name}.tsv").write_text(rows)
    (folder / "sst2.tsv").write_text("sentence\tlabel\nthe film was fun\t1\nthe dog was dull\t0\na mat\t1\n")
    (folder / "pronouns.txt").write_text("The cat sat on the mat because it was fun.\nit\nThe cat,the mat\nthe mat\n")
    return folder


def config_of(files: Path, out: Path, **changes) -> ZeroShotConfig:
    asked = ("cola", f"{files}/cola-dev.tsv"), ("sst2", f"{files}/sst2.tsv"), ("pronouns", f"{files}/pronouns.txt")
    settings = {
        "out": out, "transformer": "gpt2-tiny", "lstm": "lstm-mini", "data": (files / "text.txt",), "steps": 4,
        "points": 2, "vocab_size": 300, "max_length": 32, "batch_tokens": 128, "quiet": True,
        "eval": tuple(f"{name}={path}" for name, path in asked), "train": (f"cola={files}/cola-train.tsv",),
    }  # fmt: skip
    return ZeroShotConfig(**{**settings, **changes})


def test_from_text_to_table(files, tmp_path, monkeypatch):
    config, asked = config_of(files, tmp_path / "study", keep_models=True), []
    ask = module.ask

    def stopped(model, questions):
        asked.append(model)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return ask(model, questions)

    monkeypatch.setattr(module, "ask", stopped)
    first = run_study(zeroshot(config), config)
    assert first.interrupted and not first.finished and not first.places
    result = run_study(zeroshot(config), config)  # the untrained model is not asked again
    assert result.finished and not result.interrupted and len(asked) == 1 + 1 + 2 + 3
    places = {(place["model"], place["step"], place["task"]) for place in result.places}
    tasks = ("cola", "sst2", "pronouns")
    assert places == {(m, s, t) for m in ("transformer", "lstm") for s in (0, 2, 4) for t in tasks}
    for name in ("table.md", "table.csv", "table.json", "commands.sh"):
        assert (config.out / name).stat().st_size
    table = (config.out / "table.md").read_text()
    assert "## transformer" in table and "## lstm" in table and "The paper's own" in table
    assert run_study(zeroshot(config), config).places == result.places and len(asked) == 7

    run = config.out / "cells" / "lstm-seed-0"
    names = [folder.name for folder in checkpoint_folders(run)]
    assert names == ["step-00000002", "step-00000004"]
    one, other = load(run).tokenizer, load(config.out / "cells" / "transformer-seed-0").tokenizer
    assert one.fingerprint() == other.fingerprint()
    (cola, *_) = questions_of(config)
    by_hand = predict("cola", ModelScorer(load(run)), cola.examples, cola.labels, cola.fitted)
    stored = json.loads((run / "scores" / "step-00000004-cola.json").read_text())
    right = [p == example.label for p, example in zip(by_hand.predictions, cola.examples, strict=True)]
    assert stored["task"] == "cola" and (stored["score"] == 1.0) == all(right)
    scores = [load(run).score(example.texts[0]) for example in cola.examples]
    averages = [sum(score.logprobs) / len(score.logprobs) for score in scores]
    assert acceptability(ModelScorer(load(run)), cola.examples) == pytest.approx(averages, abs=1e-4)

    again = replace(config, out=tmp_path / "again", transformer="none", lstm=str(run), data=(), steps=None)
    found = run_study(zeroshot(again), again)  # a finished run is asked without being trained
    assert found.places == [place for place in result.places if place["model"] == "lstm"]


def test_tasks_are_added(files, tmp_path, monkeypatch):
    """To checkpoints that are there: nothing is trained, and nothing asked, twice."""
    one, two = (f"sst2={files}/sst2.tsv",), (f"pronouns={files}/pronouns.txt", f"sst2={files}/sst2.tsv")
    config = config_of(files, tmp_path / "study", lstm="none", train=(), eval=one, keep_models=True)
    first = run_study(zeroshot(config), config).places
    ask, asked = module.ask, []

    def recorded(model, questions):
        asked.extend(entry.task for entry in questions)
        return ask(model, questions)

    monkeypatch.setattr(module, "ask", recorded)
    monkeypatch.setattr(module, "pretrain", lambda plan: pytest.fail("it is trained already"))
    more = replace(config, eval=two)
    planned = replace(more, dry_run=True)
    assert run_study(zeroshot(planned), planned).lines[-1] == "1 cells, about 0 s for what is missing"
    places = run_study(zeroshot(more), more).places
    assert asked == ["pronouns"] * 3 and [place for place in places if place["task"] == "sst2"] == first
    assert {(place["step"], place["task"]) for place in places} == {
        (step, task) for step in (0, 2, 4) for task in ("sst2", "pronouns")
    }
    assert run_study(zeroshot(config), config).places == first and len(asked) == 3
    assert run_study(zeroshot(more), more).places == places and len(asked) == 3  # they were not forgotten
    scaled = replace(more, ceiling=("sst2=0.9",))
    assert run_study(zeroshot(scaled), scaled).places == places
    for other in ({"rows": 2}, {"eval": one * 2}, {"steps": 6}):
        with pytest.raises(UsageError, match="other commands"):
            changed = replace(config, **other)
            run_study(zeroshot(changed), changed)

    watched = replace(config, out=tmp_path / "watched", transformer=str(config.out / "cells" / "transformer-seed-0"),
                      data=(), steps=None)  # fmt: skip
    assert run_study(zeroshot(watched), watched).places == first
    watched = replace(watched, eval=two, keep_models=False)
    assert run_study(zeroshot(watched), watched).finished and asked[3:] == ["sst2"] * 3 + ["pronouns"] * 3


def test_a_finished_cell_is_made_again_by_its_commands(files, tmp_path, capsys):
    one, two = (f"sst2={files}/sst2.tsv",), (f"pronouns={files}/pronouns.txt", f"sst2={files}/sst2.tsv")
    config = config_of(files, tmp_path / "a study", train=(), eval=one, points=1)
    result = run_study(zeroshot(config), config)
    assert result.finished and not list(config.out.rglob("checkpoints"))
    before = {path: path.read_bytes() for path in config.out.rglob("*") if path.is_file()}
    for dry_run in (True, False):
        with pytest.raises(UsageError, match="has no checkpoints to ask"):
            zeroshot(replace(config, eval=two, dry_run=dry_run))
    lines = [shlex.split(line, comments=True) for line in (config.out / "commands.sh").read_text().splitlines()]
    commands = [words for words in lines if words[:1] == ["seodang"]]
    assert len(commands) == 4
    for words in (*commands[2:], *commands[:2]):  # each cell by itself, with the vocabulary of the study's first one
        assert main(words[1:]) == 0
    capsys.readouterr()
    for kind in ("transformer", "lstm"):
        table = json.loads((config.out / "again" / f"{kind}-seed-0" / "asked-again" / "table.json").read_text())
        assert table["places"] == [place for place in result.places if place["model"] == kind]
    assert run_study(zeroshot(config), config).places == result.places
    assert all(path.read_bytes() == held for path, held in before.items() if path.name != "figure.png")


@pytest.mark.parametrize("zero_init", [False, True])
def test_step_0_is_what_the_run_began_with(files, tmp_path, monkeypatch, zero_init):
    """A run that learns as good as nothing shows at its end what its first weights were."""
    run = tmp_path / "run"
    options = {"data": (files / "text.txt",), "steps": 1, "lr": 1e-12, "batch_tokens": 128, "max_length": 32,
               "vocab_size": 300, "save_every": 1, "quiet": True}  # fmt: skip
    pretrain(PretrainConfig(model="gpt2-tiny", out=run, seed=7, zero_init=zero_init, **options))
    weights = []

    def ask(model, questions):
        weights.append(model.model.state_dict())
        return [{"task": "sst2", "measure": "accuracy", "score": 0.5, "low": 0, "high": 1, "n": 3, "baseline": 0.5}]

    monkeypatch.setattr(module, "ask", ask)
    alone = {"transformer": str(run), "lstm": "none", "data": (), "steps": None, "eval": (f"sst2={files}/sst2.tsv",)}
    config = config_of(files, tmp_path / "study", **alone)
    places = run_study(zeroshot(config), config).places
    assert [place["step"] for place in places] == [0, 1]
    first, last = weights
    assert all(first[name].allclose(value, atol=1e-6) for name, value in last.items())

    on = tmp_path / "on"
    pretrain(PretrainConfig(model=str(run), out=on, **{**options, "vocab_size": None}))
    config = config_of(files, tmp_path / "of-the-one-that-went-on", **{**alone, "transformer": str(on)})
    assert [place["step"] for place in run_study(zeroshot(config), config).places] == [1]


def test_a_damaged_run_is_named(tmp_path):
    assert start_of(tmp_path) is None
    (tmp_path / "run.json").write_text('{"options": {}}')
    with pytest.raises(DataError, match=r"run\.json is damaged"):
        start_of(tmp_path)


def test_a_dry_run_lists_the_commands(files, tmp_path, capsys):
    config = config_of(files, tmp_path / "study")
    argv = ["study", "zeroshot", "--out", str(config.out), "--eval", *config.eval, "--train", *config.train, "--data",
            str(files / "text.txt"), "--steps", "4", "--lstm", "none", "--transformer", "gpt2-tiny",
            "--vocab-size", "300", "--max-length", "32", "--batch-tokens", "128", "--dry-run"]  # fmt: skip
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "seodang pretrain --model gpt2-tiny" in out and "seodang study zeroshot --out" in out and "1 cells" in out
    assert not config.out.exists()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"eval": ("mnli=x",)}, "the task 'mnli'"),
        ({"train": ()}, "cola without --train"),
        ({"ceiling": ("sst2=x",)}, "ceiling"),
        ({"ceiling": ("sst2=0.5",)}, "ceiling"),
        ({"ceiling": ("race=0.9",)}, "the task 'race'"),
        ({"data": ()}, "without --data"),
        ({"steps": None}, "without --steps"),
        ({"rows": -5}, "--rows -5"),
        ({"points": -1}, "--points -1"),
        ({"seeds": 0}, "--seeds 0"),
        ({"transformer": "nothing-of-the-kind"}, "neither a size nor a run"),
    ],
)
def test_what_is_refused(files, tmp_path, changes, what):
    with pytest.raises(UsageError, match=what) as caught:
        zeroshot(config_of(files, tmp_path, **changes))
    assert caught.value.fix


@pytest.mark.parametrize(
    ("where", "task", "written"),
    [
        ("train", "cola", "index\tsentence\n0\tThe cat sat.\n1\tSat cat the.\n"),
        ("eval", "cola", "index\tsentence\n0\tThe cat sat.\n1\tSat cat the.\n"),
        ("eval", "sst2", "index\tsentence\n0\ta mat\n1\tthe film was fun\n"),
        ("eval", "pronouns", "\n\n"),
    ],
)
def test_rows_without_labels_are_named(files, tmp_path, where, task, written):
    """The test files of GLUE have no labels: no threshold is found on them, and nothing is trained first."""
    (tmp_path / "test.tsv").write_text(written)
    given = f"{task}={tmp_path}/test.tsv"
    config = config_of(files, tmp_path / "study")
    others = [entry for entry in getattr(config, where) if not entry.startswith(task)]
    with pytest.raises(DataError, match=r"test\.tsv"):
        zeroshot(replace(config, **{where: (*others, given)}))
    assert not config.out.exists()


def test_ceilings_and_rows(files, tmp_path):
    scales = scales_of(config_of(files, tmp_path, ceiling=("sst2=0.8",)))
    assert (scales["sst2"].ceiling, scales["sst2"].source, scales["cola"].ceiling) == (0.8, "as given", 0.35)
    assert spread(list(range(10)), 4) == [0, 2, 5, 7] and spread([1, 2], 0) == [1, 2] == spread([1, 2], 5)
    questions = questions_of(config_of(files, tmp_path, rows=2))
    assert [len(entry.examples) for entry in questions] == [2, 2, 1] and len(questions[0].fitted) == 2
