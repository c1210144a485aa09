"""seodang classify: texts and files in, classes out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from seodang.checkpoints.huggingface import save_folder
from seodang.checkpoints.resolve import load_model
from seodang.cli.main import main
from seodang.data.labelled import TaskSpec
from seodang.recipes.task_model import model_for_task
from tests.recipes.tasks import base_model

SPECS = {
    "classify": TaskSpec("classify", "classify", ("animal", "fruit")),
    "entail": TaskSpec("entail", "entail", ("no", "yes", "maybe")),
    "choice": TaskSpec("choice", "choice"),
    "regress": TaskSpec("regress", "similar", regression=True, metrics=("pearson",)),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each task, its head as it was drawn."""
    folder = tmp_path_factory.mktemp("models")
    base = base_model(folder / "base", "decoder")
    for name, spec in SPECS.items():
        loaded = model_for_task(load_model(base), spec, max_length=32, head_dropout=0.1, seed=0)
        save_folder(folder / name, loaded.model, loaded.tokenizer, task=loaded.task)
    return folder


def ask(models: Path, kind: str, *words: str) -> int:
    return main(["classify", "--model", str(models / kind), *words])


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_texts_of_flags(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(models, "classify", "--text", "a cat", "--text", "고양이", "--json") == 0
    found = rows(capsys)
    assert [row["texts"] for row in found] == [["a cat"], ["고양이"]] and set(found[0]["probabilities"]) == {
        "animal", "fruit"}  # fmt: skip
    assert sum(found[0]["probabilities"].values()) == pytest.approx(1)
    assert found[0]["label"] == max(found[0]["probabilities"], key=found[0]["probabilities"].get)
    assert ask(models, "classify", "--text", "a cat") == 0
    words = capsys.readouterr().out.split()
    assert words[1] in ("animal", "fruit") and words[2:] == ["a", "cat"]


def test_pairs_choices_and_scores(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(models, "entail", "--text", "a", "--text2", "b", "--json") == 0
    assert len(rows(capsys)[0]["probabilities"]) == 3
    answers = [word for answer in ("fig", "cat", "dog") for word in ("--answer", answer)]
    assert ask(models, "choice", "--text", "hungry", *answers, "--json") == 0
    found = rows(capsys)[0]
    assert [one["answer"] for one in found["answers"]] == ["fig", "cat", "dog"]
    assert found["answer"] == found["answers"][found["number"] - 1]["answer"]
    assert ask(models, "regress", "--text", "a", "--text2", "b") == 0
    float(capsys.readouterr().out.split()[0])


def test_files_row_by_row(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"a cat and {n} figs" for n in range(70)]
    (tmp_path / "lines.txt").write_text("\n".join(texts) + "\n\n", "utf-8")
    table = "".join(f'{n},"{text}"\n' for n, text in enumerate(texts))
    (tmp_path / "rows.csv").write_text(f"id,review\n{table}", "utf-8")
    assert ask(models, "classify", "--data", str(tmp_path / "lines.txt"), "--json", "--batch-size", "4") == 0
    lines = rows(capsys)
    assert [row["texts"] for row in lines] == [[text] for text in texts] and lines[2]["where"].endswith("lines.txt:3")
    out = tmp_path / "out.jsonl"
    assert ask(models, "classify", "--data", str(tmp_path / "rows.csv"), "--out", str(out)) == 0
    written = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert "70 predictions" in capsys.readouterr().err
    for one, other in zip(lines, written, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
    (tmp_path / "pairs.jsonl").write_text('{"premise": "a", "hypothesis": "b", "label": "yes"}\n', "utf-8")
    assert ask(models, "entail", "--data", str(tmp_path / "pairs.jsonl")) == 0
    (tmp_path / "choices.jsonl").write_text('{"context": "a", "choice1": "b", "choice2": "c"}\n', "utf-8")
    assert ask(models, "choice", "--data", str(tmp_path / "choices.jsonl"), "--columns", "text=context") == 0


@pytest.mark.parametrize("kind, words, code, says", [
    ("classify", [], 2, "--text"),
    ("base", ["--text", "a"], 2, "no task"),
    ("classify", ["--text", "a", "--text2", "b"], 3, "one text"),
    ("entail", ["--text", "a"], 3, "two texts"),
    ("entail", ["--text", "a", "--text", "b", "--text2", "c"], 2, "pairs"),
    ("choice", ["--text", "a"], 3, "answers"),
    ("classify", ["--text", "a", "--batch-size", "0"], 2, "1 or more"),
    ("classify", ["--text", "  "], 2, "nothing to read"),
    ("choice", ["--text", "a", "--answer", "b", "--answer", ""], 2, "--answer"),
    ("classify", ["--data", "no/such.csv"], 3, "such.csv"),
    ("entail", ["--text", "a", "--text2", " "], 3, "--text 1 has an empty text"),
    ("regress", ["--text", "a", "--text2", ""], 3, "--text 1 has an empty text"),
    ("entail", ["--data", "no/such.csv", "--text2", "b"], 2, "--text2 beside --data"),
    ("choice", ["--data", "no/such.csv", "--answer", "b"], 2, "--answer beside --data"),
])  # fmt: skip
def test_mistakes(kind: str, words: list[str], code: int, says: str, models: Path,
                  capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert ask(models, kind, *words) == code
    assert says in capsys.readouterr().err


def test_answers_that_do_not_fit_are_refused_with_what_helps(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(models, "choice", "--text", "a", "--answer", "b", "--answer", "a cat " * 40) == 4
    said = capsys.readouterr().err
    assert "--text 1 does not fit into 32 tokens" in said and "shorten its answers" in said
    assert "--too-long" not in said


def test_an_empty_second_text_of_a_file_is_refused(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pairs.csv").write_text("premise,hypothesis\na,b\nc,\n", "utf-8")
    assert ask(models, "entail", "--data", str(tmp_path / "pairs.csv")) == 3
    assert "pairs.csv:3 has an empty text" in capsys.readouterr().err


def test_texts_that_are_cut_are_said_at_the_end(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["a cat " * (30 if n in (3, 40, 41, 69) else 2) for n in range(70)]
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(texts), "utf-8")
    places = ", ".join(f"{path}:{n}" for n in (4, 41, 42))
    for options in ([], ["--json"], ["--out", str(tmp_path / "out.jsonl")]):
        assert ask(models, "classify", "--data", str(path), "--batch-size", "2", *options) == 0
        assert f"note: 4 of 70 rows cut to 32 tokens: {places}, …\n" in capsys.readouterr().err
    assert ask(models, "classify", "--text", "a cat") == 0
    assert "note" not in capsys.readouterr().err


def test_a_column_that_is_missing_is_named(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.csv").write_text("id,words,more\n1,a,b\n", "utf-8")
    assert ask(models, "classify", "--data", str(tmp_path / "rows.csv")) == 3
    assert "rows.csv" in capsys.readouterr().err
    (tmp_path / "lines.txt").write_text("a\n", "utf-8")
    assert ask(models, "entail", "--data", str(tmp_path / "lines.txt")) == 3


def test_a_table_with_a_column_of_texts_and_no_more(models: Path, tmp_path: Path,
                                                    capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    for name, options in (("review", []), ("감상", []), ("quote", ["--columns", "text=quote,label=not_there"])):
        (tmp_path / "one.csv").write_text(f"{name}\n고양이\na cat\n", "utf-8")
        assert ask(models, "classify", "--data", str(tmp_path / "one.csv"), "--json", *options) == 0
        assert [row["texts"] for row in rows(capsys)] == [["고양이"], ["a cat"]]
    assert ask(models, "classify", "--data", str(tmp_path / "one.csv")) == 3  # it may be a text
    assert "the first line reads: quote" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_file(models: Path, tmp_path: Path) -> None:
    """Examples are read a few batches ahead, never all at once."""
    from seodang.inference.classify import BATCHES, classified
    from seodang.inference.language_model import load

    taken = 0

    def endless():  # type: ignore[no-untyped-def]
        nonlocal taken
        from seodang.data.labelled import Labelled

        while True:
            taken += 1
            yield Labelled(("a cat",), None)

    with torch.no_grad():
        next(classified(load(models / "classify"), endless(), batch_size=2))
    assert taken == 2 * BATCHES
