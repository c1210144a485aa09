"""`seodang generate` with demonstrations, tasks and reasoning, through the front door."""

from __future__ import annotations

import json
import re

import pytest

from seodang.cli.main import main
from tests.inference.conftest import TEXTS, taught


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("prompting") / "model"
    taught().save(path)
    return str(path)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "train.tsv").write_text("sentence\tlabel\nthe cat\t1\nthe dog\t0\nthe log\t1\nthe mat\t0\n")
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nthe river\t1\nis low\t0\n")
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a", "completion": "A"}\n{"prompt": "b", "completion": "B"}\n')
    (tmp_path / "words.toml").write_text('question = "{text}:"\nanswers = ["low", "wide"]\n')
    (tmp_path / "tasks.toml").write_text(
        '[[task]]\nname = "x"\nquestion = "X?"\nanswers = ["a", "b"]\n'
        '[[task]]\nname = "y"\nquestion = "Y?"\nanswers = ["c", "d"]\n'
    )
    (tmp_path / "rows.csv").write_text("text,x,y\nthe cat,a,c\nthe dog,b,d\nthe mat,a,d\n")
    return tmp_path


def run(capsys, *argv) -> tuple[int, str, str]:
    code = main(["generate", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


def test_demonstrations_before_a_prompt(folder, files, capsys):
    argv = ["--model", folder, "--prompt", "c", "--shots", files / "pairs.jsonl", "--max-new-tokens", "4", "--json"]
    prompts = {}
    for k in (0, 1, 2):
        code, out, _ = run(capsys, *argv, "-k", k)
        prompts[k] = json.loads(out)["answers"][0]["prompt"]
        assert code == 0
    assert prompts[0] == "Input: c\nOutput:"
    assert prompts[2] == "Input: a\nOutput: A\n\nInput: b\nOutput: B\n\nInput: c\nOutput:"
    assert prompts[1] == "Input: a\nOutput: A\n\nInput: c\nOutput:"


def test_the_answer_alone_goes_to_stdout(folder, files, capsys):
    (files / "plain.toml").write_text('question = "{text}"\n')
    code, out, err = run(capsys, "--model", folder, "--prompt", "the lowest newest", "--template", files / "plain.toml")
    assert (code, out, err) == (0, TEXTS[1].removeprefix("the lowest newest ") + "\n", "")


def test_a_task_is_scored_with_its_interval(folder, files, capsys):
    argv = ["--model", folder, "--task", "sst2", "--data", files / "dev.tsv", "--shots", files / "train.tsv"]
    code, out, err = run(capsys, *argv, "-k", "2", "--template", files / "words.toml", "--balanced")
    assert code == 0
    assert re.fullmatch(r"(\S+dev.tsv:[23]\t(low|wide)\t0\.\d{3}\n){2}", out)
    assert re.fullmatch(
        r"accuracy [01]\.[05]00 \[0\.\d+, \d\.\d+\] of 2 rows; always the same answer: 0\.500\n", err
    )
    result = json.loads(run(capsys, *argv, "-k", "2", "--template", files / "words.toml", "--json")[1])
    assert result["template"]["answers"] == ["low", "wide"]
    assert [sum(row["probabilities"]) for row in result["answers"]] == pytest.approx([1, 1])
    right = sum(row["label"] == label for row, label in zip(result["answers"], (1, 0), strict=True))
    assert result["scores"]["accuracy"]["value"] == right / 2 and result["scores"]["n"] == 2


def test_the_first_rows_of_a_file_without_labels(folder, files, capsys):
    (files / "shots.csv").write_text("말,뜻\nthe cat,low\nthe dog,wide\n")
    (files / "new.csv").write_text("말\nthe river\nis low\nthe mat\n")
    argv = ["--model", folder, "--task", "classify", "--shots", files / "shots.csv", "--data", files / "new.csv"]
    code, out, err = run(capsys, *argv, "-k", "1", "--columns", "text=말,label=뜻", "--limit", "2")
    assert (code, err) == (0, "") and re.fullmatch(r"(\S+new.csv:[23]\t(low|wide)\t[01]\.\d{3}\n){2}", out)
    assert run(capsys, *argv, "--limit", "0")[0] == 2


def test_rows_with_and_without_a_label(folder, files, capsys):
    own = files / "own.csv"
    own.write_text("text,label\nthe cat,low\nthe dog,\n")
    (files / "pool.csv").write_text("text,label\nthe log,low\nthe mat,wide\n")
    argv = ["--model", folder, "--task", "classify", "--data", own, "--shots", files / "pool.csv"]
    code, out, err = run(capsys, *argv, "-k", "2")
    assert code == 0 and len(out.splitlines()) == 2 and "of 1 rows" in err
    own.write_text("text,label\nthe cat,\nthe dog,\n")
    code, _, err = run(capsys, *argv)
    assert code == 0 and " rows" not in err
    code, _, err = run(capsys, *argv, "--choice", "low")
    assert code == 2 and "--choice, --schema or --regex with answers that are weighed" in err


def test_one_reasoning_can_be_read(folder, capsys):
    argv = ["--model", folder, "--prompt", "the cat", "--cot", "--extract", "line", "--max-new-tokens", "6"]
    code, out, err = run(capsys, *argv)
    assert code == 0 and "Therefore, the answer is" in err and len(out.splitlines()) == 1


def test_every_flag_changes_something(folder, files, capsys):
    base = ["--model", folder, "--task", "sst2", "--data", files / "dev.tsv", "--shots", files / "train.tsv", "--json"]
    words = ["--template", files / "words.toml"]
    plain = run(capsys, *base, "-k", "2", *words)[1]
    for flags in (
        ["-k", "1", *words], ["-k", "2"], ["-k", "2", *words, "--select", "random"],
        ["-k", "3", *words, "--select", "nearest"], ["-k", "2", *words, "--score", "null"],
        ["-k", "2", *words, "--calibrate"], ["-k", "2", *words, "--score", "generate"],
        ["-k", "2", *words, "--score", "generate", "--samples", "3", "--max-new-tokens", "4"],
        ["-k", "2", *words, "--cot", "--max-new-tokens", "4"],
    ):  # fmt: skip
        code, out, err = run(capsys, *base, *flags)
        assert code == 0, err
        assert json.loads(out) != json.loads(plain), flags
    assert run(capsys, *base, "-k", "2", *words)[1] == plain
    random = [run(capsys, *base, *words, "--select", "random", "--seed", seed)[1] for seed in (0, 1)]
    assert random[0] != random[1]


def test_samples_and_reasoning(folder, capsys):
    argv = ["--model", folder, "--prompt", "the cat", "--cot", "--samples", "3", "--extract", "line", "--json"]
    code, out, _ = run(capsys, *argv, "--max-new-tokens", "6", "--temperature", "1.5")
    (row,) = json.loads(out)["answers"]
    assert code == 0 and len(row["generated"]) == 3 and row["agreement"] in (1 / 3, 2 / 3, 1)
    assert row["prompt"] == "Q: the cat\nA:"
    assert all("\nTherefore, the answer is" in text for text in row["generated"])


def test_several_tasks_find_korean_columns(folder, files, capsys):
    (files / "ko.csv").write_text("리뷰,x,y\nthe cat,a,c\n")
    argv = ["--model", folder, "--tasks", files / "tasks.toml", "--data", files / "ko.csv", "--way", "in-turn"]
    assert run(capsys, *argv, "--max-new-tokens", "4")[0] == 0


def test_several_tasks_in_one_table(folder, files, capsys):
    argv = ["--model", folder, "--tasks", files / "tasks.toml", "--data", files / "rows.csv"]
    code, out, err = run(capsys, *argv, "--max-new-tokens", "8")
    assert code == 0, err
    lines = [line.split(" | ") for line in out.splitlines()]
    assert lines[0] == ["way", "x", "y", "all", "calls", "prompt tokens", "new tokens", "seconds"]
    assert [line[0] for line in lines[2:]] == ["together", "in-turn", "chained"]
    assert [line[4] for line in lines[2:]] == ["3", "6", "6"]
    one = run(capsys, *argv, "--way", "chained", "--max-new-tokens", "8", "--json")[1]
    (outcome,) = json.loads(one)
    assert outcome["way"] == "chained" and set(outcome["answers"][0]) == {"x", "y"}
    assert set(outcome["accuracy"]) == {"x", "y", "all"}
    out = run(capsys, "--model", folder, "--tasks", files / "tasks.toml", "--prompt", "the cat", "--way", "in-turn")[1]
    assert out.startswith('in-turn: {"x": ')


def test_completions_are_labels_of_the_templates_answers(folder, files, capsys):
    rows = files / "labelled.jsonl"
    rows.write_text("".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in
                            (("the river", "wide"), ("the mat", "low"), ("a dog", "Wide"))))
    argv = ["--model", folder, "--template", files / "words.toml", "--data", rows, "--json"]
    code, out, err = run(capsys, *argv)
    found = json.loads(out)
    share = sum(one["text"] == word for one, word in zip(found["answers"], ("wide", "low", "wide"), strict=True)) / 3
    assert code == 0 and found["scores"]["accuracy"]["value"] == pytest.approx(share) and found["scores"]["n"] == 3
    (files / "three.toml").write_text('question = "{text}:"\nanswers = ["a", "b", "c"]\n')
    code, _, err = run(
        capsys, "--model", folder, "--task", "sst2", "--template", files / "three.toml", "--data", files / "dev.tsv"
    )
    assert code == 2 and "the template has 3 answers" in err


def test_scores_of_whatever_is_known(folder, files, capsys):
    (files / "qa.jsonl").write_text('{"prompt": "a", "completion": "one"}\n{"prompt": "b", "completion": "two"}\n')
    code, _, err = run(capsys, "--model", folder, "--data", files / "qa.jsonl", "--max-new-tokens", "3")
    assert code == 0 and "exact_match 0.000" in err and "always the same" not in err
    (files / "sums.jsonl").write_text('{"prompt": "a", "completion": "yes"}\n{"prompt": "b", "completion": "5"}\n')
    code, _, err = run(capsys, "--model", folder, "--data", files / "sums.jsonl", "--cot", "--max-new-tokens", "3")
    assert code == 0 and "1 of 2 rows have no number to compare" in err and "of 1 rows" in err
    (files / "sts.csv").write_text("sentence1,sentence2,score\nthe cat,a cat,4\nthe dog,is low,1\nthe,a,2\n")
    argv = ["--model", folder, "--task", "stsb", "--data", files / "sts.csv", "--score", "generate"]
    assert run(capsys, *argv)[0] == 0


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--prompt", "a", "--calibrate"], 2, "calibration of generated text"),
        (["--prompt", "a", "--score", "null"], 2, "--score null without answers"),
        (["--data", "rows.csv", "--columns", "text=x"], 2, "--columns without --task"),
        (["--tasks", "tasks.toml", "--prompt", "c", "--cot", "--samples", "5"], 2, "--cot, --samples with --tasks"),
        (["--prompt", "a", "--shots", "pairs.jsonl"], 3, "pairs.jsonl:1"),
        (["--prompt", "c", "--shots", "pairs.jsonl", "-k", "3"], 2, "k = 3"),
        (["--prompt", "c", "-k", "1"], 2, "--shots FILE"),
        (["--prompt", "c", "--shots", "nothing.jsonl"], 3, "nothing.jsonl"),
        (["--shots", "pairs.jsonl"], 2, "nothing to answer"),
        (["--prompt", "c", "--template", "tasks.toml"], 3, "unknown key 'task'"),
        (["--prompt", "c", "--task", "sst22"], 2, "sst2"),
        (["--prompt", "c", "--task", "classify"], 2, "not known"),
        (["--prompt", "c", "--shots", "rows.csv"], 3, "rows.csv:2 is not a prompt"),
        (["--data", "pairs.jsonl", "--task", "sst2"], 3, "pairs.jsonl"),
        (["--prompt", "c", "--shots", "pairs.jsonl", "--select", "near"], 2, "near"),
        (["--prompt", "c", "--samples", "2", "--temperature", "0"], 2, "temperature 0"),
        (["--prompt", "c", "--cot", "--score", "sum"], 2, "reasoning"),
        (["--prompt", "c " * 200, "--shots", "pairs.jsonl", "--max-new-tokens", "4"], 4, "prompt 1: "),
        (["--tasks", "words.toml", "--prompt", "c"], 3, "question = "),
        (["--tasks", "tasks.toml", "--data", "pairs.jsonl"], 3, "pairs.jsonl:1"),
        (["--tasks", "tasks.toml", "--data", "rows.csv", "--shots", "rows.csv"], 3, "contains the row"),
    ],
)
def test_mistakes_are_three_lines(folder, files, capsys, monkeypatch, argv, code, words):
    monkeypatch.chdir(files)
    got, out, err = run(capsys, "--model", folder, *argv)
    assert (got, out) == (code, ""), err
    assert words in err and "Traceback" not in err
    assert "  why: " in err and "  fix: " in err and err.count("\n") == 3


def test_what_is_wrong_is_found_before_the_model_is_read(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    for argv in (["--prompt", "a", "--shots", "pairs.jsonl", "-k", "9"], ["--tasks", "tasks.toml"]):
        assert "./nothing" not in run(capsys, "--model", "./nothing", *argv)[2]
