"""`seodang compare` through the front door."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seodang.cli.compare import short_names
from seodang.cli.main import main
from seodang.evaluation.results import load_results, save_results
from seodang.inference.language_model import LanguageModel
from tests.evaluation.test_compare import results, task
from tests.inference.conftest import taught, tiny


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two results on the same rows, and one with other settings."""
    found = {"a": task([0] * 8), "b": task([1] * 6 + [0] * 2), "c": task([0] * 8, shots=4), "d": task([0] * 8)}
    for name, entry in found.items():
        save_results(results(name, entry), tmp_path / f"{name}.json")
    return [str(tmp_path / f"{name}.json") for name in found]


def test_results_as_json(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *files[:2], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["models"] == files[:2]
    (row,) = found["rows"]
    assert (row["task"], row["measurement"]) == ("boolq", "accuracy")
    assert row["differences"][0]["difference"] == 0.75 and row["differences"][0]["p"] == 2 / 64


def test_results_as_a_table(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *files[:2]]) == 0
    out = capsys.readouterr().out
    for expected in ("accuracy of 8 rows", "0.2500", "1.0000", "+0.7500", "p 0.0312", "mcnemar, 6 rows", "majority"):
        assert expected in out
    assert "Holm" not in out
    assert main(["compare", *files[:2], files[3]]) == 0
    assert "0.0312 (0.0625)" in capsys.readouterr().out


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Of two models the results on tasks of GLUE: the second has one more."""
    found = {"base/sst2": task([0] * 8), "base/rte": task([0] * 8)}
    found |= {"tuned/a/sst2": task([1] * 8), "tuned/b/rte": task([1] * 6 + [0] * 2), "tuned/c/qnli": task([0] * 8)}
    for name, entry in found.items():
        path = tmp_path / name / "evaluation.json"
        path.parent.mkdir(parents=True)
        save_results(results(name, entry, name.split("/")[-1]), path)
        (path.parent / "run.json").write_text("{}")
    return [str(tmp_path / "base"), str(tmp_path / "tuned")]


def test_averages_of_folders(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What both have is averaged: (0.75 + 1) / 2 beside 0.25; alone the second has (0.75 + 1 + 0.25) / 3."""
    assert main(["compare", *folders, "--average", "glue"]) == 0
    out, err = capsys.readouterr()
    without = "(2 of 9 tasks; without cola, mrpc, stsb, qqp, mnli, qnli, wnli)"
    assert f"base: glue average 0.2500 {without}" in out and f"tuned: glue average 0.8750 {without}" in out
    assert "sst2: accuracy of 8 rows" in out and "tuned alone has qnli" in err
    assert main(["compare", folders[1], "--average", "glue", "--json"]) == 0
    (alone,) = json.loads(capsys.readouterr().out)["average"]
    assert alone["value"] == pytest.approx(2 / 3) and alone["parts"]["qnli"] == 0.25
    assert main(["compare", *folders, "--average", "gpt1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["value"] for one in found["average"]] == [0.25, 0.875] and len(found["rows"]) == 2


def test_mistakes_with_averages(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, tuned = folders
    assert main(["compare", base, "--average", "klue"]) == 2
    assert "klue average of no task" in capsys.readouterr().err
    assert main(["compare", base, "--average", "glue", "--prompt", "a"]) == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["compare", base, str(empty)]) == 3
    assert "holds no results" in capsys.readouterr().err
    save_results(results("again", task([0] * 8), "rte"), tmp_path / "base/again.json")
    assert main(["compare", base, tuned]) == 3
    assert "rte is there twice" in capsys.readouterr().err


def test_short_names() -> None:
    assert short_names(["/a/b/one", "/a/c/two"]) == {"/a/b/one": "one", "/a/c/two": "two"}
    assert list(short_names(["/a/b/x", "/a/c/x"]).values()) == ["b/x", "c/x"]
    assert short_names(["gpt2", "gpt2"]) == {"gpt2": "gpt2"}


def test_unlike_settings_are_refused(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", files[0], files[2]]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "shots: 0 and 4" in err and err.count("\n") == 3


@pytest.mark.parametrize(
    ("argv", "code"), [([], 2), (["a.json"], 2), (["a.json", "a.json"], 2), (["a.json", "b.json"], 3)]
)
def test_mistakes(argv: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *argv]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 3


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Folders of a model that knows its texts, and of one that knows nothing."""
    folder = tmp_path_factory.mktemp("models")
    good = taught()
    good.save(folder / "good")
    LanguageModel(tiny("llama", vocab_size=good.tokenizer.vocab_size), good.tokenizer).save(folder / "random")
    return [str(folder / "good"), str(folder / "random")]


def test_prompts_side_by_side(two_models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "the lowest", "answer": " newest"}\n', "utf-8")
    argv = ["compare", *two_models, "--prompt", "the cat", "--answer", " sat", "--max-new-tokens", "5"]
    assert main([*argv, "--prompts", str(tmp_path / "prompts.jsonl"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [prompt["text"] for prompt in found["prompts"]] == ["the cat", "the lowest"]
    given = found["written"][0][2]
    assert (given["by"], given["text"]) == ("", " sat") and given["logprobs"][0] > given["logprobs"][1]
    assert [row["task"] for row in found["comparison"]["rows"]] == ["answers", "prompts"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.startswith("## the cat\n") and "prompts: bits_per_byte of 1 rows" in out
    assert found["written"][0][0]["text"].split("\n")[0] in out


def test_a_task_through_both(two_models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The results that it leaves behind compare like the models."""
    rows = [{"sentence": text, "label": label} for text, label in (("the cat sat", 1), ("low and wide", 0))]
    data = tmp_path / "dev.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows * 4), "utf-8")
    argv = ["compare", *two_models, "--task", "sst2", "--data", str(data), "--limit", "6", "--json"]
    assert main([*argv, "--out", str(tmp_path / "out")]) == 0
    first = json.loads(capsys.readouterr().out)
    files = sorted(map(str, (tmp_path / "out").glob("*.json")))
    assert [Path(file).name for file in files] == ["good-sst2.json", "random-sst2.json"]
    assert main(["compare", *files, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["rows"] == first["rows"] and first["rows"][0]["values"][0]["n"] == 6
    for file in files:
        saved = load_results(file).tasks["sst2"].measurements["accuracy"].value
        assert saved in [entry["value"] for row in again["rows"] for entry in row["values"]]


def test_mistakes_with_prompts(two_models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for extra, said in (
        ([], "holds no results"),
        (["--task", "sst2"], "no rows to compare on"),
        (["--prompts", "nowhere.txt"], "nowhere.txt does not exist"),
        (["--prompt", "a", "--batch-size", "0"], "batch_size = 0"),
    ):
        assert main(["compare", *two_models, *extra]) in (2, 3)
        out, err = capsys.readouterr()
        assert out == "" and said in err and err.count("\n") == 3
