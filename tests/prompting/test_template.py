"""Templates: what stands before an answer, character by character."""

from __future__ import annotations

import pytest

from seodang.data.labelled import Labelled, TaskSpec
from seodang.errors import DataError, UsageError
from seodang.prompting.template import Template, content_free, context_of, demonstration_of, pairs_of, right_answer
from seodang.prompting.wording import default_template

FEELING = Template("Review: {text}\nSentiment:", ("negative", "positive"), "Is the review positive?")
GOOD, BAD = Labelled(("a charming film",), 1, where="a.tsv:2"), Labelled(("it never ends",), 0)


def test_the_whole_prompt():
    assert pairs_of(FEELING, BAD, [GOOD]) == [
        (
            "Is the review positive?\n\nReview: a charming film\nSentiment: positive\n\n"
            "Review: it never ends\nSentiment:",
            answer,
        )
        for answer in (" negative", " positive")
    ]
    assert context_of(Template("{text} =>", ("0", "1")), BAD) == "it never ends =>"


def test_a_filled_blank_has_a_context_for_each_answer():
    blank = Template("{before}{answer}", continuation="{after}")
    row = Labelled(("The trophy beat the case because the _ is big.", ""), 0, ("trophy", "case"))
    assert pairs_of(blank, row) == [
        ("The trophy beat the case because the trophy", " is big."),
        ("The trophy beat the case because the case", " is big."),
    ]
    assert demonstration_of(blank, row) == "The trophy beat the case because the trophy is big."


def test_lettered_answers_and_lines_without_a_text():
    letters = Template("{context}\nQuestion: {question}\n{choices}\nAnswer:", tuple("ABCD"))
    row = Labelled(("", "Which is red?"), 1, ("sky", "rose"))
    assert pairs_of(letters, row) == [
        ("Question: Which is red?\nA. sky\nB. rose\nAnswer:", answer) for answer in (" A", " B")
    ]
    assert right_answer(letters, row) == "B"
    assert pairs_of(Template("{context}\n질문: {question}\n답:"), row)[1] == ("질문: Which is red?\n답:", " rose")


def test_every_name_of_a_text():
    row = Labelled(("one", "two", "three"), 0)
    for first, second in (("text", "hypothesis"), ("premise", "b"), ("a", "question"), ("context", "b")):
        question = f"{{{first}}} {{{second}}} {{word}}"
        assert context_of(Template(question, ("x",)), row) == "one two three"


def test_braces():
    row = Labelled(("{text} }}",), 0)
    assert context_of(Template('{{"a": "{text}"}} {} { }', ("x",)), row) == '{"a": "{text} }}"} {} { }'
    with pytest.raises(UsageError, match="txt") as caught:
        Template("{txt}")
    assert "'text'" in caught.value.fix


def test_the_null_prompt_is_the_last_line_without_the_example():
    assert FEELING.answer_context == "Sentiment:"
    assert Template("Q: {question} A: {text} =").answer_context == "Q: A: ="
    assert Template("{before}{answer}").answer_context == ""


def test_content_free():
    assert context_of(FEELING, content_free(GOOD, "N/A")).endswith("Review: N/A\nSentiment:")
    assert context_of(FEELING, content_free(GOOD, "")).endswith("Review:\nSentiment:")


def test_scores_take_the_nearest_answer():
    stars = Template("{a} {b}", ("0", "1", "2"))
    assert [right_answer(stars, Labelled(("a", "b"), score)) for score in (0.4, 1.6, 9.0)] == ["0", "2", "2"]
    assert right_answer(Template("{a}"), Labelled(("a", "b"), 2.5)) == "2.5"


def test_what_cannot_be_shown():
    with pytest.raises(DataError, match="b.tsv:9 has no label"):
        pairs_of(FEELING, BAD, [Labelled(("x",), None, where="b.tsv:9")])
    with pytest.raises(DataError, match="b.tsv:3 has label 2"):
        pairs_of(FEELING, BAD, [Labelled(("x",), 2, where="b.tsv:3")])
    with pytest.raises(UsageError, match="no answers"):
        pairs_of(Template("{text}"), BAD)


def test_a_template_from_a_file(tmp_path):
    path = tmp_path / "feeling.toml"
    path.write_text('question = """Review: {text}\nSentiment:"""\nanswers = ["negative", "positive"]\n'
                    'description = "Is the review positive?"\n')
    assert Template.read(path) == FEELING
    path.write_text('questions = "x"')
    with pytest.raises(DataError, match="questions") as caught:
        Template.read(path)
    assert "'question'" in caught.value.fix
    path.write_text('question = ["x"]')
    with pytest.raises(DataError, match="question = "):
        Template.read(path)
    with pytest.raises(UsageError, match="nowhere.toml"):
        Template.read(tmp_path / "nowhere.toml")


def test_every_kind_has_words_in_both_languages():
    def prompt(kind, labels, texts, language="", **rest):
        template = default_template(TaskSpec("x", kind, labels, language=language, **rest), [Labelled(texts, 0)])
        own = ("left", "right") if kind == "choice" else ()
        context, continuation = pairs_of(template, Labelled(texts, None, own))[-1]
        return context + "|" + continuation

    assert prompt("classify", ("sport", "war"), ("A ball.",)) == (
        "Label each text with one of: sport, war.\n\nText: A ball.\nLabel:| war"
    )
    assert prompt("classify", ("운동", "전쟁"), ("공이다.",)) == (
        "글마다 알맞은 것을 하나 고르시오: 운동, 전쟁.\n\n글: 공이다.\n답:| 전쟁"
    )
    assert prompt("entail", ("entailment", "neutral", "contradiction"), ("It rains.", "It is wet.")) == (
        "It rains.\nQuestion: It is wet. True, Neither or False?\nAnswer:| False"
    )
    assert prompt("entail", ("not_entailment", "entailment"), ("비가 온다.", "땅이 젖는다.")) == (
        "비가 온다.\n질문: 땅이 젖는다. 거짓 또는 참?\n답:| 참"
    )
    assert prompt("similar", ("0", "1"), ("One.", "Two.")).endswith("same? no or yes?\nAnswer:| yes")
    assert prompt("similar", ("0", "1"), ("하나.", "둘.")).endswith("같은 뜻인가? 아니오 또는 예?\n답:| 예")
    assert prompt("choice", (), ("", "Which hand?")) == "Question: Which hand?\nAnswer:| right"
    assert prompt("choice", (), ("글.", "어느 손?"), "en") == "글.\nQuestion: 어느 손?\nAnswer:| right"
    assert prompt("similar", (), ("One.", "Two."), regression=True).endswith("Number:| 5")
    assert prompt("classify", (), ("하나.",), regression=True).endswith("글: 하나.\n수:| 5")
    with pytest.raises(UsageError, match="not known"):
        default_template(TaskSpec("x", "classify"))


def test_labels_that_would_get_the_same_words_keep_their_names():
    task = TaskSpec("x", "entail", ("contradiction", "not_entailment"))
    assert default_template(task).answers == ("contradiction", "not_entailment")
