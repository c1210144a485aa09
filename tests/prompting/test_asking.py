"""Answers by their probability and by what is written, on a real model and on a scripted one."""

from __future__ import annotations

import math

import pytest

from seodang.data.labelled import Labelled
from seodang.errors import FitError, UsageError
from seodang.prompting.answers import CONTENT_FREE, calibrated, probabilities
from seodang.prompting.asking import embedder, fitted, generate_answers, score_answers
from seodang.prompting.free import example_of
from seodang.prompting.template import Template, content_free, pairs_of
from tests.prompting.conftest import Scripted

ANIMAL = Template("the {text} sat\nwhere:", ("mat", "log", "river bank"), "cats and dogs")
CAT, DOG = Labelled(("cat",), 0, where="a:1"), Labelled(("dog",), 1, where="a:2")
ASKED = [Labelled(("mouse",), None, where="b:1"), Labelled(("lowest newest cow",), None, where="b:2")]


def logprob(lm, context: str, continuation: str) -> float:
    """One row at a time, by the plain formula: the tokens of the whole text behind those of the context."""
    ids, n = lm.tokenizer.encode(context + continuation), len(lm.tokenizer.encode(context))
    found = lm.logits(ids)[0].log_softmax(-1)
    return math.fsum(float(found[place - 1, ids[place]]) for place in range(n, len(ids)))


def test_probabilities_are_those_of_the_text(lm):
    shown = [[CAT, DOG], []]
    answers = score_answers(lm, ANIMAL, ASKED, shown)
    for answer, example, before in zip(answers, ASKED, shown, strict=True):
        wanted = probabilities([logprob(lm, *pair) for pair in pairs_of(ANIMAL, example, before)])
        assert answer.probabilities == pytest.approx(wanted, abs=1e-5)
        assert answer.text == ANIMAL.answers[answer.label] and max(wanted) == pytest.approx(wanted[answer.label])
        assert (answer.where, answer.demonstrations) == (example.where, len(before))
        assert answer.prompt == pairs_of(ANIMAL, example, before)[0][0]


def test_every_way_of_scoring(lm):
    pairs = pairs_of(ANIMAL, ASKED[0], [CAT])
    sums = [logprob(lm, *pair) for pair in pairs]
    tokens = [len(lm.tokenizer.encode(a + b)) - len(lm.tokenizer.encode(a)) for a, b in pairs]
    n_bytes = [len(after.encode()) for _, after in pairs]
    null = [logprob(lm, "where:", after) for _, after in pairs]
    wanted = {
        "token": [value / n for value, n in zip(sums, tokens, strict=True)],
        "byte": [value / n for value, n in zip(sums, n_bytes, strict=True)],
        "null": [value - other for value, other in zip(sums, null, strict=True)],
    }
    for scoring, values in wanted.items():
        (answer,) = score_answers(lm, ANIMAL, ASKED[:1], [[CAT]], scoring=scoring)
        assert answer.probabilities == pytest.approx(probabilities(values), abs=1e-5), scoring
    assert len({tuple(round(p, 4) for p in probabilities(values)) for values in wanted.values()}) == 3


def test_calibration_uses_the_same_demonstrations(lm):
    def shares(example):
        return probabilities([logprob(lm, *pair) for pair in pairs_of(ANIMAL, example, [CAT])])

    wanted = calibrated(shares(ASKED[0]), [shares(content_free(ASKED[0], text)) for text in CONTENT_FREE])
    (answer,) = score_answers(lm, ANIMAL, ASKED[:1], [[CAT]], calibrate=True)
    assert answer.probabilities == pytest.approx(wanted, abs=1e-5)
    with pytest.raises(UsageError, match="fills a blank"):
        score_answers(lm, Template("{before}{answer}", continuation="{after}"), [], [], calibrate=True)


def test_rows_do_not_depend_on_their_neighbours(lm):
    rows = [Labelled((text,), None) for text in ("cat", "mouse", "lowest newest", "고양이")]
    together = score_answers(lm, ANIMAL, rows, [[CAT]] * 4, scoring="null", calibrate=True)
    for row, answer in zip(rows, together, strict=True):
        (alone,) = score_answers(lm, ANIMAL, [row], [[CAT]], scoring="null", calibrate=True)
        assert alone.probabilities == pytest.approx(answer.probabilities, abs=1e-5)


def test_answers_of_their_own_and_scores(lm):
    choice = Labelled(("", "where is the cat"), 1, ("river", "mat"))
    (answer,) = score_answers(lm, Template("{context}\n{question}?"), [choice], [[]])
    assert answer.answers == ("river", "mat") and answer.prompt == "where is the cat?"
    numbers = Template("{text}:", ("0", "1", "5"))
    (answer,) = score_answers(lm, numbers, [Labelled(("the",), None)], [[]], regression=True)
    p = answer.probabilities
    assert answer.score == pytest.approx(p[1] + 5 * p[2])


def test_the_furthest_demonstrations_are_dropped_and_said(lm):
    words = Template("{text} =", ("cat", "dog"))
    pool = [Labelled(("sat on the mat " * n,), 0, where=f"p:{n}") for n in (3, 2, 1)]
    asked = [Labelled(("the " * n,), None, where=f"q:{n}") for n in (1, 90, 120)]
    kept, notes = fitted(lm, words, asked, [pool] * 3)
    for example, shown in zip(asked, kept, strict=True):
        used = [len(lm.tokenizer.encode(f"{a}{b}")) for a, b in pairs_of(words, example, shown)]
        assert max(used) < 128 and shown == pool[3 - len(shown) :]
        if len(shown) < 3:  # one more would not have fitted
            more = pairs_of(words, example, pool[2 - len(shown) :])
            assert max(len(lm.tokenizer.encode(f"{a}{b}")) for a, b in more) + 3 > 128
    assert [len(shown) for shown in kept] == [3, 2, 0]
    lost = sum(3 - len(shown) for shown in kept)
    rows = sum(len(shown) < 3 for shown in kept)
    assert notes == [f"the context is full: {lost} demonstrations were dropped, in {rows} of 3 rows"]
    assert fitted(lm, words, asked[:1], [[]]) == ([[]], [])
    with pytest.raises(FitError) as caught:
        fitted(lm, words, [asked[0], Labelled(("the cat " * 99,), None, where="q:9")], [pool] * 2)
    assert "q:9" in caught.value.what and caught.value.exit_code == 4


def test_what_will_be_generated_is_reserved():
    model = Scripted(lambda prompt: "", context_length=40)
    words, row, shown = Template("{text}="), Labelled(("abcd",), None), [example_of("wxyz", "no")]
    # "wxyz= no⏎⏎abcd=" is 15 tokens, and one for bos
    assert fitted(model, words, [row], [shown], reserve=24)[0] == [shown]
    assert fitted(model, words, [row], [shown], reserve=25)[0] == [[]]


def test_the_written_answer_is_matched(lm):
    words = Template("{text}", ("river", "lower"), between=" ")
    (answer,) = generate_answers(lm, words, [Labelled(("the lowest newest",), None)], [[]], max_new_tokens=40)
    assert (answer.text, answer.label, answer.answers) == ("river", 0, ("river", "lower"))
    assert answer.generated[0].startswith("widest river is low") and answer.agreement is None


def test_free_answers_end_where_the_demonstrations_do():
    model = Scripted(lambda prompt: " B ")
    shown = [[example_of("a", "A")], [example_of("a", "A")]]
    (one, two) = generate_answers(model, Template("{text} ->"), [example_of("b"), example_of("c")], shown)
    assert (one.text, two.text, one.label, one.answers) == ("B", "B", None, ())
    assert model.prompts == ["a -> A\n\nb ->", "a -> A\n\nc ->"]
    assert model.options == [{"stop": ("\n",)}]
    generate_answers(model, Template("{text} ->"), [example_of("b")], [[example_of("a", "A\nB")]])
    assert model.options[-1] == {"stop": ("\n\n",)}
    generate_answers(model, Template("Q: {text}\nA:"), [example_of("b")], [[]], stop=("!",), max_new_tokens=3)
    assert model.options[-1] == {"stop": ("!",), "max_new_tokens": 3}
    generate_answers(model, Template("Q: {text}\nA:"), [example_of("b")], [[]])
    assert model.options[-1] == {"stop": ("\n\nQ:",)}


def test_a_chain_of_thought_behind_demonstrations():
    model = Scripted(lambda prompt: " 2 and 2 are 4. The answer is 4.")
    shown = [[example_of("1 + 1?", "One and one. The answer is 2.")]]
    (answer,) = generate_answers(model, Template("Q: {text}\nA:"), [example_of("2 + 2?")], shown, cot=True)
    assert model.prompts == ["Q: 1 + 1?\nA: One and one. The answer is 2.\n\nQ: 2 + 2?\nA:"]
    assert (answer.text, answer.generated) == ("4", ("2 and 2 are 4. The answer is 4.",))


def test_a_chain_of_thought_of_its_own_ends_in_a_label():
    model = Scripted(lambda prompt: " positive, I say." if prompt.endswith("answer is") else " negative? No, good.")
    feeling = Template("{text}\nFeeling:", ("negative", "positive"))
    (answer,) = generate_answers(model, feeling, [Labelled(("fun",), None)], [[]], cot=True, max_new_tokens=50)
    assert (answer.text, answer.label) == ("positive", 1)
    assert answer.generated == ("negative? No, good.\nTherefore, the answer is positive, I say.",)
    assert [options["max_new_tokens"] for options in model.options] == [50, 32]


def test_the_majority_of_samples():
    replies = iter(["5", "4", "4", "six", "7", "8"])
    model = Scripted(lambda prompt: f"The answer is {next(replies)}.")
    shown = [[example_of("x", "The answer is 0.")]] * 2
    rows = [example_of("a"), example_of("b")]
    one, two = generate_answers(model, Template("{text}"), rows, shown, cot=True, samples=3)
    assert (one.text, one.agreement, len(one.generated)) == ("4", pytest.approx(2 / 3), 3)
    assert (two.text, two.agreement) == ("7", pytest.approx(1 / 3))
    assert model.prompts == [prompt for prompt in dict.fromkeys(model.prompts) for _ in range(3)]
    assert model.options[0]["temperature"] == 0.7
    with pytest.raises(UsageError, match="temperature 0"):
        generate_answers(model, Template("{text}"), rows, shown, samples=2, temperature=0)
    with pytest.raises(UsageError, match="samples = 0"):
        generate_answers(model, Template("{text}"), rows, shown, samples=0)


def test_votes_for_labels_are_probabilities():
    replies = iter(["yes", "no", "yes", "perhaps"])
    model = Scripted(lambda prompt: next(replies))
    (answer,) = generate_answers(
        model, Template("{text}", ("no", "yes")), [Labelled(("a",), None)], [[]], samples=4
    )
    assert (answer.text, answer.label, answer.agreement) == ("yes", 1, 0.5)
    assert answer.probabilities == pytest.approx([1 / 3, 2 / 3])


def test_what_must_keep_to_a_form_is_whole_or_an_error(lm):
    row, shown = [example_of("the cat")], [[example_of("the dog", "sat")]]
    (answer,) = generate_answers(lm, Template("{text}"), row, shown, choices=["low", "lowest"], max_new_tokens=8)
    assert answer.text in ("low", "lowest")
    settings = {"cot": True, "extract": "line", "choices": [" low", " wide"]}
    (thought,) = generate_answers(lm, Template("{text}"), row, [[]], **settings)
    assert thought.text in ("low", "wide") and not thought.generated[0].startswith(("low", "wide"))
    with pytest.raises(FitError, match="1 of 1 texts are not whole"):
        generate_answers(lm, Template("{text}"), row, shown, regex="[a-z ]{60}", max_new_tokens=4)


def test_samples_are_a_function_of_the_seed(lm):
    def texts(**options):
        (answer,) = generate_answers(
            lm, Template("{text}"), [Labelled(("the",), None)], [[]], samples=4, temperature=2.0, max_new_tokens=8,
            **options,
        )  # fmt: skip
        return answer.generated

    assert texts(seed=1) == texts(seed=1, batch_size=1) != texts(seed=2)
    assert len(set(texts(seed=1))) > 1


def test_vectors_of_any_model(lm):
    vectors = embedder(lm)(["the cat", "the cat sat " * 60])
    assert vectors.shape == (2, lm.model.config.d_model)
    assert vectors.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)
