"""Vocabularies learned from text: deterministic, within memory, equal to the plain reference, ties included."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seodang.errors import DataError, UsageError
from seodang.text.counts import _CHUNK, count_words, texts_of
from seodang.text.reference_bpe import Merge, encode_word, learn_bpe
from seodang.text.train import learn_merges, train_tokenizer, word_end_symbols

WORKED = {"low": 5, "lower": 2, "newest": 6, "widest": 3}


def library_merges(counts: dict[str, int], n_merges: int, word_end: bool) -> list[tuple[str, str]]:
    cut = word_end_symbols if word_end else list
    symbols = {symbol for word in counts for symbol in cut(word)}
    alphabet = sorted(symbols, key=lambda symbol: (len(symbol), symbol))
    _, merges = learn_merges(Counter(counts), cut, alphabet, len(alphabet) + n_merges, 1)
    return [("".join(left), "".join(right)) for left, right in merges]


def test_the_worked_example() -> None:
    merges = learn_bpe(WORKED, 4)
    assert merges == [Merge("e", "s", 9), Merge("es", "t", 9), Merge("l", "o", 7), Merge("lo", "w", 7)]
    assert encode_word("lowest", merges) == ["low", "est"]
    assert library_merges(WORKED, 4, word_end=False) == [(merge.left, merge.right) for merge in merges]


@pytest.mark.parametrize("word_end", [False, True])
@settings(max_examples=120, deadline=None)
@given(st.dictionaries(st.text("abcd각낙", min_size=1, max_size=9), st.integers(1, 6), min_size=1, max_size=12))
def test_reference_equals_the_library(word_end: bool, counts: dict[str, int]) -> None:
    """Small counts over few letters: nearly every step is a tie, and runs such as aaa overlap."""
    ours = [(merge.left, merge.right) for merge in learn_bpe(counts, 40, word_end=word_end)]
    theirs = library_merges(counts, 40, word_end)
    assert ours[: len(theirs)] == theirs
    # the library counts entries, not merges: one that spells an entry again costs it nothing, so it may go on
    assert len(theirs) <= len(ours) or len({"".join(pair) for pair in theirs}) < len(theirs)


def test_reference_equals_the_library_on_running_text(lines: list[str]) -> None:
    counts = Counter(" ".join(lines).split())
    ours = [(merge.left, merge.right) for merge in learn_bpe(counts, 100, word_end=True)]
    assert library_merges(dict(counts), 100, word_end=True)[:100] == ours


def test_a_learned_vocabulary_encodes_as_the_reference(lines: list[str]) -> None:
    text = "low lower lowest newest widest river rivers"
    tokenizer = train_tokenizer([text] * 3, kind="bpe-word-end", vocab_size=60)
    counts = Counter({word: 3 * n for word, n in Counter(text.split()).items()})
    merges = learn_bpe(counts, 200, word_end=True, min_count=2)
    model = json.loads(tokenizer._backend.to_str())["model"]
    learned = merges[: len(model["merges"])]
    assert [tuple(merge) for merge in model["merges"]] == [(merge.left, merge.right) for merge in learned]
    for word in [*counts, "slower", "test", "tide"]:
        assert [tokenizer.token_of(id) for id in tokenizer.encode(word)] == encode_word(word, learned, word_end=True)


@pytest.mark.parametrize("kind", ["bpe", "bpe-word-end", "wordpiece", "unigram", "word", "char"])
def test_the_same_text_gives_the_same_vocabulary_in_every_process(kind: str, lines: list[str], tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("\n".join(lines), "utf-8")
    here = train_tokenizer(file, kind=kind, vocab_size=350).fingerprint()  # type: ignore[arg-type]
    assert here == train_tokenizer([file], kind=kind, vocab_size=350).fingerprint()  # type: ignore[arg-type]
    if kind in ("bpe-word-end", "wordpiece", "unigram"):  # the library's trainers differ here each time
        code = (
            "import sys; from pathlib import Path; from seodang.text.train import train_tokenizer;"
            "print(train_tokenizer(Path(sys.argv[1]), kind=sys.argv[2], vocab_size=350).fingerprint())"
        )
        other = subprocess.run([sys.executable, "-c", code, file, kind], capture_output=True, text=True, check=True)
        assert other.stdout.strip() == here


def test_kinds_do_what_they_are_compared_for(lines: list[str]) -> None:
    word, char, piece = (train_tokenizer(lines, kind=kind, vocab_size=300) for kind in ("word", "char", "wordpiece"))
    assert word.decode(word.encode("The unseen river")) == "The <|unk|> river"
    assert word.encode("unseen") == [word.unk_id]
    assert char.decode(char.encode(lines[1])) == lines[1] and len(char.encode(lines[1])) == len(lines[1])
    assert piece.decode(piece.encode("lower lowest")) == "lower lowest"
    assert all(tokenizer.pad_id == 1 != tokenizer.eos_id for tokenizer in (word, char, piece))


def test_nfc_makes_jamo_and_syllables_the_same() -> None:
    text = "한국어 한국어"
    apart = unicodedata.normalize("NFD", text)
    one, other = train_tokenizer([text], vocab_size=270), train_tokenizer([apart], vocab_size=270)
    assert one.fingerprint() == other.fingerprint() and one.encode(text) == one.encode(apart)
    assert train_tokenizer([apart], vocab_size=270, nfc=False).fingerprint() != one.fingerprint()


def test_lowercase_is_learned_and_kept() -> None:
    tokenizer = train_tokenizer(["LOW low Low"], vocab_size=262, lowercase=True)
    assert tokenizer.decode(tokenizer.encode("LOW")) == "low" and len(tokenizer.encode("LOW")) == 1


def test_counts_are_exact_until_they_do_not_fit() -> None:
    generator = random.Random(0)
    text = " ".join(["the of and"] * 500 + ["".join(generator.choices("abcdefgh", k=8)) for _ in range(5000)])
    exact = count_words([text], max_words=10_000)
    assert exact[" of"] == 500 and exact == Counter(re.findall(r" ?[^ ]+", text))
    few = count_words([text], max_words=1000)
    assert len(few) <= 1000 and few[" of"] == 500
    unspaced = count_words(["가나다라마바사아" * 100_000], max_words=1000)
    assert unspaced and max(map(len, unspaced)) <= 48 * 2


def test_pruning_keeps_a_sample_of_the_rarest() -> None:
    """Unspaced scripts make nearly every run unique; dropping all of them would drop the language."""
    generator = random.Random(0)
    runs = ["".join(generator.choices("天地玄黃宇宙洪荒日月盈昃", k=40)) for _ in range(3000)]
    kept = count_words([" ".join(runs)], max_words=1000)
    assert 400 <= len(kept) <= 500  # down to half the room, to make place for what comes


def test_files_are_read_in_whole_characters(tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    text = "가나다라 마바사 " * (_CHUNK // 10) + "각" * 50
    file.write_text(text, "utf-8")
    parts = list(texts_of(file))
    assert len(parts) > 1 and "".join(parts) == text


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_memory_is_bounded_by_max_ram(kind: str) -> None:
    """Text that never repeats a word, and text without spaces, learned in a process that must stay small."""
    code = """
import random, resource, sys
from seodang.text.train import train_tokenizer
train_tokenizer(["warm up the library and its imports"], sys.argv[1], 300)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
generator = random.Random(0)
def texts():
    for _ in range(10):
        yield " ".join("%013x" % generator.getrandbits(52) for _ in range(70_000))
        yield "".join(map(chr, generator.choices(range(0xAC00, 0xD7A4), k=300_000)))
train_tokenizer(texts(), sys.argv[1], 300, max_ram=30_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    pytest.importorskip("resource")
    result = subprocess.run([sys.executable, "-c", code, kind], capture_output=True, text=True, check=True)
    grown = int(result.stdout) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 90_000_000  # 700,000 words at 1.2 kB each would be 840 MB


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        ("가나\n".encode() + "다라".encode("cp949"), "text.txt:2 is not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_bad_files_are_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        train_tokenizer(file)


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="256 bytes"):
        train_tokenizer(["text"], vocab_size=259)
    assert train_tokenizer(["text"], vocab_size=260).vocab_size == 260
    with pytest.raises(UsageError, match="did you mean 'wordpiece'"):
        train_tokenizer(["text"], kind="word-piece")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no text"):
        train_tokenizer([])
    with pytest.raises(DataError, match="not a plain text file"):
        train_tokenizer(tmp_path / "rows.jsonl")
