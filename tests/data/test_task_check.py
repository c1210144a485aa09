"""What is said of labelled data before anything is learned from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seodang.cli.main import main
from seodang.data.task_check import check_task, report_lines, task_stats
from seodang.data.tasks import read_task


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text("text,label\ngood,1\nbad,0\ngood,1\nbad,1\nlong one,0\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("text,label\nbad,0\nnew,0\n", encoding="utf-8")
    return tmp_path


def test_labels_lengths_and_what_is_there_twice(reviews: Path) -> None:
    a, b = reviews / "a.csv", reviews / "b.csv"
    result = check_task("classify", [a], max_length=5, eval_files=[b])
    assert result["labels"] == {"0": {"count": 2, "share": 0.4}, "1": {"count": 3, "share": 0.6}}
    lengths = result["lengths"]
    assert (lengths["unit"], lengths["min"], lengths["median"], lengths["max"]) == ("characters", 3, 4, 8)
    assert result["duplicates"] == {"count": 1, "places": [f"{a}:4 = {a}:2"]}
    assert result["unlike_labels"] == {"count": 1, "places": [f"{a}:5 = {a}:3"]}
    assert result["too_long"] == {"max_length": 5, "count": 1, "places": [f"{a}:6 (8)"]}
    assert result["evaluation"] == {"examples": 2, "also_in_training": {"count": 1, "places": [f"{b}:2 = {a}:3"]}}
    text = "\n".join(report_lines(result))
    assert "label 1: 3 (60.0%)" in text and "equal examples with unlike labels: 1" in text


def test_a_choice_counts_its_longest_answer(tmp_path: Path) -> None:
    rows = [
        {"question": "What melts?", "choices": {"text": ["ice", "sand"], "label": ["A", "B"]}, "answerKey": "A"},
        {"question": "Far?", "choices": {"text": ["a", "b", "cc"], "label": ["A", "B", "C"]}, "answerKey": "C"},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    result = task_stats(read_task("arc-easy", tmp_path / "a.jsonl"))
    assert result["lengths"]["total"] == (11 + 4) + (4 + 2) and result["answers"] == {"2": 1, "3": 1}
    assert set(result["parts"]) == {"question", "answer"}  # there is no context
    assert "right answer 3: 1 (50.0%)" in report_lines(result)


def test_scores_have_a_range(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("sentence1\tsentence2\tscore\na\tb\t0\nc\td\t5\n", encoding="utf-8")
    result = task_stats(read_task("regress", tmp_path / "a.tsv"))
    assert result["scores"] == {"min": 0, "mean": 2.5, "max": 5} and result["labels"] == {}
    assert "scores: min 0, mean 2.5, max 5" in report_lines(result)


def test_on_the_command_line(reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = str(reviews / "a.csv")
    assert main(["data", "check", "--task", "classify", a, "--columns", "text=text,label=label", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 5
    assert main(["data", "stats", "--task", "sst2", a]) == 0
    assert "label negative: 2 (40.0%)" in capsys.readouterr().out
    assert main(["data", "check", "--task", "classify", a, "--labels", "1,2"]) == 3
    assert "a.csv:3 has the unknown label '0'" in capsys.readouterr().err
    assert main(["data", "stats", a, "--columns", "text=x"]) == 2
    assert "--columns without --task" in capsys.readouterr().err
    assert main(["data", "check", "--task", "sst3", a]) == 2
    assert "did you mean 'sst5' or 'sst2'?" in capsys.readouterr().err
