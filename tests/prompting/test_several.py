"""Several tasks about one text: what each way asks, what it understands, what it costs."""

from __future__ import annotations

import json
import re

import pytest

from seodang.errors import DataError, FitError, UsageError
from seodang.prompting.demonstrations import Shots
from seodang.prompting.several import Part, Parts, answer_several, known_answers, parsed, read_cases, same
from tests.prompting.conftest import Scripted

PARTS = Parts(
    (Part("feeling", "How does it feel?", ("good", "bad")), Part("about", "What is it about?")),
    text="Review: {text}", description="Answer.",
)  # fmt: skip
FILE = """
text = "Review: {text}"
description = "Answer."
[[task]]
name = "feeling"
question = "How does it feel?"
answers = ["good", "bad"]
[[task]]
name = "about"
question = "What is it about?"
"""


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [
        {"text": "A dull end.", "feeling": "bad", "about": "the end"},
        {"text": "Great cast!", "feeling": "Good", "about": "the cast"},
        {"text": "No idea.", "feeling": None, "about": "nothing"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_answers_that_differ_by_a_sign_are_others(tmp_path):
    parts = Parts((Part("lang", "Which?", ("C", "C++", "C#")), Part("change", "How?", ("1", "-1"))))
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "lang": "c++", "change": "-1"}\n{"text": "b", "lang": "C#", "change": "1"}\n')
    assert [known_answers(case) for case in read_cases(path, parts, answered=True)] == [
        {"lang": "C++", "change": "-1"}, {"lang": "C#", "change": "1"}
    ]  # fmt: skip
    assert same("C++", "c++ ") and not same("3.5", "35") and not same("-1", "1")


def cases(rows):
    return read_cases(rows, PARTS, answered=False)


def test_tasks_from_a_file(tmp_path):
    path = tmp_path / "tasks.toml"
    path.write_text(FILE)
    assert Parts.read(path) == PARTS
    assert PARTS.schema == {
        "type": "object",
        "properties": {"feeling": {"enum": ["good", "bad"]}, "about": {"type": "string", "maxLength": 200}},
        "required": ["feeling", "about"],
        "additionalProperties": False,
    }
    for text, words in (
        (FILE.replace('name = "about"', ""), "task 2 has no name"),
        (FILE.replace("answers", "answer"), "unknown key 'answer'"),
        (FILE.replace('["good", "bad"]', "5"), "has answers = 5"),
        (FILE.replace('["good", "bad"]', '"good, bad"'), "has answers = 'good, bad'"),
        (FILE.replace('["good", "bad"]', '["Good", "good"]'), "has answers ="),
        ("task = 5", "task 1 is 5"),
        (FILE.replace('"about"', '"feeling"'), "2 tasks"),
        (FILE.partition("[[task]]")[0], "0 tasks"),
        ("txt = 1\n" + FILE, "txt = 1"),
        ("[", "is not TOML"),
    ):
        path.write_text(text)
        with pytest.raises(DataError) as caught:
            Parts.read(path)
        assert words in caught.value.what and caught.value.fix
    with pytest.raises(UsageError, match="nowhere"):
        Parts.read(tmp_path / "nowhere.toml")


def test_rows_and_their_answers(rows, tmp_path):
    assert [known_answers(case) for case in cases(rows)] == [
        {"feeling": "bad", "about": "the end"},
        {"feeling": "good", "about": "the cast"},
        {"feeling": None, "about": "nothing"},
    ]
    with pytest.raises(DataError) as caught:
        read_cases(rows, PARTS, answered=True)
    assert "rows.jsonl:3 has no answer to 'feeling'" in caught.value.what
    strange = tmp_path / "strange.csv"
    strange.write_text("text,feeling,about\nx,fair,y\n")
    with pytest.raises(DataError, match="strange.csv:2 has the answer 'fair'"):
        read_cases(strange, PARTS, answered=False)


def says(prompt: str) -> str:
    last = prompt.rsplit("Review: ", 1)[1]
    if "JSON:" in last:
        return '{"feeling": "bad", "about": "the cast"}\nReview:'
    if "about?" not in last:
        return " bad. Indeed"
    # it knows what the review is about only when it sees an answer before
    return " the end" if re.search(r"feel\?\nAnswer: bad", last) else " no idea"


def test_each_way_asks_its_own(rows):
    asked = cases(rows)[:2]
    known = [known_answers(case) for case in asked]
    found = {}
    for way in ("together", "in-turn", "chained"):
        model = Scripted(says)
        found[way] = (answer_several(model, PARTS, asked, way, constrain=False), model)
    outcome, model = found["together"]
    assert model.prompts[0] == (
        "Answer.\n\nReview: A dull end.\nfeeling: How does it feel?\nabout: What is it about?\nJSON:\n"
    )
    assert model.options == [{"stop": "\n\n", "max_new_tokens": 64}]
    assert outcome.answers == [{"feeling": "bad", "about": "the cast"}] * 2
    assert outcome.accuracy(PARTS, known) == {"feeling": 0.5, "about": 0.5, "all": 0.0}
    assert (outcome.calls, outcome.prompt_tokens) == (2, sum(map(len, model.prompts)))
    outcome, model = found["in-turn"]
    assert model.prompts[2] == "Answer.\n\nReview: A dull end.\nWhat is it about?\nAnswer:"
    assert outcome.answers == [{"feeling": "bad", "about": "no idea"}] * 2
    assert (outcome.calls, outcome.new_tokens) == (4, 2 * len(" bad. Indeed") + 2 * len(" no idea"))
    assert [options["max_new_tokens"] for options in model.options] == [32, 32]
    outcome, model = found["chained"]
    assert model.prompts[2] == (
        "Answer.\n\nReview: A dull end.\nHow does it feel?\nAnswer: bad\nWhat is it about?\nAnswer:"
    )
    assert outcome.accuracy(PARTS, known) == {"feeling": 0.5, "about": 0.5, "all": 0.5}
    with pytest.raises(UsageError, match="way = 'apart'"):
        answer_several(Scripted(says), PARTS, asked, "apart")


def test_demonstrations_show_all_answers(rows):
    every = cases(rows)
    shots = Shots(every[:1], 1)
    wanted = {
        "together": "feeling: How does it feel?\nabout: What is it about?\nJSON:\n"
        '{"feeling": "bad", "about": "the end"}',
        "in-turn": "How does it feel?\nAnswer: bad",
        "chained": "How does it feel?\nAnswer: bad\nWhat is it about?\nAnswer: the end",
    }
    for way, shown in wanted.items():
        model = Scripted(says)
        answer_several(model, PARTS, every[1:2], way, shots, constrain=False)
        last = model.prompts[-1] if way == "chained" else model.prompts[0]
        assert last.startswith(f"Answer.\n\nReview: A dull end.\n{shown}\n\nReview: Great cast!\n"), way
    with pytest.raises(DataError, match="contains the row"):
        answer_several(Scripted(says), PARTS, every[:1], "chained", shots, constrain=False)


def test_a_full_context_drops_and_says_so(rows):
    every = cases(rows)
    model = Scripted(says, context_length=110)
    outcome = answer_several(model, PARTS, every[1:2], "in-turn", Shots(every[:1], 1), constrain=False)
    assert outcome.notes == ["the context is full: 1 demonstrations were dropped, in 1 of 1 rows"]
    with pytest.raises(FitError, match="rows.jsonl:2"):
        answer_several(Scripted(says, context_length=50), PARTS, every[1:2], "in-turn", constrain=False)


def test_constraints_are_asked_for(rows):
    model = Scripted(says)
    answer_several(model, PARTS, cases(rows)[:1], "in-turn", constrain=True)
    assert model.options == [
        {"choices": [" good", " bad"], "max_new_tokens": 32}, {"stop": "\n", "max_new_tokens": 32},
    ]  # fmt: skip
    answer_several(model, PARTS, cases(rows)[:1], "together", constrain=True)
    assert model.options[-1] == {"schema": PARTS.schema, "max_new_tokens": 64}


@pytest.mark.parametrize(
    ("text", "feeling", "about"),
    [
        ('{"feeling": "bad", "about": "it"} and so on', "bad", "it"),
        ('Sure: {"about": "it"}', None, "it"),
        ('{"feeling": "good", "about": "the', "good", "the"),  # broken off
        ("feeling: BAD\nabout: it", "bad", "it"),
        ('{"feeling": "fair", "about": 3}', None, "3"),
        ("no", None, None),
        ("", None, None),
    ],
)
def test_one_output_for_all(text, feeling, about):
    assert parsed(text, PARTS) == {"feeling": feeling, "about": about}


def test_the_same_words():
    assert same("The end.", "the end") and not same("the end", "the cast")
    assert not same(None, None) and not same(None, "x")
