"""ROUGE: by hand, in Korean, and as Google's rouge-score on English."""

from __future__ import annotations

import itertools
import random
import re
import sys
import unicodedata

import pytest

from seodang.errors import SeodangError, UsageError
from seodang.evaluation.metrics import METRICS
from seodang.evaluation.rouge import MEASURES, UNITS, MeanRouge, lcs_length, lcs_places, rouge, rouge_n, units_of


def f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall)


def test_lins_example() -> None:
    """Lin 2004, sec. 3.1: ROUGE-2 of the two candidates is the same, ROUGE-L 3/4 and 2/4."""
    reference = "police killed the gunman"
    first, second = (rouge(text, reference) for text in ("police kill the gunman", "the gunman kill police"))
    assert first["rouge2"].f1 == second["rouge2"].f1 == pytest.approx(1 / 3)
    assert (first["rougeL"].f1, second["rougeL"].f1) == (0.75, 0.5)


def test_lins_example_of_sentences() -> None:
    """Lin 2004, sec. 3.2: the union of (w1 w2) and (w1 w3 w5) in a sentence of five words is four."""
    texts = "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", "w1 w2 w3 w4 w5"
    score = rouge(*texts, measures=("rougeLsum",))["rougeLsum"]
    assert (score.precision, score.recall) == (4 / 10, 4 / 5)


def test_repeated_words_count_as_often_as_in_both() -> None:
    score = rouge("the the the", "the cat the", measures=("rouge1", "rouge2"))
    assert (score["rouge1"].precision, score["rouge1"].recall) == (2 / 3, 2 / 3)
    assert score["rouge2"].f1 == 0


def test_korean_by_hand() -> None:
    """서당에서 배웠다 / 서당은 배웠다: of two eojeol one is shared; of 7 and 6 characters 서 당 배 웠 다."""
    words = rouge("서당에서 배웠다.", "서당은 배웠다!")
    assert words["rouge1"].f1 == words["rougeL"].f1 == 0.5 and words["rouge2"].f1 == 0
    characters = rouge("서당에서 배웠다.", "서당은 배웠다!", unit="characters")
    assert characters["rouge1"].f1 == pytest.approx(f1(5 / 7, 5 / 6))
    assert characters["rouge2"].f1 == pytest.approx(f1(3 / 6, 3 / 5))  # 서당 배웠 웠다
    assert characters["rougeL"].f1 == pytest.approx(f1(5 / 7, 5 / 6))


@pytest.mark.parametrize("unit", ["words", "characters", pytest.param("morphemes", marks=pytest.mark.slow)])
@pytest.mark.parametrize("text", ["아이들은 서당에서 배웠습니다.", "네", "3·1 운동은 1919년에\n그렇다", "ㅋㅋㅋ", "…"])
def test_identical_korean_scores_one(text: str, unit: str) -> None:
    if unit == "morphemes":
        pytest.importorskip("kiwipiepy")
    scores = rouge(text, text, unit=unit, measures=MEASURES)
    assert [score.f1 for score in scores.values()] == [1, 1, 1, 1]


@pytest.mark.slow
def test_morphemes_share_the_stem() -> None:
    pytest.importorskip("kiwipiepy")
    assert units_of("서당에서", "morphemes") == ["서당", "에서"]
    assert rouge("서당에서", "서당은", unit="morphemes")["rouge1"].f1 == 0.5
    assert METRICS["rouge1-morphemes"].function(["서당에서"], ["서당은"]) == 0.5


def test_morphemes_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    from seodang.evaluation import rouge as module

    monkeypatch.setitem(sys.modules, "kiwipiepy", None)
    module._kiwi.cache_clear()
    with pytest.raises(SeodangError, match=r"pip install 'seodang\[korean\]'"):
        rouge("서당", "서당", unit="morphemes")


def test_empty_texts() -> None:
    def scores(prediction: str, reference: str) -> list[float]:
        return [score.f1 for score in rouge(prediction, reference, measures=MEASURES).values()]

    assert scores("", "") == [1, 1, 1, 1]
    assert scores("", "서당") == scores("서당", "") == scores("!", "?") == [0, 0, 0, 0]
    assert rouge("one", "two", measures=("rouge2",))["rouge2"].f1 == 0


def test_units() -> None:
    assert units_of("It's café_é 10%, 훈장님!") == ["it", "s", "café", "é", "10", "훈장님"]
    assert units_of("아 버지", "characters") == ["아", "버", "지"]
    assert units_of(unicodedata.normalize("NFD", "서당")) == ["서당"]
    with pytest.raises(UsageError, match="words"):
        units_of("", "word")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="rouge1"):
        rouge("a", "b", measures=("rouge-1",))
    assert {f"rougeL-{unit}" for unit in UNITS[1:]} <= set(METRICS)


def test_subsequences_against_all_of_them() -> None:
    """The longest of all 2^n subsequences that both have."""
    rng = random.Random(0)
    for _ in range(60):
        a, b = ([rng.choice("abc") for _ in range(rng.randint(0, 7))] for _ in range(2))

        def all_of(tokens: list[str]) -> set[tuple[str, ...]]:
            return {part for size in range(len(tokens) + 1) for part in itertools.combinations(tokens, size)}

        assert lcs_length(a, b) == max(len(part) for part in all_of(a) & all_of(b))
        places = sorted(lcs_places(a, b))
        assert len(places) == lcs_length(a, b)
        assert tuple(a[place] for place in places) in all_of(b)


def test_a_stream_is_the_mean_of_its_rows() -> None:
    rows = [("a b c", "a b d"), ("서당", ["학교", "서당"]), ("x", "y")]
    stream = MeanRouge(measures=("rouge1", "rougeL"))
    for prediction, references in rows:
        stream.add(prediction, references)
    assert stream.n == 3
    assert stream.result()["rouge1"]["f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    predictions, references = zip(*rows, strict=True)
    assert METRICS["rougeL"].function(predictions, references) == pytest.approx(stream.result()["rougeL"]["f1"])
    with pytest.raises(UsageError, match="no texts"):
        MeanRouge().result()


# ---- equality with Google's rouge-score ------------------------------------------------------------------------


def english_sentences() -> list[str]:
    """Real ones: the docstrings of the standard library."""
    import argparse
    import asyncio
    import decimal
    import logging
    import subprocess
    import turtle

    modules = (argparse, asyncio, decimal, logging, subprocess, turtle)
    texts = [thing.__doc__ for module in modules for thing in vars(module).values() if isinstance(thing.__doc__, str)]
    return [text for text in texts if text.isascii() and len(re.findall(r"\w+", text)) > 4]


@pytest.mark.slow
def test_equals_rouge_score_on_english() -> None:
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    scorer = rouge_scorer.RougeScorer(list(MEASURES))
    sentences, rng = english_sentences(), random.Random(0)
    assert len(sentences) > 200
    for _ in range(400):
        reference = rng.choice(sentences)[:600]
        other = rng.choice(sentences)[:600]
        words = reference.split(" ")
        kept = " ".join(word for word in words if rng.random() < 0.7)
        prediction = rng.choice([other, kept, kept + "\n" + other])
        expected = scorer.score(reference, prediction)
        for measure, score in rouge(prediction, reference, measures=MEASURES).items():
            found = (score.precision, score.recall, score.f1)
            assert found == pytest.approx(tuple(expected[measure]), abs=1e-12), (measure, prediction, reference)


def test_ngrams_by_hand() -> None:
    """a b a b / a b c: bigrams ab twice and ba once against ab and bc."""
    score = rouge_n("abab", "abc", 2)
    assert (score.precision, score.recall) == (1 / 3, 1 / 2)
