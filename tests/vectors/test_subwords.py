"""fastText's n-grams and hash by hand and against gensim's; unseen words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seodang.vectors.options import VectorsOptions
from seodang.vectors.subwords import Subwords, bucket, ngrams
from seodang.vectors.train import train_vectors
from seodang.vectors.word_vectors import WordVectors
from tests.vectors.corpus import korean


def test_the_papers_example() -> None:
    """where with n = 3: <wh, whe, her, ere, re>; and the whole, <where>, is no n-gram of 6 characters or fewer."""
    assert ngrams("where", 3, 3) == ["<wh", "whe", "her", "ere", "re>"]
    assert len(ngrams("where", 3, 6)) == 5 + 4 + 3 + 2
    assert ngrams("a", 1, 3) == ["<a", "<a>", "a", "a>"]
    assert ngrams("", 3, 6) == []


def test_hash_by_hand() -> None:
    """The published FNV-1a values of no bytes and of `a`; a byte of 128 or more is sign-extended first."""
    assert bucket("", 2**32) == 0x811C9DC5 and bucket("a", 2**32) == 0xE40C292C
    value = 0x811C9DC5
    for byte in "가".encode():
        value = ((value ^ (0xFFFFFF00 | byte)) * 0x01000193) % 2**32
    assert bucket("가", 2**32) == value and bucket("가", 1000) == value % 1000


def test_equal_to_gensims() -> None:
    inner = pytest.importorskip("gensim.models.fasttext_inner")
    for word in ("where", "a", "학교에서", "naïve", "\u1112\u1161\u11a8", "x" * 30):
        for sizes in ((3, 6), (1, 4), (5, 5)):
            theirs = [part.decode() for part in inner.compute_ngrams_bytes(word, *sizes)]
            assert ngrams(word, *sizes) == theirs
            assert [bucket(part, 2**32) for part in theirs] == [inner.ft_hash_bytes(part.encode()) for part in theirs]


def test_the_mean_of_what_is_known() -> None:
    """Of `<ab` and `ab>` only the first has been seen: half its vector."""
    known = bucket("<ab", 10**6)
    subwords = Subwords(3, 3, 10**6, False, np.array([known]), np.array([[4.0, -2.0]], dtype=np.float32))
    assert subwords.vector("ab").tolist() == [2.0, -1.0]
    assert subwords.vector("zz").tolist() == [0.0, 0.0]
    assert subwords.vector("").tolist() == [0.0, 0.0]


@pytest.mark.parametrize("jamo", [False, True])
def test_an_unseen_form_is_near_its_stem(tmp_path: Path, jamo: bool) -> None:
    pytest.importorskip("gensim")
    options = VectorsOptions(kind="fasttext", dimension=16, min_count=1, epochs=5, buckets=5000, jamo=jamo, sample=0)
    trained = train_vectors(korean(), options)
    assert "학교까지" not in trained and "학교에서" in trained
    trained.save(tmp_path / "v")
    loaded = WordVectors.load(tmp_path / "v")
    for vectors in (trained, loaded):
        best = [word for word, _ in vectors.neighbours("학교까지", 4)]
        assert all(word.startswith("학교") or word.endswith("까지") for word in best), best
        assert sum(word.startswith("학교") for word in best) >= 2
    assert np.array_equal(trained.vector("학교까지"), loaded.vector("학교까지")) and loaded.vector("학교까지").any()


def test_vectors_equal_gensims(tmp_path: Path) -> None:
    """Words of the vocabulary as gensim composes them; unseen words as gensim does where it has untrained rows of 0."""
    models = pytest.importorskip("gensim.models")
    path = tmp_path / "words.txt"
    path.write_text("the lower river\nthe lowest river\n" * 50)
    from seodang.vectors.skipgram import _subwords

    model = models.FastText(sg=1, min_count=1, vector_size=8, bucket=700, workers=1)
    model.build_vocab_from_freq({"the": 100, "river": 100, "lower": 50, "lowest": 50})
    model.train(corpus_file=str(path), total_words=300, epochs=1)
    options = VectorsOptions(kind="fasttext", dimension=8, buckets=700)
    ours = WordVectors(model.wv.index_to_key, model.wv.vectors, subwords=_subwords(model, options))
    untrained = np.setdiff1d(np.arange(700), ours.subwords.ids)  # type: ignore[union-attr]
    model.wv.vectors_ngrams[untrained] = 0
    for word in ("lower", "low", "riverbank", "qx"):
        np.testing.assert_allclose(ours.vector(word), model.wv.get_vector(word), atol=1e-6)
    rows = [bucket(part, 700) for part in ngrams("lower", 3, 6)]
    row = model.wv.vectors_vocab[model.wv.key_to_index["lower"]] + model.wv.vectors_ngrams[rows].sum(0)
    np.testing.assert_allclose(ours.vector("lower"), row / (1 + len(ngrams("lower", 3, 6))), atol=1e-6)
