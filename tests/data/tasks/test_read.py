"""The user's own files: any table and its columns, and every way in which rows are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seodang.data.tasks import Columns, read_task
from seodang.errors import DataError, UsageError


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def _write(text: str, name: str = "a.csv") -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return _write


def test_classes_are_found_and_ordered(write) -> None:  # type: ignore[no-untyped-def]
    data = read_task("classify", write("review,stars\ngood,10\nbad,2\nfine,10\nso so,5.0\n"))
    assert data.spec.labels == ("2", "5", "10")
    assert [example.label for example in data.examples] == [2, 0, 2, 1]
    assert data.label_counts() == {"2": 1, "5": 1, "10": 2}
    assert data.spec.metrics == ("accuracy", "macro_f1") and data.spec.name == "classify"


def test_classes_that_differ_in_case_are_one(write) -> None:  # type: ignore[no-untyped-def]
    data = read_task("classify", write("text,label\na,Good\nb,bad\nc,good\nd,Good\n"))
    assert data.spec.labels == ("Good", "bad") and data.label_counts() == {"Good": 3, "bad": 1}


def test_entailment_in_the_usual_order(write) -> None:  # type: ignore[no-untyped-def]
    data = read_task("entail", write("전제,가설,라벨\n가,나,neutral\n다,라,contradiction\n마,바,entailment\n"))
    assert data.spec.labels == ("entailment", "neutral", "contradiction") and data.spec.language == "ko"
    assert [example.label for example in data.examples] == [1, 2, 0]


def test_labels_as_json_has_them(write) -> None:  # type: ignore[no-untyped-def]
    rows = [{"text1": "a", "text2": "b", "label": True}, {"text1": "c", "text2": "d", "label": False}]
    data = read_task("similar", write(json.dumps(rows), "a.json"))
    assert data.spec.labels == ("false", "true") and [example.label for example in data.examples] == [1, 0]
    assert data.spec.metrics == ("accuracy", "f1")


@pytest.mark.parametrize(("negative", "positive"), [
    ("not_duplicate", "duplicate"), ("Not similar", "similar"), ("unrelated", "related"), ("no-match", "match"),
    ("비유사", "유사"), ("no", "yes"), ("0", "1"),
])  # fmt: skip
def test_the_class_that_f1_is_of_is_the_second(write, negative: str, positive: str) -> None:  # type: ignore[no-untyped-def]
    text = f"text1,text2,label\na,b,{positive}\nc,d,{negative}\n"
    data = read_task("similar", write(text))
    assert data.spec.labels == (negative, positive) and [example.label for example in data.examples] == [1, 0]
    asked = read_task("similar", write(text), labels=(positive, negative))
    assert asked.spec.labels == (positive, negative)
    assert read_task("entail", write(text)).spec.labels == tuple(sorted((negative, positive)))


def test_a_regression_is_of_one_text_or_of_two(write) -> None:  # type: ignore[no-untyped-def]
    one = read_task("regress", write("review,rating\na,1\nb,2.5\n"))
    assert (one.spec.kind, one.spec.regression, one.spec.labels) == ("classify", True, ())
    assert [example.label for example in one.examples] == [1.0, 2.5] and one.spec.metrics == ("pearson", "spearman")
    assert read_task("regress", write("sentence1,sentence2,score\na,b,0\nc,d,5\n")).spec.kind == "similar"


def test_a_regression_takes_the_column_of_scores(write) -> None:  # type: ignore[no-untyped-def]
    for task, columns in (("regress", None), ("stsb", Columns("a", "b"))):
        data = read_task(task, write("a,b,label,score\nx,y,1,4.5\nz,w,0,0.5\n"), columns=columns)
        assert [example.label for example in data.examples] == [4.5, 0.5] and data.spec.kind == "similar"
    assert read_task("classify", write("text,score,label\nx,4.5,1\nz,0.5,0\n")).label_counts() == {"0": 1, "1": 1}


def test_a_regression_of_one_text_that_is_named_is_of_one(write) -> None:  # type: ignore[no-untyped-def]
    path = write("question,answer,score\nx,y,4.5\nz,w,0.5\n")
    one = read_task("regress", path, columns=Columns("question"))
    assert one.examples[0].texts == ("x",) and one.spec.kind == "classify"
    assert read_task("regress", path).examples[0].texts == ("x", "y")
    both = read_task("stsb", write("sentence1,sentence2,score\nx,y,4.5\nz,w,0.5\n"), columns=Columns("sentence1"))
    assert both.examples[0].texts == ("x", "y")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("context,question,choice1,choice2,label\nc,q,x,y,2\nc,q,x,y,1\n", "a.csv"),
        ("context\tquestion\tA\tB\tanswer\nc\tq\tx\ty\tB\nc\tq\tx\ty\tA\n", "a.tsv"),
        ("context,question,answers,label\nc,q,\"['x', 'y']\",1\nc,q,\"['x', 'y']\",0\n", "a.csv"),
        (
            "".join(f'{{"context": "c", "question": "q", "options": ["x", "y"], "answer": "{a}"}}\n' for a in "yx"),
            "a.jsonl",
        ),
    ],
)
def test_multiple_choice(write, text: str, name: str) -> None:  # type: ignore[no-untyped-def]
    data = read_task("choice", write(text, name))
    assert [(e.texts, e.label, e.answers) for e in data.examples] == [(("c", "q"), i, ("x", "y")) for i in (1, 0)]
    assert data.spec.labels == ()


QUIZ = [
    ([(["3", "4", "5", "2"], "4"), (["12", "7", "1", "9"], "12")], [1, 0]),  # 12 is no place
    ([(["3", "4"], "0"), (["4", "5"], "1")], [0, 1]),  # 0 is no text
    ([(["0", "1"], "1"), (["1", "0"], "1")], "2 has the label '1', which may mean .*'1' or '0'"),
    ([(["1", "2", "3"], "1"), (["1", "2", "3"], "2")], [0, 1]),  # as texts and as places from 1 alike
    ([(["3", "4", "5", "2"], "4")], "1 has the label '4', which may mean .*'4' or '2'"),
    ([(["True", "False"], "True"), (["True", "False"], "False")], [0, 1]),
    ([([True, False], True), ([False, True], True)], [0, 1]),
    ([(["2.0", "2.5"], "2.0"), (["2.0", "2.5"], "2.5")], [0, 1]),
    ([(["2.0", "2", "x"], "2"), (["a", "b", "x"], "x")], "1 has the label '2', which may mean .*'2.0' or '2'"),
    ([(["x", "y", "z"], label) for label in ("1", "2", "3", "B")], [0, 1, 2, 1]),  # a letter among numbers
    ([(["x", "y", "z"], label) for label in ("1", "2", "3", "y")], [0, 1, 2, 1]),  # a text among numbers
    ([(["x", "y"], "y"), (["1", "0"], "0")], [1, 1]),  # y is no place
    ([(["x", "y"], "y"), (["1", "0"], "0"), (["x", "y"], "B")], "2 has the label '0', which may mean .*'0' or '1'"),
    ([(["x", "1945"], "1945"), (["x", "y"], "A"), (["x", "y"], "0")], [1, 0, 0]),
    ([(["B", "A", "O"], "A"), (["x", "y", "z"], "B")], [0, 1]),  # B is no text in the second row
    ([(["B", "A"], "A"), (["A", "B"], "A")], "1 has the label 'A', which may mean .*'A' or 'B'"),
]


@pytest.mark.parametrize(("rows", "expected"), QUIZ)
def test_right_answers_as_texts_or_as_places(write, rows: list, expected: list[int] | str) -> None:  # type: ignore[no-untyped-def,type-arg]
    lines = [json.dumps({"question": "q", "answers": answers, "label": label}) for answers, label in rows]
    path = write("\n".join(lines) + "\n", "a.jsonl")
    if isinstance(expected, str):
        with pytest.raises(DataError, match=f"a.jsonl:{expected}"):
            read_task("choice", path)
    else:
        assert [example.label for example in read_task("choice", path).examples] == expected


def test_answers_that_may_count_from_0_or_from_1(write) -> None:  # type: ignore[no-untyped-def]
    path = write("question,o1,o2,o3,label\n" + "q,x,y,z,1\n" * 2 + "q,x,y,z,2\n")
    columns = Columns(answers=("o1", "o2", "o3"))
    with pytest.raises(DataError, match=r"count from 0 or from 1\n.*1, 2: neither.*\n.*as letters"):
        read_task("choice", path, columns=columns)
    from_0 = read_task("choice", path, columns=columns, labels=("0", "1", "2"))
    from_1 = read_task("choice", path, columns=columns, labels=("1", "2", "3"))
    assert [e.label for e in from_0.examples] == [1, 1, 2] and [e.label for e in from_1.examples] == [0, 0, 1]


def test_columns_as_the_user_names_them(write) -> None:  # type: ignore[no-untyped-def]
    path = write("id,Comment,other,kind\n1,a,x,p\n2,b,y,n\n")
    columns = Columns.parse(["text=comment,label=KIND"])
    assert [e.texts for e in read_task("classify", path, columns=columns).examples] == [("a",), ("b",)]
    pair = read_task("entail", path, columns=Columns("Comment", "other", "kind"))
    assert [e.texts for e in pair.examples] == [("a", "x"), ("b", "y")]
    data = read_task("sst2", write("review,stars\na,1\nb,0\n"), columns=Columns("review", label="stars"))
    assert data.label_counts() == {"negative": 1, "positive": 1}


def test_columns_are_counted_where_no_header_names_them(write) -> None:  # type: ignore[no-untyped-def]
    path = write("0\tt1\t만화\n1\tt2\t뭐야\n", "a.txt")
    data = read_task("classify", path, columns=Columns(text="3", label="1"))
    assert [(e.texts[0], e.label, e.where) for e in data.examples] == [
        *(("만화", 0, f"{path}:1"), ("뭐야", 1, f"{path}:2")),
    ]


def test_columns_are_counted_whatever_the_first_label_is(write) -> None:  # type: ignore[no-untyped-def]
    for first, second in ("10", "01", "25"):
        path = write(f"{first}\tgood film\n{second}\tbad film\n", "a.tsv")
        data = read_task("classify", path, columns=Columns.parse(["text=2,label=1"]))
        assert [e.texts[0] for e in data.examples] == ["good film", "bad film"]
        assert data.spec.labels == tuple(sorted((first, second)))


@pytest.mark.parametrize(("task", "head", "columns", "fix"), [
    ("classify", "label,text", "text=2,label=1", "text=text,label=label"),
    ("classify", "Label,words", "text=2,label=1", "text=words,label=Label"),
    ("classify", "stars,review", "text=2,label=1", "text=review,label=stars"),
    ("entail", "y,premise,hypothesis", "premise=2,hypothesis=3,label=1", "text=premise,text2=hypothesis,label=y"),
    ("choice", "question,a,b,right", "question=1,answers=2+3", "text2=question,answers=a+b"),
])  # fmt: skip
def test_a_header_is_no_row_of_counted_columns(write, task: str, head: str, columns: str, fix: str) -> None:  # type: ignore[no-untyped-def]
    path = write(f"{head}\n" + f"{','.join('uvxw'[: head.count(',') + 1])}\n" * 2)
    with pytest.raises(DataError, match=rf"a.csv:1 names its columns: {head.replace(',', ', ')}") as caught:
        read_task(task, path, columns=Columns.parse([columns]))
    assert caught.value.fix == f"--columns {fix}"


def test_a_first_row_that_is_like_a_header_in_part(write) -> None:  # type: ignore[no-untyped-def]
    path = write("y\tgood film\nn\ttext\n", "a.tsv")
    assert len(read_task("classify", path, columns=Columns.parse(["text=2,label=1"])).examples) == 2


def test_files_one_after_another_with_their_own_columns(write) -> None:  # type: ignore[no-untyped-def]
    paths = [write("text,label\na,x\n"), write('{"sentence": "b", "class": "y"}\n', "b.jsonl")]
    assert [(e.texts[0], e.label) for e in read_task("classify", paths).examples] == [("a", 0), ("b", 1)]


def test_parquet(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = {"premise": ["가", "나"], "question": ["원인", "결과"], "alternative_1": ["a", "a"]}
    parquet.write_table(arrow.table({**rows, "alternative_2": ["b", "b"], "label": [1, 0]}), tmp_path / "a.parquet")
    data = read_task("kobest-copa", tmp_path / "a.parquet")
    assert [(e.texts, e.label) for e in data.examples] == [(("가", "원인"), 1), (("나", "결과"), 0)]


def test_labels_that_are_known(write) -> None:  # type: ignore[no-untyped-def]
    """Of the training set: the order stays, one class alone is none of anybody's business, an unknown one is."""
    known = ("spam", "ham")
    assert [e.label for e in read_task("classify", write("text,label\na,ham\n"), labels=known).examples] == [1]
    with pytest.raises(DataError, match=r"a.csv:3 has the unknown label 'eggs'\n.*spam, ham"):
        read_task("classify", write("text,label\na,ham\nb,eggs\n"), labels=known)
    with pytest.raises(DataError, match="unknown label '0'"):  # a number is no name
        read_task("classify", write("text,label\na,0\n"), labels=known)


def test_texts_without_labels(write) -> None:  # type: ignore[no-untyped-def]
    path = write("text\na\nb\n", "a.csv")
    with pytest.raises(DataError, match="no column for the label"):
        read_task("classify", path)
    data = read_task("classify", path, labelled=False, labels=("x", "y"))
    assert [e.label for e in data.examples] == [None, None] and data.spec.labels == ("x", "y")
    assert data.label_counts() == {"x": 0, "y": 0, "(none)": 2}
    read = read_task("classify", write("text,label\na,?\nb,\n"), labelled=False, labels=("x", "y"))
    assert [e.label for e in read.examples] == [None, None]


def test_notes_for_people_in_a_folder_are_no_data(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write("text,label\na,1\nb,0\n")
    write("# A data set\n", "README.md")
    assert len(read_task("classify", tmp_path).examples) == 2


MANY = "text,label\n" + "".join(f"t,@{i}\n" for i in range(30))
ANSWERS = "context,answers,label\n"

WRONG = [
    ("classify", "text,label\na,1\nb,\n", r"a.csv:3 has no label\n  why: 1 of 2"),
    ("classify", "text,label\na,1\n ,0\n", r"a.csv:3 has an empty text\n.*\n  fix: .*sed 3d"),
    ("classify", "text,label\na,1\nb,1\n", "every row has the label '1'"),
    ("classify", "text,label\na,1\n", "every row has the label '1'"),
    (
        *("classify", "id,sentense,label\n1,a,1\n2,b,0\n"),
        r"no column for the text\n.*id, sentense, label;.*\n.*nearest is 'sentense': --columns text=sentense",
    ),
    ("classify", "text,lable\na,1\nb,0\n", r"no column for the label\n.*\n.*'lable': --columns label=lable"),
    ("entail", "premise,label\na,1\nb,0\n", r"no column for the second text\n.*\n.*: --columns text=a,text2=b"),
    ("entail", "premise,words,label\na,x,1\nb,y,0\n", "no column for the text"),
    ("classify", MANY.replace("@", "1."), r"30 different labels in 30 rows\n.*\n.*--task regress"),
    ("classify", MANY.replace("@", "w"), r"30 different labels in 30 rows\n.*\n.*--columns label"),
    ("classify", "text,label\na,1\nb,0,2\n", r"a.csv:3 has 3 fields"),
    ("classify", "text,text,label\na,b,1\n", r"a.csv:1 has two columns 'text'"),
    ("classify", 'text,label\na,1\n"b,0\n', r"a.csv:3 is broken CSV"),
    ("regress", "text,label\na,1\nb,good\n", r"a.csv:3 has the label 'good'\n.*numbers"),
    ("regress", "text,label\na,1\nb,nan\n", r"a.csv:3 has the label 'nan'"),
    ("regress", "text,label\na,1\nb,1\n", "every row has the label 1.0"),
    ("choice", "context,a1,a2,label\nc,x,y,0\nc,x,y,2\n", r"a.csv:3 has the label '2'\n.*2 answers, counted from"),
    ("choice", "context,a1,a2,label\nc,x,y,0\nc,x,,1\n", "a.csv:3 has a blank answer"),
    ("choice", "context,a1,label\nc,x,0\nc,x,1\n", "no column for the answers"),
    (
        *("choice", ANSWERS + "".join(f"c,\"[{names}]\",0\n" for names in ("'x','y','z'", "'x','y'", "'x','y'"))),
        r"a.csv:2 has 3 answers\n.*2 of 3 rows have 2",
    ),
    ("choice", ANSWERS + "c,['x'],0\nc,['x'],0\n", r"a.csv:2 has 1 answer\n.*two or more"),
    ("choice", ANSWERS + "c,word,0\n", r"a.csv:2 has no list of answers"),
]


@pytest.mark.parametrize(("task", "text", "said"), WRONG)
def test_what_is_wrong_is_named(write, task: str, text: str, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=said):
        read_task(task, write(text))


def test_a_column_that_is_not_there(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=r"no column 'revew' for the text\n.*review, stars.*\n.* is 'review'"):
        read_task("classify", write("review,stars\na,1\nb,2\n"), columns=Columns(text="revew"))


def test_columns_that_are_counted_but_not_there(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="no column '9'"):
        read_task("classify", write("text,label\na,1\nb,2\n"), columns=Columns(text="9", label="2"))


@pytest.mark.parametrize("labels", [("a",), ("a", "b", "a")])
def test_labels_that_tell_nothing_apart(write, labels: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="two or more, none of them twice"):
        read_task("classify", write("text,label\na,a\n"), labels=labels)


def test_a_label_that_is_a_list(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="a.jsonl:1 has a list as its label"):
        read_task("classify", write('{"text": "a", "label": [1]}\n', "a.jsonl"))


def test_an_archive_is_no_table(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=".zip files are not supported"):
        read_task("classify", write("PK", "a.zip"))


def test_an_empty_file_and_one_in_another_encoding(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="empty"):
        read_task("classify", write(""))
    (tmp_path / "b.csv").write_bytes("text,label\n서당,1\n집,0\n".encode("cp949"))
    with pytest.raises(DataError, match="b.csv:2 is not UTF-8"):
        read_task("classify", tmp_path / "b.csv")
