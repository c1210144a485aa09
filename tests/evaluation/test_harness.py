"""A whole evaluation: rows in, numbers with intervals, settings and hashes out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seodang.data.labelled import TaskSpec
from seodang.data.task_settings import TaskSettings
from seodang.data.tasks import Columns
from seodang.errors import DataError, UsageError
from seodang.evaluation import harness, tasks
from seodang.evaluation.choosing import Choice
from seodang.evaluation.harness import evaluate, results
from seodang.evaluation.results import load_results, save_results
from seodang.evaluation.task import Shown
from seodang.inference.language_model import LanguageModel
from seodang.inference.likelihood import Row
from seodang.inference.requests import encode_pairs, rolling
from seodang.models.families import with_classes
from seodang.prompting.template import Template
from tests.inference.conftest import TEXTS, taught
from tests.inference.test_requests import plainly


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return taught()


WORDS = ("cat", "dog", "river", "고양이")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty questions with four answers, many of which the model has read."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    with open(path, "w", encoding="utf-8") as stream:
        for number in range(30):
            beginning = ("the", "the lowest newest widest", "서당에서", "where is the")[number % 4]
            row = {
                "question": f"{beginning} {'so ' * (number // 4)}".strip(),
                "choices": {"text": [f"{word} sat" if number % 3 else word for word in WORDS], "label": list("ABCD")},
                "answerKey": "ABCD"[number % 4],
            }
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def scores(found: Any) -> dict[str, float]:
    return {name: one.value for name, one in found.measurements.items()}


def test_a_choice_is_the_most_probable_answer(lm: LanguageModel, rows: Path) -> None:
    found = evaluate(lm, "arc-easy", [rows], limit=8)
    assert found.n == 8 and found.settings["chance"] == 0.25
    right = 0
    for sample, line in zip(found.samples, rows.read_text("utf-8").splitlines(), strict=False):
        row = json.loads(line)
        values = []
        for answer in row["choices"]["text"]:
            ((context, ids),) = encode_pairs(lm, [(f"Question: {row['question']}\nAnswer:", f" {answer}")])
            values.append(plainly(lm.model, Row((*context, *ids), len(ids)))[0])
        assert sample.logprobs == pytest.approx(values, abs=1e-3)
        assert sample.outcomes["accuracy"].prediction == values.index(max(values))
        right += "ABCD"[values.index(max(values))] == row["answerKey"]
    assert found.measurements["accuracy"].value == right / 8
    assert found.measurements["accuracy"].low < right / 8 + 1e-9 < found.measurements["accuracy"].high + 1e-9


def test_neither_batches_nor_limits_change_a_row(
    lm: LanguageModel, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(lm, "arc-easy", [rows])
    monkeypatch.setitem(harness.AT_ONCE, "continuation", 1)
    alone = evaluate(lm, "arc-easy", [rows])
    few = evaluate(lm, "arc-easy", [rows], limit=5)
    assert scores(whole) == scores(alone) and whole.prompts == alone.prompts and whole.rows == alone.rows
    for one, other in zip(whole.samples, alone.samples, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert [one.prompt for one in few.samples] == [one.prompt for one in whole.samples[:5]]
    assert few.rows != whole.rows


def test_hashes_change_with_what_they_are_of(lm: LanguageModel, rows: Path) -> None:
    task = tasks.find("arc-easy")
    assert isinstance(task, Choice)
    usual = evaluate(lm, task, [rows], limit=4)
    other = evaluate(lm, replace(task, template=Template("Q: {question}\nA:")), [rows], limit=4)
    assert usual.rows == other.rows  # the same rows
    assert usual.prompts != other.prompts and usual.settings != other.settings
    assert usual.settings["template"]["question"] == "Question: {question}\nAnswer:"
    again = evaluate(lm, "arc-easy", [rows], limit=4)
    assert (usual.rows, usual.prompts, usual.settings) == (again.rows, again.prompts, again.settings)


def test_demonstrations_change_prompts_and_settings(lm: LanguageModel, rows: Path, tmp_path: Path) -> None:
    lines = rows.read_text("utf-8").splitlines(keepends=True)
    pool, asked = tmp_path / "pool.jsonl", tmp_path / "asked.jsonl"
    pool.write_text("".join(lines[:2]), "utf-8")
    asked.write_text("".join(lines[10:16]), "utf-8")
    without, shown = evaluate(lm, "arc-easy", [asked]), evaluate(lm, "arc-easy", [asked], shots=Shown([pool], k=1))
    assert without.rows == shown.rows and without.prompts != shown.prompts
    assert without.settings["shots"] is None and shown.settings["shots"]["k"] == 1
    with pytest.raises(DataError, match="contains the row"):
        evaluate(lm, "arc-easy", [rows], shots=Shown([pool], k=2))


def test_the_nearest_demonstration_is_the_one_most_like_the_question(lm: LanguageModel, tmp_path: Path) -> None:
    pool, asked = tmp_path / "pool.csv", tmp_path / "asked.csv"
    texts = ["the old man read a book by the fire", "seven boats left", "rain fell"]
    pool.write_text("text,label\n" + "".join(f"{text},{n % 2}\n" for n, text in enumerate(texts)), "utf-8")
    asked.write_text("text,label\nthe old man read a book by the river,0\nfour ships came,1\n", "utf-8")
    vectors = lm.embed([*texts, "the old man read a book by the river"], normalize=True)
    wanted = texts[int((vectors[:3] @ vectors[3]).argmax())]
    found = evaluate(lm, "classify", [asked], shots=Shown([pool], k=1, select="nearest"))
    assert wanted in found.samples[0].details["question"] and found.settings["shots"]["select"] == "nearest"


def test_demonstrations_that_do_not_fit_are_dropped(lm: LanguageModel, rows: Path, tmp_path: Path) -> None:
    lines = rows.read_text("utf-8").splitlines(keepends=True)
    pool, asked = tmp_path / "pool.jsonl", tmp_path / "asked.jsonl"
    pool.write_text("".join(lines[:10]), "utf-8")
    asked.write_text("".join(lines[10:13]), "utf-8")
    found = evaluate(lm, "arc-easy", [asked], shots=Shown([pool], k=10))
    assert any("demonstrations were dropped, in 3 rows" in note for note in found.notes)
    assert not any("lost the beginning" in note for note in found.notes)
    assert found.samples[0].details["question"].count("Question:") > 1


def test_a_long_prompt_is_cut_and_said(lm: LanguageModel, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": " ".join(TEXTS)}) + "\n", "utf-8")
    found = evaluate(lm, "lambada", [path])
    assert any("1 rows do not fit the context" in note for note in found.notes)
    path.write_text(json.dumps({"prompt": " ".join(TEXTS), "answer": "the"}) + "\n", "utf-8")
    written = evaluate(lm, "generate", [path])
    assert any("1 rows do not fit the context" in note for note in written.notes)


def test_perplexity_of_a_file(lm: LanguageModel, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:3]), "utf-8")
    found, values = scores(evaluate(lm, "text", [path])), rolling(lm, TEXTS[:3])
    total = math.fsum(one.logprob for one in values)
    assert found["token_perplexity"] == pytest.approx(math.exp(-total / sum(one.n_tokens for one in values)), rel=1e-4)
    assert found["word_perplexity"] == pytest.approx(math.exp(-total / sum(one.n_words for one in values)), rel=1e-4)
    n_bytes = sum(len(text.encode()) for text in TEXTS[:3])
    assert found["bits_per_byte"] == pytest.approx(-total / math.log(2) / n_bytes, rel=1e-4)


def test_generated_answers(lm: LanguageModel, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": "the cat sat on the mat and", "answer": "the dog sat on the log"},
        {"prompt": "the lowest newest widest river is", "answer": "high"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    found = evaluate(lm, "generate", [path])
    assert scores(found) == {"exact_match": 0.5, "token_f1": 0.5}
    assert found.samples[0].details["generated"].strip() == "the dog sat on the log"
    summaries = evaluate(lm, "summaries-ko", [path])
    assert set(scores(summaries)) >= {"rouge1-characters", "rougeL"}


def test_results_on_the_disk_are_the_results(lm: LanguageModel, rows: Path, tmp_path: Path) -> None:
    found = results("folder", lm, [evaluate(lm, "arc-easy", [rows], limit=3)], 2.0)
    save_results(found, tmp_path / "arc-easy.json")
    read = load_results(tmp_path / "arc-easy.json")
    assert read.tokenizer == lm.tokenizer.fingerprint() and read.machine["rows_per_second"] == 1.5
    assert read.tasks["arc-easy"].measurements == found.tasks["arc-easy"].measurements
    assert read.tasks["arc-easy"].samples[2].details["answers"] == found.tasks["arc-easy"].samples[2].details["answers"]


def test_memory_does_not_grow_with_the_rows(lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are read as they are asked about: while the first ones are, the file's end has not been read."""
    path = tmp_path / "long.txt"
    path.write_text("a line of words\n" * 3000, "utf-8")
    asked: list[int] = []
    monkeypatch.setattr("seodang.evaluation.texts.LONGEST", 1000)
    monkeypatch.setattr(harness, "rolling", lambda lm, texts: asked.append(len(texts)) or rolling(lm, texts))
    found = evaluate(lm, "enwik8", [path], limit=32)
    assert found.n == 32 and asked == [16, 16]


def with_head(spec: TaskSpec) -> LanguageModel:
    """A model that was fine-tuned for two classes, its head as it was drawn."""
    model, _ = with_classes(taught().model, 2, generator=torch.Generator().manual_seed(1))
    return LanguageModel(model, taught().tokenizer, fine_tuned=TaskSettings(spec).to_dict())


def test_a_class_head_answers_its_own_task(tmp_path: Path) -> None:
    model = with_head(TaskSpec("sst2", "classify", ("negative", "positive")))
    path = tmp_path / "dev.tsv"
    path.write_text("sentence\tlabel\nthe cat sat\t1\nthe dog sat\t0\nwhere is the cat\t1\n", "utf-8")
    found = evaluate(model, "sst2", [path])
    assert found.settings["way"] == "fine-tuned" and found.n == 3
    labels = [one.label for one in model.classify(["the cat sat", "the dog sat", "where is the cat"])]
    assert [sample.outcomes["accuracy"].prediction for sample in found.samples] == labels
    prompted = evaluate(model, "sst2", [path], prompted=True)
    assert prompted.settings["request"] == "continuation" and prompted.rows == found.rows
    assert evaluate(model, "cola", [cola(tmp_path)]).settings["request"] == "continuation"


def test_a_class_head_reads_the_columns_that_are_named(tmp_path: Path) -> None:
    model = with_head(TaskSpec("classify", "classify", ("bad", "good")))
    path = tmp_path / "own.tsv"
    path.write_text("text\tlabel\tsaid\tstars\nnone\tgood\tthe cat sat\tbad\nnone\tbad\tthe dog\tgood\n", "utf-8")
    task = tasks.find("classify")
    assert isinstance(task, Choice)
    found = evaluate(model, replace(task, columns=Columns(text="said", label="stars")), [path])
    assert found.settings["way"] == "fine-tuned"
    assert [sample.outcomes["accuracy"].reference for sample in found.samples] == [0, 1]
    said = [one.probabilities for one in model.classify(["the cat sat", "the dog"])]
    for sample, probabilities in zip(found.samples, said, strict=True):
        assert sample.details["probabilities"] == pytest.approx(probabilities, abs=1e-5)


def cola(folder: Path) -> Path:
    path = folder / "cola.tsv"
    path.write_text("a\t1\t\tthe cat sat\na\t0\t*\tsat cat the\n", "utf-8")
    return path


def test_what_cannot_be_evaluated(lm: LanguageModel, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="limit = 0"):
        evaluate(lm, "arc-easy", [rows], limit=0)
    empty = tmp_path / "empty.txt"
    empty.write_text("\n", "utf-8")
    with pytest.raises(DataError):
        evaluate(lm, "lambada", [empty])
    with pytest.raises(UsageError, match="demonstrations for text"):
        evaluate(lm, "text", [rows], shots=Shown([rows], k=1))


def test_sums_are_what_torch_says(lm: LanguageModel) -> None:
    """log P of the taught texts, once more, from the logits of each text alone."""
    (one,) = rolling(lm, TEXTS[:1])
    ids = torch.tensor([lm.start_id, *lm.tokenizer.encode(TEXTS[0])])
    logits = lm.logits(ids[:-1])[0].log_softmax(-1)
    assert one.logprob == pytest.approx(logits[torch.arange(len(ids) - 1), ids[1:]].sum().item(), abs=1e-4)
