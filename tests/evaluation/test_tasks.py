"""The built-in tasks: what they ask about a row in the layout of its publication, to the letter."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from seodang.errors import DataError, UsageError
from seodang.evaluation import tasks, texts
from seodang.evaluation.choosing import Choice
from seodang.evaluation.task import Item, Shown
from seodang.evaluation.tasks import gsm8k
from seodang.inference.requests import Continuation, Rolling


def items(task: str, path: Path) -> list[Item]:
    return list(tasks.find(task).read([path]).items)


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


CHOICE = {
    "question": "Which is a tool?",
    "choices": {"text": ["saw", "cat"], "label": ["A", "B"]},
    "answerKey": "A",
}
COPA = {"premise": "비가 왔다.", "question": "결과", "alternative_1": "젖었다.", "alternative_2": "말랐다.", "label": 0}
ASKED: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("arc-easy", CHOICE, [("Question: Which is a tool?\nAnswer:", f" {word}") for word in ("saw", "cat")]),
    (
        "commonsenseqa",
        {**CHOICE, "choices": {"text": ["a", "b", "c", "d", "e"], "label": list("ABCDE")}},
        [
            ("Question: Which is a tool?\nA. a\nB. b\nC. c\nD. d\nE. e\nAnswer:", f" {letter}")
            for letter in "ABCDE"
        ],
    ),
    (
        "hellaswag",
        {"activity_label": "Roof", "ctx_a": "A man is up.", "ctx_b": "he", "ctx": "A man is up. he",
         "endings": ["falls. [substeps] Not far.", "sings."], "label": "1"},
        [("Roof: A man is up. He", " falls. Not far."), ("Roof: A man is up. He", " sings.")],
    ),
    (
        "piqa", {"goal": "Open a jar", "sol1": "turn it", "sol2": "eat it", "label": 0},
        [("Question: Open a jar\nAnswer:", " turn it"), ("Question: Open a jar\nAnswer:", " eat it")],
    ),
    (
        "winogrande",
        {"sentence": "Ann rang Eve because _ was late.", "option1": "Ann", "option2": "Eve", "answer": "2"},
        [("Ann rang Eve because Ann", " was late."), ("Ann rang Eve because Eve", " was late.")],
    ),
    (
        "race", {"article": "It rains.", "question": "What falls?", "options": ["a", "b", "c", "d"], "answer": "B"},
        [("Article: It rains.\n\nWhat falls?", f" {word}") for word in "abcd"],
    ),
    (
        "sst2", {"sentence": "a joy . ", "label": 1},
        [("a joy . \nQuestion: Is this sentence positive or negative?\nAnswer:", f" {word}")
         for word in ("negative", "positive")],
    ),
    (
        "rte", {"sentence1": "It rains.", "sentence2": "It is dry.", "label": 1},
        [("It rains.\nQuestion: It is dry. True or False?\nAnswer:", f" {word}") for word in ("True", "False")],
    ),
    (
        "mnli", {"premise": "It rains.", "hypothesis": "It is dry ", "label": 2},
        [("It rains.\nQuestion: It is dry. True, False or Neither?\nAnswer:", f" {word}")
         for word in ("True", "Neither", "False")],
    ),
    (
        "kobest-copa",
        COPA,
        [("비가 왔다.  그래서", " 젖었다."), ("비가 왔다.  그래서", " 말랐다.")],
    ),
    (
        "kobest-boolq", {"paragraph": "비가 왔다.", "question": "비가 왔는가?", "label": 1},
        [("비가 왔다. 질문: 비가 왔는가? 답변: ", f" {word}") for word in ("아니오", "예")],
    ),
    (
        "kobest-wic", {"word": "배", "context_1": "[배]가 고프다.", "context_2": "[배]를 탔다.", "label": 0},
        [("문장1: [배]가 고프다. 문장2: [배]를 탔다. 두 문장에서 배가 같은 뜻으로 쓰였나?", f" {word}")
         for word in ("아니오", "예")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("task", "row", "asked"), ASKED, ids=[task for task, _, _ in ASKED])
def test_prompts_are_the_published_ones(
    task: str, row: dict[str, Any], asked: list[tuple[str, str]], tmp_path: Path
) -> None:
    path = jsonl(tmp_path / "rows.jsonl", row)
    found = items(task, path)
    assert list(found[0].asked) == asked
    assert found[0].where == f"{path}:1"


@pytest.mark.parametrize("name", tasks.names())
def test_every_task_says_what_it_is(name: str) -> None:
    task = tasks.find(name)
    assert task.name == name and task.version >= 1 and task.source and task.metrics
    assert (type(task).__doc__ or "").strip()


def test_the_answer_with_the_highest_probability_per_character() -> None:
    task = tasks.find("arc-easy")
    assert isinstance(task, Choice)
    from seodang.data.labelled import Labelled

    example = Labelled(("", "q"), 1, ("no", "certainly"), "f:1")
    item = Item("f:1", (("q", " no"), ("q", " certainly")), (example, task.template, example))
    sample = task.sample(0, item, [Continuation(-2.0, False, 1, 3), Continuation(-4.5, False, 1, 10)])
    assert sample.outcomes["accuracy"].prediction == 0  # -2 > -4.5
    assert sample.outcomes["accuracy_norm"].prediction == 1  # -2/2 < -4.5/9
    assert sample.outcomes["accuracy_norm"].score == 1 and sample.logprobs == (-2.0, -4.5)


def test_the_last_word_of_a_passage(tmp_path: Path) -> None:
    plain = tmp_path / "lambada.txt"
    plain.write_text("he took the long way home\n\nshe said `` no\n", encoding="utf-8")
    rows = jsonl(tmp_path / "lambada.jsonl", {"text": "he took the long way home"})
    assert [item.asked for item in items("lambada", plain)] == [
        (("he took the long way", " home"),), (("she said ``", " no"),)
    ]  # fmt: skip
    (item,) = items("lambada", rows)
    sample = tasks.find("lambada").sample(0, item, [Continuation(-1.5, True, 2, 5)])
    assert (sample.outcomes["accuracy"].score, sample.outcomes["word_perplexity"].prediction) == (1, -1.5)
    assert (sample.outcomes["accuracy"].prediction, sample.outcomes["accuracy"].reference) == ("home", "home")
    packed = tmp_path / "lambada.txt.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert len(items("lambada", packed)) == 2
    plain.write_text("word\n", encoding="utf-8")
    with pytest.raises(DataError, match="lambada.txt:1 has no last word"):
        items("lambada", plain)


def test_a_line_without_an_end_goes_on_as_the_next_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "LONGEST", 40)
    whole = "anarchism originated as a term of abuse " * 5 + "first"
    (tmp_path / "text8").write_text(whole, "utf-8")
    found = [text for text, _ in texts.stretches(tmp_path / "text8")]
    assert "".join(found) == whole and len(found) > 4 and all(len(text) <= 80 for text in found)


CBT = """1 There was a king .
2 He had a cat -LRB- a big one -RRB- .
21 `` Where is my XXXXX ? '' said the king .\tcat\t\tcat|dog|hat|cup|pig|hen|fox|owl|bee|ant

1 It was late .
21 They saw XXXXX , who slept .\tEve\t\tAnn|Eve
"""


def test_candidates_of_the_childrens_book_test(tmp_path: Path) -> None:
    path = tmp_path / "cbtest_CN.txt"
    path.write_text(CBT, encoding="utf-8")
    first, second = items("cbt-cn", path)
    assert len(first.asked) == 10 and first.where == f"{path}:3"
    story = "There was a king. He had a cat (a big one).\n\"Where is my "
    assert first.asked[1] == (story, 'dog?" said the king.')
    story = "It was late.\nThey saw "
    assert second.asked == ((story, "Ann, who slept."), (story, "Eve, who slept."))
    assert second.row[0].label == 1
    path.write_text("1 It was late .\n21 This is XXXXX 's hat .\tEve\t\tAnn|Eve\n", encoding="utf-8")
    (genitive,) = items("cbt-ne", path)
    assert genitive.asked[0] == ("It was late.\nThis is ", "Ann's hat.")
    for bad, what in (("x y\n", "no line of CBT"), ("21 a XXXXX b\tdog\t\tcat|hat\n", "no question of CBT")):
        path.write_text(bad, encoding="utf-8")
        with pytest.raises(DataError, match=f"cbtest_CN.txt:1 is {what}"):
            items("cbt-cn", path)


WIKITEXT = """
 = Lobster =

 A lobster @-@ like thing , 1 @.@ 5 m .

 = = Food = =

 They eat .

 = Second =

 It ends .
"""


def test_articles_of_wikitext(tmp_path: Path) -> None:
    path = tmp_path / "wiki.test.tokens"
    path.write_text(WIKITEXT.replace("\n", " \n"), encoding="utf-8")
    task = tasks.find("wikitext")
    first, second = items("wikitext", path)
    assert " A lobster-like thing, 1.5 m. \n" in first.asked[0] and " = = Food = = \n" in first.asked[0]
    assert second.asked[0].startswith(" = Second = \n")
    text, n_words = first.row
    assert n_words == len(text.split()) + text.count("\n")  # <eos> at every line's end
    sample = task.sample(0, first, [Rolling(-50.0, 20, len(text), 17)])
    units = {name: one.reference for name, one in sample.outcomes.items()}
    assert units == {"word_perplexity": n_words, "token_perplexity": 20, "byte_perplexity": len(text),
                     "bits_per_byte": len(text)}  # fmt: skip
    (pages, _) = items("wikitext-pages", path)
    assert "\nA lobster-like thing, 1.5 m.\n" in pages.asked[0] and "== Food ==" in pages.asked[0]


def test_texts_and_files_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one two\n\nthree 서당\n", encoding="utf-8")
    (item,) = items("text", path)
    assert item.row == ("one two\n\nthree 서당\n", 4)
    (item,) = items("enwik8", path)
    assert item.asked == ("one two\n\nthree 서당\n",)


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("6 * 7 = 42\n#### 42", "42", "42"),
        ("He pays $1,234.50.\n#### 1,234.50.", "1234.50", "1234.50"),
        ("It is 7.", None, "7"),
        ("nobody knows", None, None),
        ("#### -5 apples", "-5", "-5"),
    ],
)
def test_numbers_of_gsm8k(text: str, strict: str | None, flexible: str | None) -> None:
    assert (gsm8k.strict(text), gsm8k.flexible(text)) == (strict, flexible)
    assert gsm8k.number("He has 5.\n#### 1,000") == "1000"


def test_demonstrations_stand_before_the_question(tmp_path: Path) -> None:
    rows = jsonl(tmp_path / "dev.jsonl", {"sentence": "so sad", "label": 0}, {"sentence": "so good", "label": 1})
    pool = jsonl(tmp_path / "train.jsonl", {"sentence": "fine", "label": 1}, {"sentence": "bad", "label": 0})
    read = tasks.find("sst2").read([rows], Shown([pool], k=2))
    (first, _) = list(read.items)
    question = "\nQuestion: Is this sentence positive or negative?\nAnswer:"
    assert first.asked[0] == (f"fine{question} positive\n\nbad{question} negative\n\nso sad{question}", " negative")
    assert read.settings["shots"]["k"] == 2
    with pytest.raises(DataError, match="contains the row"):
        list(tasks.find("sst2").read([rows], Shown([rows], k=2)).items)
    other = {**COPA, "premise": "눈이 왔다.", "question": "원인"}
    one, two = jsonl(tmp_path / "one.jsonl", COPA), jsonl(tmp_path / "two.jsonl", other)
    (item,) = tasks.find("kobest-copa").read([one], Shown([two], k=1)).items
    assert item.asked[0][0] == "눈이 왔다.  왜냐하면 젖었다.\n\n비가 왔다.  그래서"
    for task in ("text", "lambada", "cbt-ne"):
        with pytest.raises((UsageError, DataError)):
            list(tasks.find(task).read([rows], Shown([pool], k=1)).items)


def test_tasks_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from seodang.evaluation.choosing import Choice\nfrom seodang.prompting.template import Template\n"
        "TASK = Choice(name='mine', reads='classify', template=Template('{text} is', ('bad', 'good')))\n"
    )
    rows = jsonl(tmp_path / "rows.jsonl", {"text": "a", "label": 0}, {"text": "b", "label": 1})
    (first, _) = tasks.find(str(path)).read([rows]).items
    assert first.asked == (("a is", " bad"), ("a is", " good"))
    worded = items("classify", rows)
    assert [pair[1] for pair in worded[0].asked] == [" 0", " 1"]
    path.write_text("x = 1\n")
    with pytest.raises(DataError, match="defines no task"):
        tasks.find(str(path))
    path.write_text("1 / 0\n")
    with pytest.raises(DataError, match="ZeroDivisionError"):
        tasks.find(str(path))
    with pytest.raises(DataError, match="does not exist"):
        tasks.find(str(tmp_path / "none.py"))
    with pytest.raises(UsageError, match="arc-easy"):
        tasks.find("arc-eazy")
    with pytest.raises(UsageError, match="asks for a score"):
        tasks.find("stsb")




def test_lines_without_a_way_back_are_told_of_few_texts_too(tmp_path: Path) -> None:
    path = tmp_path / "wiki.test.tokens"
    path.write_text(" = One = \n the \" Mt . Olympus \" of 1932 @,@ \n = Two = \n It ends . \n", encoding="utf-8")
    rows = tasks.find("wikitext").read([path])
    next(rows.items)
    assert rows.notes == ["1 of 2 lines are scored as tokenised: no exact way back from text"]
