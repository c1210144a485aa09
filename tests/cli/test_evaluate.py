"""`seodang evaluate`: the table, the JSON, the files, and what a user may get wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from seodang.checkpoints.huggingface import save_folder
from seodang.checkpoints.resolve import load_model
from seodang.cli.main import main
from seodang.data.labelled import TaskSpec
from seodang.evaluation.results import load_results
from seodang.recipes.task_model import model_for_task
from tests.inference.conftest import taught
from tests.recipes.tasks import base_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model") / "lm"
    taught().save(folder)
    return str(folder)


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "dev.tsv"
    path.write_text("sentence\tlabel\nthe cat sat\t1\nthe dog sat\t0\nwhere is the cat\t1\n", "utf-8")
    return str(path)


def test_table_json_and_files(model: str, rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "--model", model, "--task", "sst2", "--data", rows]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "sst2 (version 1), 3 rows" in shown.out and "95 % interval" in shown.out and "0.5000" in shown.out
    assert "written: " in shown.err
    stored = load_results(tmp_path / "out" / "sst2.json").tasks["sst2"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measurements"]["accuracy"]["value"] == stored.measurements["accuracy"].value
    assert (found["n"], found["rows"], found["prompts"]) == (3, stored.rows, stored.prompts)
    assert len(stored.samples) == 3 and stored.samples[0].where == f"{rows}:2"


def test_an_interrupt_keeps_what_is_done(
    model: str, rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C in the second portion: the scores of the first are printed and written, and the exit code tells."""
    from seodang.evaluation import harness

    real, asked = harness.ask, []

    def ask(lm, task, items, **options):
        asked.extend(items)
        if len(asked) > 2:
            raise KeyboardInterrupt
        return real(lm, task, items, **options)

    monkeypatch.setattr(harness, "ask", ask)
    monkeypatch.setitem(harness.AT_ONCE, "continuation", 2)
    command = ["evaluate", "--model", model, "--task", "sst2", "--data", rows, "--out", str(tmp_path / "out")]
    assert main(command) == 130
    shown = capsys.readouterr()
    assert "2 rows" in shown.out and "interrupted: the scores are of the first 2 rows" in shown.err
    stored = load_results(tmp_path / "out" / "sst2.json").tasks["sst2"]
    assert stored.n == 2 and stored.settings["interrupted"]
    asked.extend([None] * 2)
    assert main(command) == 130  # before anything is done there is nothing to keep
    assert "interrupted" in capsys.readouterr().err


def test_an_interrupted_class_head_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from seodang.evaluation import harness

    loaded = load_model(base_model(tmp_path / "base", "decoder"))
    spec = TaskSpec("classify", "classify", ("animal", "fruit"))
    tuned = model_for_task(loaded, spec, max_length=32, head_dropout=0.0, seed=0)
    save_folder(tmp_path / "tuned", tuned.model, tuned.tokenizer, task=tuned.task)
    (tmp_path / "own.csv").write_text("text,label\na fig,fruit\na cat,animal\na dog,animal\n", "utf-8")
    real = harness.classified

    def classified(*options, **more):
        for number, found in enumerate(real(*options, **more)):
            if number == 2:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(harness, "classified", classified)
    words = ["--model", str(tmp_path / "tuned"), "--task", "classify", "--data", str(tmp_path / "own.csv")]
    assert main(["evaluate", *words]) == 130
    assert "first 2 rows" in capsys.readouterr().err


def test_demonstrations(
    model: str, rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / "train.tsv"
    pool.write_text("sentence\tlabel\na joy\t1\nso sad\t0\n", "utf-8")
    command = ["evaluate", "--model", model, "--task", "sst2", "--data", rows]
    assert main([*command, "--shots", str(pool), "-k", "2"]) == 0
    assert "2 demonstrations" in capsys.readouterr().out
    assert main([*command, "--shots", rows, "-k", "1"]) == 3
    assert "contains the row" in capsys.readouterr().err
    later = tmp_path / "later.tsv"  # the second row is not asked
    later.write_text("sentence\tlabel\nthe dog sat\t0\n", "utf-8")
    assert main([*command, "--shots", str(later), "-k", "1"]) == 3
    assert main([*command, "--shots", str(later), "-k", "1", "--limit", "1"]) == 0
    capsys.readouterr()
    assert main([*command, "--shots", str(pool)]) == 2  # four are asked for
    assert "k = 4 demonstrations out of 2" in capsys.readouterr().err


def test_another_models_results_are_not_written_over(
    model: str, rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(model, tmp_path / "other")
    command = ["evaluate", "--task", "sst2", "--data", rows, "--out", str(tmp_path / "out")]
    for name in (model, str(other), model):
        assert main([*command, "--model", name]) == 0
    found = {path.name: load_results(path).model for path in (tmp_path / "out").glob("*.json")}
    assert found == {"sst2.json": model, "sst2-2.json": str(other)}
    (tmp_path / "out" / "sst2.json").write_text("{}")  # nobody's results
    assert main([*command, "--model", model]) == 0
    assert (tmp_path / "out" / "sst2.json").read_text() == "{}" and (tmp_path / "out" / "sst2-3.json").is_file()


def test_other_words_and_columns(
    model: str, rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / "words.toml"
    words.write_text('question = "{text} is"\nanswers = ["bad", "good"]\n', "utf-8")
    own = tmp_path / "own.csv"
    own.write_text("review,stars\nthe cat sat,good\nthe dog sat,bad\n", "utf-8")
    command = ["evaluate", "--model", model, "--json", "--template", str(words)]
    assert main([*command, "--task", "sst2", "--data", rows]) == 0
    usual = json.loads(capsys.readouterr().out)
    assert usual["settings"]["template"]["question"] == "{text} is"
    columns = ["--columns", "text=review,label=stars"]
    assert main([*command, "--task", "classify", "--data", str(own), *columns]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 2
    assert main([*command, "--task", "text", "--data", rows]) == 2
    assert "other words for text" in capsys.readouterr().err


def test_a_class_head_reads_the_columns_that_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, spec in (
        ("classify", TaskSpec("classify", "classify", ("bad", "good"))),
        ("regress", TaskSpec("regress", "classify", regression=True, metrics=("pearson",))),
    ):
        base = base_model(tmp_path / f"base-{name}", "decoder")
        loaded = model_for_task(load_model(base), spec, max_length=32, head_dropout=0.1, seed=0)
        save_folder(tmp_path / name, loaded.model, loaded.tokenizer, task=loaded.task)
        labels = ("good", "bad", "bad") if spec.labels else ("1", "2", "4.5")
        table = "".join(f"the {word} sat,{label}\n" for word, label in zip(("cat", "dog", "fig"), labels, strict=True))
        (tmp_path / "own.csv").write_text("말,뜻\n" + table, "utf-8")
        command = ["--task", name, "--data", str(tmp_path / "own.csv"), "--columns", "text=말,label=뜻", "--json"]
        assert main(["evaluate", "--model", str(tmp_path / name), *command]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["n"] == 3 and "template" not in found["settings"]
    folders = [str(tmp_path / "regress"), str(tmp_path / "other")]
    shutil.copytree(*folders)
    assert main(["compare", *folders, *command]) == 0
    assert json.loads(capsys.readouterr().out)


def test_numbers_too_large_for_their_column_keep_apart() -> None:
    from seodang.cli.evaluate import table
    from seodang.evaluation.results import Measurement, TaskResult

    huge = Measurement("word_perplexity", 8.18e12, 8.1e12, 8.2e12, 0.95, None, 1)
    found = TaskResult("text", 1, 1, {"word_perplexity": huge}, {}, "", "")
    assert table(found)[-1].split() == ["word_perplexity", "8.18e+12", "8.10e+12", "to", "8.20e+12"]


def test_tasks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--task", "list"]) == 0
    listed = capsys.readouterr().out
    assert "arc-easy " in listed and "kobest-wic " in listed and "wikitext " in listed


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--task", "sst2"], 2, "no rows to evaluate on"),
        (["--task", "sst3", "--data", "ROWS"], 2, "sst2"),
        (["--task", "sst2", "--data", "nowhere.tsv"], 3, "nowhere.tsv"),
        (["--task", "sst2", "--data", "ROWS", "--limit", "0"], 2, "limit = 0"),
        (["--task", "sst2", "--data", "ROWS", "-k", "5"], 2, "-k 5 without --shots"),
        (["--task", "sst2", "--data", "ROWS", "--batch-size", "0"], 2, "batch_size = 0"),
        (["--task", "rte", "--data", "ROWS"], 3, "rte"),
        (["--task", "mine.py", "--data", "ROWS"], 3, "mine.py does not exist"),
    ],
)
def test_mistakes(
    options: list[str], code: int, said: str, model: str, rows: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--model", model, *(rows if option == "ROWS" else option for option in options)]) == code
    error = capsys.readouterr().err
    assert said in error and "why:" in error or "fix:" in error


def test_an_answer_that_does_not_fit_is_named(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.jsonl"
    answers = (["a cat", "a dog"], ["a mat", "the cat sat on the mat and " * 60])
    rows = [{"question": "what is it", "answers": list(one), "label": 0} for one in answers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert main(["evaluate", "--model", model, "--task", "choice", "--data", str(path)]) == 3
    assert "own.jsonl:2: the continuation has" in capsys.readouterr().err
