"""Words of a text, and how they are counted and written."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from seodang.vectors.words import LINE, read_lines, vocabulary_of, words_of, write_words


def test_words_are_what_spaces_and_punctuation_leave() -> None:
    assert words_of("“Don't,” she said--twice: 'well_known'. It's 1812.") == [
        "don't", "she", "said", "twice", "well", "known", "it's", "1812"
    ]
    assert words_of("King", lowercase=False) == ["King"]
    assert words_of(unicodedata.normalize("NFD", "학교에서, 배웠습니다.")) == ["학교에서", "배웠습니다"]


def test_lines_are_short_and_no_word_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    counts = write_words(["a " * (LINE + 1), "b a.", "..."], path, lowercase=True, jamo=False)
    assert counts == {"a": LINE + 2, "b": 1}
    assert [len(line) for line in read_lines(path)] == [LINE, 1, 2]
    write_words(["학교"], path, lowercase=True, jamo=True)
    assert list(read_lines(path)) == [[unicodedata.normalize("NFD", "학교")]] and len(next(read_lines(path))[0]) == 5


def test_the_vocabulary_is_in_order_of_count_and_then_of_the_alphabet(tmp_path: Path) -> None:
    counts = write_words(["c b a b c d"], tmp_path / "words.txt", lowercase=True, jamo=False)
    assert list(vocabulary_of(counts, 1).items()) == [("b", 2), ("c", 2), ("a", 1), ("d", 1)]
    assert list(vocabulary_of(counts, 2)) == ["b", "c"]
