"""The heuristics by hand: a scorer that knows a few texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from seodang.data.labelled import Labelled
from seodang.errors import DataError
from seodang.studies.heuristics import acceptability, predict, pronouns, reading, sentiment, substituted, threshold
from seodang.studies.pronouns import read_pronouns
from seodang.studies.published import SCALES, TABLE_5, TABLE_5_AVERAGES, TASKS, Scale, normalised


@dataclass
class Found:
    logprob: float
    n_tokens: int


class Scorer:
    """log P by a function of the text that is predicted; a token is a word."""

    def __init__(self, logprob: Callable[[str, str], float]) -> None:
        self.logprob, self.asked = logprob, list[tuple[str, str]]()

    def continuations(self, pairs: Sequence[tuple[str, str]]) -> list[Found]:
        self.asked += pairs
        return [Found(self.logprob(*pair), len(pair[1].split())) for pair in pairs]

    def rolling(self, texts: Sequence[str]) -> list[Found]:
        return self.continuations([("", text) for text in texts])


def text(words: str, label: int = 0, *answers: str) -> Labelled:
    return Labelled((words,), label, answers)


def test_cola_is_an_average_and_a_threshold():
    known = {"a b": -2.0, "a b c d": -2.0, "x": -5.0, "y z": -3.0}
    scorer = Scorer(lambda _, words: known[words])
    fitted = [text("a b", 1), text("a b c d", 1), text("x", 0), text("y z", 0)]
    assert acceptability(scorer, fitted) == [-1.0, -0.5, -5.0, -1.5]
    assert threshold([-1.0, -0.5, -5.0, -1.5], [1, 1, 0, 0]) == -1.0
    found = predict("cola", scorer, [text("y z"), text("a b")], ("unacceptable", "acceptable"), fitted)
    assert (found.predictions, found.metric) == ([0, 1], "matthews")


def test_no_threshold_is_found_without_labels():
    unknown = Labelled(("a b",), None, (), "test.tsv:7")
    with pytest.raises(DataError, match="test.tsv:7 has no label"):
        predict("cola", Scorer(lambda _, words: -1.0), [text("a b")], (), [text("a b", 1), unknown])


def test_the_threshold_is_of_the_highest_matthews():
    """Cut at 3: 1 of 1 right above and 1 wrong below; at 2: two of two positives, and no negative among them."""
    assert threshold([1.0, 2.0, 3.0], [0, 1, 1]) == 2.0
    assert threshold([3.0, 2.0, 1.0], [0, 1, 1]) in (1.0, 3.0)  # worse than chance everywhere but at the ends


def test_sst2_appends_very_and_compares_two_words():
    chances = {("good fun . very", " positive"): -1.0, ("good fun . very", " negative"): -2.0,
               ("dull very", " positive"): -3.0, ("dull very", " negative"): -2.5}  # fmt: skip
    scorer = Scorer(lambda *pair: chances[pair])
    found = predict("sst2", scorer, [text("good fun . "), text("dull")], ("negative", "positive"))
    assert (found.predictions, found.metric) == ([1, 0], "accuracy")
    assert sentiment(scorer, [text("dull")], ("positive", "negative")) == [1]  # the order of the classes


def test_race_takes_the_average_of_a_token():
    """The long answer has the lower sum, and the higher average."""
    scorer = Scorer(lambda _, answer: {" yes": -2.0, " of course he did": -4.0, " no": -3.0}[answer])
    example = Labelled(("A story.", "Did he?"), 1, ("yes", "of course he did", "no "))
    assert reading(scorer, [example]) == [1]
    assert scorer.asked[0] == ("A story.\nDid he?", " yes")
    assert reading(scorer, [Labelled(("", "Did he?"), 0, ("yes", "no"))]) == [0]  # of unequal numbers of answers


def test_pronouns_score_what_stands_behind():
    example = Labelled(("The trophy did not fit because _ was too big.", ""), 0, ("The trophy", "the suitcase"))
    trophy = ("The trophy did not fit because the trophy", " was too big.")
    assert substituted(example, "The trophy") == trophy
    chances = {trophy: -3.0, ("The trophy did not fit because the suitcase", " was too big."): -6.0}
    assert pronouns(Scorer(lambda *pair: chances[pair]), [example]) == [0]


@pytest.mark.parametrize(
    ("sentence", "candidate", "before"),
    [("_ ran.", "the dog", "The dog"), ("It rained. _ ran.", "the dog", "It rained. The dog"),
     ("So _ ran.", "Ann", "So Ann")],
)  # fmt: skip
def test_capitals_of_candidates(sentence, candidate, before):
    assert substituted(Labelled((sentence, ""), 0, (candidate, "x")), candidate)[0] == before


def test_definite_pronouns_are_read(tmp_path):
    file = tmp_path / "test.c.txt"
    file.write_text(
        "The bee landed on the flower because it had pollen.\nit\nThe bee,the flower\nthe flower\n\n"
        "It hit him because he slept.\nhe\nJohn,Bob\nJohn\n"
    )
    first, second = read_pronouns([file])
    assert first == Labelled(
        ("The bee landed on the flower because _ had pollen.", ""), 1, ("The bee", "the flower"), f"{file}:1"
    )
    assert (second.texts[0], second.label, second.where) == ("It hit him because _ slept.", 0, f"{file}:6")


@pytest.mark.parametrize(
    ("block", "where"),
    [("a\nb\n", ":1 begins a block of 2 lines"), ("The cat sat.\nit\na,b\na\n", ":1 does not fit"),
     ("It ran.\nit\na,b\nc\n", ":1 does not fit"), ("It ran.\nit\na\na\n", ":1 does not fit")],
)  # fmt: skip
def test_wrong_blocks_are_named(tmp_path, block, where):
    (tmp_path / "x.txt").write_text(block)
    with pytest.raises(DataError, match=where):
        read_pronouns([tmp_path / "x.txt"])


def test_normalised_by_hand():
    assert normalised(0.716, Scale(0.5, 0.932, "")) == pytest.approx(0.5)
    assert normalised(0.5, SCALES["sst2"]) == 0 and normalised(0.53, SCALES["race"]) == pytest.approx(0.28 / 0.283)
    assert normalised(-0.1, SCALES["cola"]) < 0  # worse than a guess is below 0


def test_the_papers_averages_are_those_of_its_rows():
    """The averages of table 5 are the means of its rows, up to rounding and what it averages over (MNLI's two sets)."""
    assert set(TABLE_5) == set(TABLE_5_AVERAGES) and len(TASKS) == 8
    for variant, scores in TABLE_5.items():
        assert len(scores) == 8
        assert sum(scores) / 8 == pytest.approx(TABLE_5_AVERAGES[variant], abs=0.6)
