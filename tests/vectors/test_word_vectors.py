"""Neighbours, analogies and files: by hand, and against gensim's KeyedVectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seodang.errors import DataError
from seodang.vectors.analogies import read_questions, score
from seodang.vectors.word_vectors import WordVectors

BY_HAND = {"man": (1, 0, 0), "king": (1, 0, 1), "woman": (0, 1, 0), "queen": (0, 2, 2), "hat": (-1, 0, 0)}


@pytest.fixture
def by_hand() -> WordVectors:
    return WordVectors(list(BY_HAND), np.array(list(BY_HAND.values())), about={"lowercase": True})


@pytest.fixture
def drawn() -> WordVectors:
    rng = np.random.default_rng(0)
    return WordVectors([f"w{number}" for number in range(600)], rng.normal(size=(600, 12)))


def test_neighbours_by_hand(by_hand: WordVectors) -> None:
    """king·queen = 2 over √2·√8."""
    assert by_hand.similarity("king", "queen") == pytest.approx(0.5)
    found = by_hand.neighbours("King", 3)
    assert [word for word, _ in found] == ["man", "queen", "woman"]
    assert [cosine for _, cosine in found] == pytest.approx([0.5**0.5, 0.5, 0])
    assert len(by_hand.neighbours("king", 100)) == 4


def test_analogy_by_hand(by_hand: WordVectors) -> None:
    """(1, 0, 1)/√2 − (1, 0, 0) + (0, 1, 0), against queen's (0, 1, 1)/√2; man, king and woman are left out."""
    query = np.array([0.5**0.5 - 1, 1, 0.5**0.5])
    found = by_hand.analogy("man", "king", "woman")
    assert [word for word, _ in found] == ["queen", "hat"]
    assert found[0][1] == pytest.approx(query @ [0, 1, 1] / 2**0.5 / np.linalg.norm(query))


def test_unseen_words_are_zero(by_hand: WordVectors) -> None:
    assert by_hand.vector("throne").tolist() == [0, 0, 0] and "throne" not in by_hand and "KING" in by_hand
    assert by_hand.neighbours("throne") == [] and by_hand.similarity("throne", "king") == 0
    assert by_hand.analogy("zero", "zero", "zero") == []


def test_equal_to_gensims(drawn: WordVectors, tmp_path: Path) -> None:
    gensim_models = pytest.importorskip("gensim.models")
    drawn.save(tmp_path / "v")
    theirs = gensim_models.KeyedVectors.load_word2vec_format(str(tmp_path / "v" / "vectors.vec"))
    assert np.array_equal(theirs.vectors, drawn.matrix) and theirs.index_to_key == drawn.words
    for ours, expected in ((drawn.neighbours("w7", 9), theirs.most_similar("w7", topn=9)),
                           (drawn.analogy("w1", "w2", "w3", 9),
                            theirs.most_similar(positive=["w2", "w3"], negative=["w1"], topn=9))):
        assert [word for word, _ in ours] == [word for word, _ in expected]
        assert [cosine for _, cosine in ours] == pytest.approx([cosine for _, cosine in expected], abs=1e-5)
    lines = [": first"]
    for a, b, c in np.random.default_rng(1).integers(0, 600, (300, 3)):
        right = drawn.analogy(f"w{a}", f"w{b}", f"w{c}", 1)[0][0]
        lines.append(f"w{a} w{b} w{c} {right if a % 3 else 'w0'}")
    lines += [": second", "w1 w2 w3 unknown"]
    path = tmp_path / "questions.txt"
    path.write_text("\n".join(lines) + "\n")
    mine = score(drawn, read_questions(path))
    accuracy, _ = theirs.evaluate_word_analogies(str(path), case_insensitive=False)
    assert [(one.section, one.questions, one.asked) for one in mine] == [("first", 300, 300), ("second", 1, 0)]
    assert mine[0].accuracy == pytest.approx(accuracy) and 0.5 < accuracy < 1 and mine[1].accuracy is None


def test_files_lose_nothing_and_others_are_read(drawn: WordVectors, tmp_path: Path) -> None:
    drawn.about = {"kind": "skipgram", "lowercase": False}
    drawn.save(tmp_path / "v")
    loaded = WordVectors.load(tmp_path / "v")
    assert loaded.words == drawn.words and np.array_equal(loaded.matrix, drawn.matrix) and loaded.about == drawn.about
    assert WordVectors.load(tmp_path / "v", limit=5).words == drawn.words[:5]
    text = (tmp_path / "v" / "vectors.vec").read_text()
    (tmp_path / "glove.txt").write_text(text.partition("\n")[2])  # GloVe's files begin with the first word
    for path in (tmp_path / "v" / "vectors.vec", tmp_path / "glove.txt"):
        assert np.array_equal(WordVectors.load(path).matrix, drawn.matrix)
    assert WordVectors.load(tmp_path / "glove.txt", limit=5).words == drawn.words[:5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2 3\na 1 2 3\nb 1 2\n", "x.vec:3 is not a word and 3 numbers"),
        ("a 1 2\nb 1 x\n", "x.vec:2 is not a word and 2 numbers"),
        ("3 2\na 1 2\nb 1 2\n", "is not whole"),
        ("", "is not whole"),
        ("\n", "x.vec:1 is not a word"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.vec").write_text(text)
    with pytest.raises(DataError, match=message):
        WordVectors.load(tmp_path / "x.vec")


def test_damaged_folders_are_named(drawn: WordVectors, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        WordVectors.load(tmp_path / "none")
    (tmp_path / "binary.bin").write_bytes(b"3 2\nking \xff\xfe\xfa")
    with pytest.raises(DataError, match="is not text"):
        WordVectors.load(tmp_path / "binary.bin")
    drawn.save(tmp_path / "v")
    (tmp_path / "v" / "vectors.json").write_text("[]")
    with pytest.raises(DataError, match="vectors.json is not what training writes"):
        WordVectors.load(tmp_path / "v")
    (tmp_path / "v" / "vectors.json").write_text('{"subwords": {"min_n": 3, "max_n": 6, "buckets": 9, "jamo": false}}')
    with pytest.raises(DataError, match="subwords.safetensors is not what training writes"):
        WordVectors.load(tmp_path / "v")


def test_questions_by_the_published_format(tmp_path: Path, by_hand: WordVectors) -> None:
    path = tmp_path / "q.txt"
    path.write_text(": family\nMan King Woman Queen\nman king woman hat\n\n: empty\n: other\nman king boy girl\n")
    assert list(read_questions(path)) == ["family", "other"]
    first, second = score(by_hand, read_questions(path))
    assert (first.correct, first.asked, first.accuracy) == (1, 2, 0.5) and (second.asked, second.questions) == (0, 1)
    path.write_text(": family\nman king woman\n")
    with pytest.raises(DataError, match="q.txt:2 is not a question"):
        read_questions(path)
    path.write_text(": family\n")
    with pytest.raises(DataError, match="holds no questions"):
        read_questions(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_questions(tmp_path / "none")
