"""Every published set in the layouts it is released in, each from a file of a few rows (layouts.txt)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from seodang.data.labelled import Kind, TaskSpec
from seodang.data.tasks import read_task
from seodang.data.tasks.published import TASKS, task_name
from seodang.data.tasks.stream import stream_examples
from seodang.errors import DataError, UsageError

Row = tuple[tuple[str, ...], int | float | None, tuple[str, ...]]


def tab(*rows: Sequence[object]) -> str:
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def jsonl(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def layouts() -> Iterator[Any]:
    """(set, name of the file, its text, what is read from it) of each layout in `layouts.txt`."""
    text = Path(__file__).with_name("layouts.txt").read_text(encoding="utf-8")
    for block in text.split("\n== ")[1:]:
        title, *lines = block.rstrip("\n").split("\n")
        task, _, name = title.partition(" ")
        content = "".join(f"{line}\n" for line in lines if not line.startswith("-> "))
        rows = [json.loads(line[3:]) for line in lines if line.startswith("-> ")]
        expected = [(tuple(row[0]), row[1], tuple(row[2]) if len(row) > 2 else ()) for row in rows]
        content = content.replace("⇥", "\t").replace("¶", "\ufeff")
        yield pytest.param(task, name, content, expected, id=f"{task}-{name}")


@pytest.mark.parametrize(("task", "name", "text", "expected"), layouts())
def test_published_layouts(tmp_path: Path, task: str, name: str, text: str, expected: list[Row]) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    data = read_task(task, tmp_path / name)
    assert [(example.texts, example.label, example.answers) for example in data.examples] == expected
    assert data.examples[0].where.startswith(f"{tmp_path / name}:")


def test_every_set_has_a_layout_here() -> None:
    assert {str(layout.values[0]) for layout in layouts()} == set(TASKS)


def test_specs_are_complete() -> None:
    """Kinds, numbers of classes and main metrics as the papers have them."""
    expected: dict[Kind, set[str]] = {
        "entail": {"snli", "mnli", "qnli", "rte", "wnli", "scitail", "klue-nli", "kornli", "kobest-boolq"},
        "similar": {"mrpc", "qqp", "stsb", "klue-sts", "korsts", "paws-x", "kobest-wic"},
        "choice": {"race", "storycloze", "arc-easy", "arc-challenge", "commonsenseqa", "hellaswag", "piqa"}
        | {"winogrande", "kobest-copa", "kobest-hellaswag"},
    }
    for kind, names in expected.items():
        assert {name for name, task in TASKS.items() if task.kind == kind} == names
    for name, task in TASKS.items():
        assert task.source and (task.regression or task.kind == "choice") == (not task.labels), name
        assert set(task.aliases.values()) <= set(task.labels)
    assert len(TASKS["klue-re"].labels) == 30 and len(TASKS["klue-ynat"].labels) == len(TASKS["3i4k"].labels) == 7
    main = {name: task.metrics[0] for name, task in TASKS.items() if task.metrics[0] != "accuracy"}
    assert main == {
        **dict.fromkeys((name for name in TASKS if name.startswith("kobest-")), "macro_f1"),
        **{"klue-ynat": "macro_f1", "klue-re": "micro_f1", "mrpc": "f1", "qqp": "f1", "cola": "matthews"},
        **{"stsb": "pearson", "klue-sts": "pearson", "korsts": "spearman"},
    }


def test_the_documented_table_is_this_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "labelled.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.split("\n") if line.startswith("| `")]
    found = {row[0].strip("`"): row[1:] for row in rows if len(row) == 5 and row[0] != "`--task`"}
    assert list(found) == list(TASKS)
    for name, (kind, labels, metrics, source) in found.items():
        task = TASKS[name]
        assert (kind, metrics, source) == (task.kind, ", ".join(task.metrics), task.source)
        asked = "(a score)" if task.regression else "(an answer)" if task.kind == "choice" else ", ".join(task.labels)
        assert labels == asked or (name == "klue-re" and labels == "30 relations")


def test_a_spec_is_stored_and_comes_back(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text(tab(("sentence", "label"), ("a", 0), ("b", 1)), encoding="utf-8")
    spec = read_task("SST-2", tmp_path / "dev.tsv").spec
    assert (spec.name, spec.labels, spec.language) == ("sst2", ("negative", "positive"), "en")
    assert TaskSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_race_as_folders_of_passages(tmp_path: Path) -> None:
    for level in ("middle", "high"):
        (tmp_path / level).mkdir()
        passage = {"article": level, "questions": ["?"], "options": [["a", "b"]], "answers": ["A"]}
        (tmp_path / level / "1.txt").write_text(json.dumps(passage), encoding="utf-8")
    (tmp_path / "middle" / "2.txt").write_text(
        json.dumps({"article": "x", "questions": ["?"], "options": [["a", "b"]], "answers": ["B"]}, indent=1), "utf-8"
    )
    data = read_task("race", tmp_path)
    assert [(example.texts[0], example.label) for example in data.examples] == [("high", 0), ("middle", 0), ("x", 1)]


def test_imdb_as_folders_of_reviews(tmp_path: Path) -> None:
    for folder, text in (("pos", "Good.\nVery."), ("neg", "Bad, bad."), ("unsup", "Who knows.")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0_9.txt").write_text(text, encoding="utf-8")
    data = read_task("imdb", tmp_path)
    assert [(example.texts[0], example.label) for example in data.examples] == [("Bad, bad.", 0), ("Good.\nVery.", 1)]


def test_imdb_as_it_is_released(tmp_path: Path) -> None:
    """aclImdb: addresses and counted words lie beside the folders of reviews, the vocabulary above them."""
    train = tmp_path / "train"
    for folder, text in (("pos", "Good."), ("neg", "Bad."), ("unsup", "Who knows.")):
        (train / folder).mkdir(parents=True)
        (train / folder / "0_9.txt").write_text(text, encoding="utf-8")
        (train / f"urls_{folder}.txt").write_text("http://www.imdb.com/title/tt0064354/usercomments\n", "utf-8")
    (train / "labeledBow.feat").write_text("9 0:9 1:1\n", encoding="utf-8")
    (tmp_path / "imdb.vocab.txt").write_text("the\nand\n", encoding="utf-8")
    for given in (train, tmp_path, [train / "neg", train / "pos"]):
        data = read_task("imdb", given)
        assert [(example.texts[0], example.label) for example in data.examples] == [("Bad.", 0), ("Good.", 1)]


def test_piqas_labels_lie_beside(tmp_path: Path) -> None:
    (tmp_path / "valid.jsonl").write_text(jsonl(*({"goal": "g", "sol1": "a", "sol2": "b"} for _ in range(2))), "utf-8")
    (tmp_path / "valid-labels.lst").write_text("1\n0\n", encoding="utf-8")
    assert [example.label for example in read_task("piqa", tmp_path / "valid.jsonl").examples] == [1, 0]


def test_winograndes_labels_beside_count_from_1(tmp_path: Path) -> None:
    rows = ({"sentence": "the _ sat", "option1": "cat", "option2": "dog"} for _ in range(2))
    (tmp_path / "dev.jsonl").write_text(jsonl(*rows), encoding="utf-8")
    (tmp_path / "dev-labels.lst").write_text("2\n1\n", encoding="utf-8")
    assert [example.label for example in read_task("winogrande", tmp_path / "dev.jsonl").examples] == [1, 0]


def test_numbers_mean_the_published_classes_whatever_the_order_asked_for(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nbad\t0\ngood\t1\n", encoding="utf-8")
    data = read_task("sst2", tmp_path / "dev.tsv", labels=("positive", "negative"))
    assert [data.spec.labels[int(e.label or 0)] for e in data.examples] == ["negative", "positive"]


SHAPED = {
    "hellaswag": {"ctx_a": "He runs.", "ctx_b": "then he", "ctx": "He runs. then he", "activity_label": "Sport",
                  "endings": ["stops [title] there.", "flies."], "label": 0},
    "kobest-wic": {"word": "배", "context_1": "배가 고프다", "context_2": "배를 먹다", "label": 0},
    "storycloze": {**{f"InputSentence{i}": f"{i}." for i in range(1, 5)}, "RandomFifthSentenceQuiz1": "a",
                   "RandomFifthSentenceQuiz2": "b", "AnswerRightEnding": 1},
    "race": {"article": "x", "questions": ["?", "!"], "options": [["a", "b"], ["c", "d"]], "answers": ["B", "A"]},
    "arc-easy": {"question": {"stem": "why", "choices": [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]},
                 "answerKey": "B"},
}  # fmt: skip


@pytest.mark.parametrize("task", SHAPED)
def test_a_model_is_asked_what_it_learned(task: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(jsonl(SHAPED[task]), encoding="utf-8")
    learned = read_task(task, tmp_path / "rows.jsonl", labelled=False)
    asked = list(stream_examples(tmp_path / "rows.jsonl", learned.spec))
    assert [(e.texts, e.answers) for e in asked] == [(e.texts, e.answers) for e in learned.examples]
    assert asked


def test_rows_nobody_can_learn_from_are_counted(tmp_path: Path) -> None:
    labels = ("-", "neutral", "entailment", "-1", "neutral")
    rows = ({"gold_label": x, "sentence1": s, "sentence2": "b"} for x, s in zip(labels, "xyz1 ", strict=True))
    (tmp_path / "a.jsonl").write_text(jsonl(*rows), encoding="utf-8")
    data = read_task("snli", tmp_path / "a.jsonl")
    assert data.examples == read_task("snli", tmp_path / "a.jsonl", labelled=True).examples
    assert len(data.examples) == 2
    assert data.notes == [
        "left out 1 row without a gold label ('-')",
        "left out 1 row with an empty text",
        "left out 1 row without a label",
    ]


def test_rows_of_a_wrong_width_are_counted(tmp_path: Path) -> None:
    """The released train file of QQP has some."""
    head = ("id", "qid1", "qid2", "question1", "question2", "is_duplicate")
    (tmp_path / "a.tsv").write_text(tab(head, (1, 2, 3, "a", "b", 0), (1, 2, 3), (1, 2, 3, "a", "b", 1)), "utf-8")
    data = read_task("qqp", tmp_path / "a.tsv")
    assert len(data.examples) == 2 and data.notes == ["left out 1 row with a wrong number of fields"]


def test_labels_that_are_pieces_of_text_are_counted(tmp_path: Path) -> None:
    """Translated PAWS-X has some; elsewhere such a row is an error."""
    head = ("id", "sentence1", "sentence2", "label")
    (tmp_path / "a.tsv").write_text(tab(head, (1, "a", "b", 0), (2, "c", "d", "and so on"), (3, "e", "f", 1)), "utf-8")
    data = read_task("paws-x", tmp_path / "a.tsv")
    assert [example.label for example in data.examples] == [0, 1]
    assert data.notes == ["left out 1 row with a text for a label"]
    with pytest.raises(DataError, match="a.tsv:3 has the unknown label 'and so on'"):
        read_task("mrpc", tmp_path / "a.tsv")


def test_trec_is_partly_latin_1(tmp_path: Path) -> None:
    (tmp_path / "TREC.train").write_bytes("LOC:city A sister\u00f0city ?\nHUM:ind Wer\u00fc ?\n".encode("latin-1"))
    assert read_task("trec", tmp_path / "TREC.train").examples[1].texts == ("Werü ?",)


def test_an_unlabelled_test_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "test.tsv").write_text(tab(("index", "sentence"), (0, "a"), (1, "b")), encoding="utf-8")
    assert read_task("cola", tmp_path / "test.tsv").notes == ["2 examples without a label"]
    with pytest.raises(DataError, match=r"test.tsv:2 has no label\n.*2 of 2 rows"):
        read_task("cola", tmp_path / "test.tsv", labelled=True)


def test_metrics_are_known() -> None:
    metrics = pytest.importorskip("seodang.evaluation.metrics").METRICS
    assert {name for task in TASKS.values() for name in task.metrics} <= set(metrics)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (tab(("sentence", "label"), ("a", 0), ("b", 2)), "a.tsv:3 has the unknown label '2'\n.*negative, positive"),
        (tab(("sentence", "label"), ("a", 1), ("b", 1)), "every row has the label 'positive'"),
        (tab(("words", "label"), ("a", 0), ("b", 1)), r"no column sentence\|text\n.*words, label\n.*--columns"),
    ],
)
def test_what_is_wrong_with_a_published_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_task("sst2", tmp_path / "a.tsv")


@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("race", {"article": "x", "questions": ["a", "b"], "options": [["c"]], "answers": ["A"]}),
        ("race", {"article": "x", "questions": ["a"], "answers": ["A"]}),
        ("hellaswag", {"ctx": "a", "endings": "abc", "label": 0}),
        ("klue-re", dict.fromkeys(("subject_entity", "object_entity"), {"start_idx": "x", "end_idx": 1})),
    ],
)
def test_records_that_are_not_whole(tmp_path: Path, task: str, row: dict[str, Any]) -> None:
    (tmp_path / "a.jsonl").write_text(jsonl(row), encoding="utf-8")
    with pytest.raises(DataError, match=f"a.jsonl:1 is no row of {task}"):
        read_task(task, tmp_path / "a.jsonl")


def test_names_of_tasks() -> None:
    assert [task_name(name) for name in ("SST-2", "arc_easy", "glue_mrpc", "KLUE-TC")] == [
        *("sst2", "arc-easy", "mrpc", "klue-ynat")
    ]
    with pytest.raises(UsageError, match="klue-mrc cannot be learned this way\n.*places in the text"):
        task_name("klue-mrc")
    with pytest.raises(UsageError, match="did you mean 'scitail'"):
        task_name("scitali")


def test_the_classes_of_a_published_set_cannot_be_others(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(tab(("sentence", "label"), ("a", 0)), encoding="utf-8")
    data = read_task("sst2", tmp_path / "a.tsv", labels=("positive", "negative"))
    assert data.spec.labels == ("positive", "negative")
    with pytest.raises(UsageError, match="sst2 has the labels negative, positive"):
        read_task("sst2", tmp_path / "a.tsv", labels=("good", "bad"))
