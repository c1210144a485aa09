"""The whole ladder in seconds: every rung is real, only smaller."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seodang.cli.demo import free_folder, summary
from seodang.cli.main import main
from seodang.data.primer import Question
from seodang.errors import UsageError
from seodang.recipes.demo import PROMPTS, DemoResult, DemoSize, accuracy, run_demo

TINY = DemoSize(model="gpt2-mini", vocab_size=600, megabytes=0.06, readings=12, questions=24, evaluate_every=15,
                steps=(24, 6))  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    return run_demo(tmp_path_factory.mktemp("demo") / "out", minutes=2, seed=3, size=TINY, quiet=True)


def test_every_rung_leaves_what_it_made(demo: DemoResult) -> None:
    for name in ("primer/questions.jsonl", "tokenizer/tokenizer.json", "pretrain/model.safetensors",
                 "pretrain/metrics.jsonl", "chat/model.safetensors", "chat/tokenizer.json", "demo.json"):  # fmt: skip
        assert (demo.out / name).is_file(), name
    rungs = demo.details["rungs"]
    assert len(rungs) == 6 and all(rung["seconds"] > 0 and rung["what"] for rung in rungs)
    trained = [rung for rung in rungs if rung.get("tokens")]
    assert len(trained) == 2 and all(rung["flops"] > rung["tokens"] * 1e5 for rung in trained)
    assert json.loads((demo.out / "demo.json").read_text(encoding="utf-8"))["accuracy"] == demo.details["accuracy"]


def test_reading_lowers_the_bits_per_byte(demo: DemoResult) -> None:
    rows = [json.loads(line) for line in (demo.out / "pretrain" / "metrics.jsonl").read_text().splitlines()]
    held_out = [row["bits_per_byte"] for row in rows if row.get("split") == "eval"]
    assert held_out[-1] < 0.9 * held_out[0]
    for entry in demo.details["score"]:
        assert entry["bits_after"] < entry["bits_before"]
        assert sum(bits for _, bits in entry["after"]) > 0


def test_what_is_shown_is_what_was_said(demo: DemoResult) -> None:
    samples = demo.details["samples"]
    assert [entry["prompt"] for entry in samples] == list(PROMPTS)
    for entry in samples:
        whens = [when for when, _ in entry["said"]]
        assert whens[0] == "before training" and whens[-2] == "after pre-training"
        assert whens[-1].endswith(PROMPTS[entry["prompt"]])
    html = demo.report.read_text(encoding="utf-8")
    assert "The ladder" in html and html.count("<svg") >= 5
    text = "\n".join(summary(demo))
    assert f"{demo.after['right'] / demo.after['total']:.1%}" in text and str(demo.report) in text


def test_accuracy_counts_exact_answers_only() -> None:
    questions = [Question("en", "sums", "1 + 1?", "1 + 1 = 2."), Question("ko", "sums", "일 더하기 일?", "이입니다."),
                 Question("en", "sums", "1 + 2?", "1 + 2 = 3.")]  # fmt: skip
    found = accuracy(questions, ["", "", "1 + 2 = 3."], ["1 + 1 = 2.", "이입니다", "1 + 2 = 4."])
    assert found["before"] == {"right": 1, "total": 3} and found["after"] == {"right": 1, "total": 3}
    assert found["kinds"] == [
        {"kind": "sums", "language": "en", "total": 2, "before": 1, "after": 1},
        {"kind": "sums", "language": "ko", "total": 1, "before": 0, "after": 0},
    ]


def test_nothing_is_overwritten(demo: DemoResult, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="already holds a demo"):
        run_demo(demo.out, minutes=1)
    assert main(["demo", "--out", str(demo.out)]) == 2
    assert "seodang chat" in capsys.readouterr().err
    with pytest.raises(UsageError, match="minutes"):
        run_demo(demo.out / "new", minutes=0)
    assert not (demo.out / "new").exists()


def test_the_default_folder_is_a_free_one(tmp_path: Path) -> None:
    assert free_folder(tmp_path / "demo").name == "demo"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    assert free_folder(tmp_path / "demo").name == "demo-3"
