"""The primer: the same on every machine, Korean that is right, questions that are held out and have answers."""

from __future__ import annotations

import hashlib
import json
import random
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from seodang.data.primer import (
    LANGUAGES,
    SHARES,
    Question,
    primer_dialogues,
    primer_documents,
    primer_questions,
    write_primer,
)
from seodang.data.primer_grammar import Relation, Word, ends_in_consonant, fill, table
from seodang.data.readers import read_documents
from seodang.errors import UsageError


def digest(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


@pytest.fixture(scope="module")
def train() -> list[Question]:
    return primer_questions(0, "train")


@pytest.fixture(scope="module")
def heldout() -> list[Question]:
    return primer_questions(0, "heldout")


@pytest.mark.parametrize(
    ("template", "word", "expected"),
    [
        ("{x:은}", "수아", "수아는"), ("{x:은}", "민준", "민준은"), ("{x:이}", "보라", "보라가"),
        ("{x:이}", "공", "공이"),
        ("{x:을}", "모자", "모자를"), ("{x:을}", "책", "책을"), ("{x:과}", "크다", "크다와"), ("{x:과}", "안", "안과"),
        ("{x:으로}", "바다", "바다로"), ("{x:으로}", "숲", "숲으로"), ("{x:으로}", "교실", "교실로"),
        ("{x:으로}", "7", "7로"), ("{x:으로}", "3", "3으로"), ("{x:은}", "10", "10은"), ("{x:은}", "12", "12는"),
        ("{x:이}", "6", "6이"), ("{x:을}", "9", "9를"), ("{x:이라}는", "하은", "하은이라는"),
        ("{x:이라}는", "유나", "유나라는"),
        ("{x:이라고}", "올챙이", "올챙이라고"), ("{x:a}", "owl", "an owl"), ("{x:A}", "rose", "A rose"),
        ("{x:cap}", "moo", "Moo"),
    ],
)  # fmt: skip
def test_words_inflect(template: str, word: str, expected: str) -> None:
    assert fill(template, {"x": word}) == expected


def test_words_that_no_rule_reads() -> None:
    with pytest.raises(ValueError, match="Hangul"):
        ends_in_consonant("dog")
    with pytest.raises(ValueError, match="no rule"):
        format(Word("개"), "은는")


def test_every_particle_agrees_with_the_word_before_it() -> None:
    """An independent check over the text: no 를/는/와/가-particle after a consonant of a word we inflect."""
    nouns = {word for language in LANGUAGES if language.code == "ko" for word in language.people}
    korean = next(language for language in LANGUAGES if language.code == "ko")
    nouns |= set(korean.props["n"]) | set(korean.props["o"]) | set(korean.props["f"]) | set(korean.props["t"])
    text = " ".join(doc.text for doc in primer_documents(3, "train", 0.3) if doc.language == "ko")
    words = Counter(re.findall(r"[가-힣]+", text))
    checked = 0
    for noun in nouns:
        final = (ord(noun[-1]) - 0xAC00) % 28 != 0
        right, wrong = (("은", "이", "을"), ("는", "를")) if final else (("는", "가", "를"), ("은", "을"))
        checked += sum(words[noun + particle] for particle in right)
        assert not any(words[noun + particle] for particle in wrong), noun
    assert checked > 1000


def test_the_same_seed_gives_the_same_bytes() -> None:
    def texts(seed: int) -> list[str]:
        return [document.text for document in primer_documents(seed, "train", 0.1)]

    assert digest(texts(0)) == digest(texts(0))
    assert digest(texts(0)) != digest(texts(1))
    assert digest(texts(0)) == "216f8996a9004abe"
    assert digest([f"{q.question} {q.answer}" for q in primer_questions(0, "heldout")]) == "9b99173ff66e3281"


def test_prose_has_its_size_and_its_shares() -> None:
    sizes: Counter[tuple[str, str]] = Counter()
    for document in primer_documents(0, "train", 0.5):
        assert document.text == unicodedata.normalize("NFC", document.text)
        assert "{" not in document.text and "  " not in document.text
        sizes[document.language, document.kind] += len(document.text.encode())
    assert 0.5e6 <= sum(sizes.values()) <= 0.501e6
    assert sizes["en", "stories"] == pytest.approx(sizes["ko", "stories"], rel=0.02)
    assert sizes["en", "stories"] == pytest.approx(SHARES["stories"] / 2 * 0.5e6, rel=0.02)
    with pytest.raises(UsageError):
        next(primer_documents(0, "train", 0))


def test_heldout_prose_tells_other_stories() -> None:
    train = {document.text for document in primer_documents(0, "train", 0.5)}
    heldout = [document.text for document in primer_documents(0, "heldout", 0.5)]
    assert heldout and not train & set(heldout)


def test_no_heldout_question_is_trained_on_in_any_wording(train: list[Question], heldout: list[Question]) -> None:
    assert not {q.question for q in train} & {q.question for q in heldout}
    facts = {(q.language, q.answer) for q in train if q.kind != "reading"}
    assert not facts & {(q.language, q.answer) for q in heldout if q.kind != "reading"}


def test_a_question_has_one_answer(train: list[Question], heldout: list[Question]) -> None:
    answers: dict[str, set[str]] = {}
    for question in (*train, *heldout):
        answers.setdefault(question.question, set()).add(question.answer)
        assert question.answer == unicodedata.normalize("NFC", question.answer).strip()
    assert all(len(found) == 1 for found in answers.values())
    kinds = Counter((q.language, q.kind) for q in heldout)
    assert min(kinds.values()) >= 5 and sum(kinds.values()) == len(heldout) >= 320
    assert {language for language, _ in kinds} == {"en", "ko"}


def test_sums_are_right(train: list[Question], heldout: list[Question]) -> None:
    checked = 0
    for question in (*train, *heldout):
        if question.kind == "sums":
            a, b, c = map(int, re.findall(r"\d+", question.answer))
            assert (a + b == c) if re.search(r"\+|더하기", question.answer) else (a - b == c)
            assert {str(a), str(b)} <= set(re.findall(r"\d+", question.question))
            checked += 1
    assert checked > 500


def test_what_a_heldout_question_asks_is_in_the_prose(heldout: list[Question]) -> None:
    prose = " ".join(document.text for document in primer_documents(0, "train", 3.0))
    for question in heldout:
        if question.question in prose:  # "8 다음은" is in "18 다음은", and is another question
            assert not re.search(rf"(?<![0-9]){re.escape(question.question)}", prose), question
        assert question.kind == "reading" or question.answer in prose, question


def test_the_story_of_a_reading_question_holds_its_answer(heldout: list[Question]) -> None:
    for question in heldout:
        if question.kind == "reading" and question.language == "en":
            last = question.answer.rstrip(".").split()[-1]
            assert last in question.question.rsplit("?", 1)[0], question


def test_mirrored_pairs_lose_at_most_one_direction() -> None:
    relation = Relation("pairs", table("a=b, c=d, e=f, g=h", mirrored=True), (), (), "{x}{y}", mirrored=True)
    train, kept = relation.split(random.Random(5), 0.5)
    assert len(train) == len(kept) == 4
    assert {fact.answer[::-1] for fact in kept} == {fact.answer for fact in train}


def test_dialogues_are_whole_turns() -> None:
    dialogues = primer_dialogues(0, readings=50)
    assert {len(dialogue) for dialogue in dialogues} == {2, 4, 6}
    for dialogue in dialogues:
        assert [message["role"] for message in dialogue] == ["user", "assistant"] * (len(dialogue) // 2)


def test_files_are_what_the_readers_read(tmp_path: Path) -> None:
    files = write_primer(tmp_path, seed=2, megabytes=0.05, readings=20)
    assert len(files.prose) == 10 and {path.parent.name for path in files.heldout_prose} == {"heldout"}
    documents = list(read_documents(files.prose))
    expected = sorted(document.text for document in primer_documents(2, "train", 0.05))
    assert sorted(document.text for document in documents) == expected
    rows = [json.loads(line) for line in files.heldout_questions.read_text(encoding="utf-8").splitlines()]
    assert {tuple(row) for row in rows} == {("messages", "language", "kind")}
    again = write_primer(tmp_path / "again", seed=2, megabytes=0.05, readings=20)
    assert again.questions.read_bytes() == files.questions.read_bytes()
