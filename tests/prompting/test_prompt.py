"""The front door: what becomes of texts, files and words."""

from __future__ import annotations

import pytest

import seodang
from seodang.data.labelled import Labelled, TaskSpec
from seodang.errors import DataError, UsageError
from seodang.inference.language_model import LanguageModel
from seodang.prompting.free import example_of, free_template, read_free
from seodang.prompting.prompt import prompt, spec_of, understood, worded_by
from seodang.prompting.template import Template, demonstration_of
from tests.inference.masked import encoder, wordpiece
from tests.models.test_encoder_decoder import tiny as tiny_seq2seq
from tests.prompting.conftest import Scripted

SHOTS = [("the cat sat", "low"), ("the dog sat", "wide"), ("the river", "low")]


def test_it_is_seodang_s():
    assert seodang.prompt is prompt and "prompt" in seodang.__all__


def test_words_and_demonstrations(lm):
    found = prompt(lm, "the mat", answers=["low", "wide"], shots=SHOTS)
    assert found.prompt == (
        "Label each text with one of: low, wide.\n\nText: the cat sat\nLabel: low\n\n"
        "Text: the dog sat\nLabel: wide\n\nText: the river\nLabel: low\n\nText: the mat\nLabel:"
    )
    assert sum(found.probabilities) == pytest.approx(1) and found.text == ("low", "wide")[found.label]
    both = prompt(lm, ["the mat", "the log"], answers=["low", "wide"], shots=SHOTS, k=1, batch_size=1)
    assert [one.demonstrations for one in both] == [1, 1]
    assert both[0].probabilities != both[1].probabilities
    (pair,) = prompt(lm, [("the mat", "is low")], answers=["yes", "no"])
    assert pair.prompt == "the mat\nQuestion: is low yes or no?\nAnswer:"


def test_completions_are_the_answers_that_they_name(lm):
    words = Template("Review: {text}\nSentiment:", ("low", "wide"))
    for task in (words, "sst2"):
        low, wide = ("low", "wide") if task is words else ("negative", "positive")
        found = prompt(lm, "the mat", task=task, shots=[("the cat", wide), ("the dog", low.upper())])
        assert found.prompt.count(f": {wide}\n") == found.prompt.count(f": {low}\n") == 1
        with pytest.raises(DataError, match="demonstration 1 has the answer 'wonderful!'"):
            prompt(lm, "the mat", task=task, shots=[("the cat", "wonderful!")])
    (score,) = understood([example_of("a", "4.6")], words, spec_of("stsb"))
    assert score.label == 4.6
    reasons = example_of("a", "It flows. The answer is Wide.")
    (chain,) = understood([reasons], words, None, reasoning=True)
    assert chain.label == 1 and demonstration_of(words, chain).endswith("Sentiment: It flows. The answer is Wide.")
    with pytest.raises(UsageError, match="the template has 2 answers: low, wide"):
        worded_by(words, TaskSpec("x", "classify", ("a", "b", "c")), None, [], few_shot=False)
    with pytest.raises(UsageError, match="the task has 2 labels: wide, high"):
        worded_by(words, TaskSpec("x", "classify", ("wide", "high")), None, [], few_shot=False)
    turned = worded_by(words, TaskSpec("x", "classify", ("Wide", "LOW")), None, [], few_shot=False)
    assert turned.answers == ("wide", "low")
    with pytest.raises(UsageError, match="the template names 2: low, wide"):
        prompt(lm, Labelled(("a", "b"), 0, ("p", "q", "r")), task=words)


def test_a_file_of_any_task(lm, tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("text,label\nthe cat,wide\nthe dog,low\nthe river,wide\nthe mat,low\n")
    found = prompt(lm, "the log", task="classify", shots=path, k=2)
    assert found.answers == ("low", "wide")
    assert "Text: the cat\nLabel: wide\n\nText: the dog\nLabel: low" in found.prompt
    # the same words in another order stay with their rows; other words stand for the labels in their order
    turned = prompt(lm, "the log", answers=["wide", "low"], shots=path, k=2)
    assert turned.answers == ("wide", "low") and "Text: the cat\nLabel: wide\n" in turned.prompt
    other = prompt(lm, "the log", answers=["x", "y"], shots=path, k=1)
    assert "Text: the cat\nLabel: y\n" in other.prompt
    rows = prompt(lm, path, task="classify")
    assert [row.where for row in rows] == [f"{path}:{n}" for n in range(2, 6)]
    path.write_text("text,note\nthe cat,1\n")
    with pytest.raises(DataError, match="label"):
        prompt(lm, "the log", task="classify", shots=path)
    assert prompt(lm, path, task="sst2")[0].answers == ("negative", "positive")  # no labels are needed to be answered
    path.write_text("text,label\nthe cat,1\nthe dog,2\n")
    with pytest.raises(DataError, match="train.csv:3 has the unknown label '2'"):
        prompt(lm, path, task="sst2")
    path.write_text("text,label\nthe cat,1\nthe dog,0\n")
    with pytest.raises(DataError, match="contains the row"):
        prompt(lm, "The cat!", task="classify", shots=path)
    with pytest.raises(UsageError, match="not known"):
        prompt(lm, "the log", task="classify")
    assert prompt(lm, "the log", task="sst2").answers == ("negative", "positive")
    assert prompt(lm, "좋다", task="nsmc").answers == ("부정", "긍정")
    assert prompt(lm, ("the cat", "a cat"), task="stsb").score == pytest.approx(
        sum(n * p for n, p in enumerate(prompt(lm, ("the cat", "a cat"), task="stsb").probabilities))
    )


def test_a_multiple_choice_by_its_words_or_by_letters(lm):
    row = Labelled(("", "where is the cat"), None, ("river", "mat"))
    assert prompt(lm, row, task="choice").answers == ("river", "mat")
    letters = prompt(lm, row, task="choice", answers=["A", "B", "C"])
    assert letters.prompt == "Question: where is the cat\nA. river\nB. mat\nAnswer:" and letters.answers == ("A", "B")


def test_free_prompts(lm):
    assert prompt(lm, "the lowest newest", max_new_tokens=40).text == lm.generate("the lowest newest").text.strip()
    model = Scripted(lambda text: " chat\n")
    found = prompt(model, "cat", shots=[("sea otter", "loutre de mer")])
    assert (found.text, model.prompts) == ("chat", ["Input: sea otter\nOutput: loutre de mer\n\nInput: cat\nOutput:"])
    prompt(model, "고양이", shots=[("수달", "loutre")])
    assert model.prompts[-1] == "입력: 수달\n출력: loutre\n\n입력: 고양이\n출력:"
    prompt(model, "cat", task=Template("{text} =>"), shots=[("otter", "loutre")])
    assert model.prompts[-1] == "otter => loutre\n\ncat =>"
    assert model.options[-1]["max_new_tokens"] == 64


def test_reasoning_by_example():
    model = Scripted(lambda text: " 2 + 2 = 4. The answer is 4.")
    found = prompt(model, "2 + 2?", shots=[("1 + 1?", "It is <<1+1=2>>2.\n#### 2")], cot=True)
    assert (found.text, model.prompts) == ("4", ["Q: 1 + 1?\nA: It is 2. The answer is 2.\n\nQ: 2 + 2?\nA:"])
    prompt(model, "2 + 2?", cot=True)
    assert model.prompts[1] == "Q: 2 + 2?\nA: Let's think step by step."


def test_dropped_demonstrations_are_a_warning(lm):
    with pytest.warns(UserWarning, match="1 demonstrations were dropped, in 1 of 1 rows"):
        found = prompt(lm, "the cat", task=Template("{text}:", ("a", "b")), shots=[
            Labelled(("the cat sat on the mat and " * 30,), 0), Labelled(("dog",), 1),
        ])  # fmt: skip
    assert found.demonstrations == 1


def test_nearest_by_the_model_itself(lm):
    """What a text is nearest to is itself, but for one word."""
    near = "the lowest newest widest river is"
    shots = [("고양이가 마당에 앉아 있다.", "a"), (f"{near} low", "b"), ("where is the cat?", "c")]
    found = prompt(lm, f"{near} wide", answers=["a", "b", "c"], shots=shots, k=1, select="nearest")
    assert "widest river is low\nLabel: b\n\n" in found.prompt


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"score": "best"}, "score = 'best'"),
        ({"score": "sum", "samples": 3}, "several samples"),
        ({"score": "generate", "calibrate": True}, "calibration"),
        ({"k": 4}, "k = 4"),
        ({"shots": [("x", "maybe")]}, "'maybe'"),
        ({"temprature": 1, "score": "generate"}, "temprature"),
        ({"balance": True}, "balance"),
    ],
)
def test_settings_that_do_not_go(lm, settings, words):
    with pytest.raises(UsageError, match=words) as caught:
        prompt(lm, "x y", **{"answers": ["yes", "no"], **settings})
    assert caught.value.why and caught.value.fix


def test_rows_of_prompts(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"prompt": "a", "completion": "A"}\n{"question": "b", "answer": "B <<1>>1\\n#### 1"}\n'
        '{"instruction": "c", "input": "d", "output": "CD"}\n{"질문": "e", "답변": "E"}\n'
    )
    found = read_free(path, answered=True)
    assert [(row.texts[0], row.answers[0]) for row in found] == [
        ("a", "A"), ("b", "B <<1>>1\n#### 1"), ("c\nd", "CD"), ("e", "E"),
    ]  # fmt: skip
    assert found[1].where == f"{path}:2"
    assert read_free(path, answered=True, reasoning=True)[1].answers == ("B 1 The answer is 1.",)
    path.write_text('{"prompt": "a"}\n{"note": ""}\n')
    with pytest.raises(DataError, match="rows.jsonl:1 is not a prompt with its completion"):
        read_free(path, answered=True)
    with pytest.raises(DataError, match="rows.jsonl:2 is not a prompt"):
        read_free(path, answered=False)
    assert free_template(found).question == "Input: {text}\nOutput:"
    assert free_template([Labelled(("고양이",), None)]).question == "입력: {text}\n출력:"


def test_every_kind_of_model_or_a_refusal(lm):
    seq2seq = LanguageModel(tiny_seq2seq("t5-mini", vocab_size=320, context_length=64).eval(), lm.tokenizer)
    settings = {"answers": ["low", "wide"], "shots": SHOTS[:2]}
    found = prompt(seq2seq, "the mat", **settings)
    assert sum(found.probabilities) == pytest.approx(1) and found.demonstrations == 2
    assert prompt(seq2seq, "the mat", **settings, score="generate", max_new_tokens=3).answers == ("low", "wide")
    masked = LanguageModel(encoder(), wordpiece())
    for score in ("sum", "generate"):
        with pytest.raises(UsageError, match="masked"):
            prompt(masked, "the mat", answers=["low", "wide"], score=score)
