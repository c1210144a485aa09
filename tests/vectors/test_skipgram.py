"""Skip-gram with negative sampling: the equations by hand, and what gensim computes against them."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seodang.errors import DataError, SeodangError, UsageError
from seodang.vectors.options import VectorsOptions
from seodang.vectors.skipgram import keep_probability, noise_distribution, skipgram_loss
from seodang.vectors.train import train_vectors
from tests.vectors.corpus import PAIRS, sentences


@pytest.fixture
def models() -> Any:
    """gensim's; without it (it has no wheels for the newest Python at once) only what needs it is skipped."""
    return pytest.importorskip("gensim.models")


def test_loss_by_hand() -> None:
    """v·u = 0 and the noise's products 1 and −2: log 2 + log(1 + e) + log(1 + e^−2)."""
    centre, context = np.array([[1.0, 2.0]]), np.array([[0.5, -0.25]])
    noise = np.array([[[1.0, 0.0], [0.0, -1.0]]])
    expected = math.log(2) + math.log(1 + math.e) + math.log(1 + math.exp(-2))
    assert skipgram_loss(centre, context, noise) == pytest.approx([expected])
    assert skipgram_loss(centre * 1000, -context - 1, noise)[0] == pytest.approx(3000 + 1000)  # and no overflow


def test_noise_is_the_unigram_to_three_quarters() -> None:
    """16^¾ = 8, 81^¾ = 27, 1: of 36."""
    assert noise_distribution(np.array([81, 16, 1])) == pytest.approx([27 / 36, 8 / 36, 1 / 36])


def test_keep_probability_by_hand() -> None:
    """f = 0.01 and t = 0.0025: √¼ + ¼."""
    kept = keep_probability(np.array([99, 1]), 0.0025)
    assert kept[1] == pytest.approx(0.75)
    assert kept[0] == pytest.approx(math.sqrt(0.0025 / 0.99) + 0.0025 / 0.99)
    assert keep_probability(np.array([99, 1]), 0.5).tolist() == [1, 1]
    assert keep_probability(np.array([99, 1]), 0).tolist() == [1, 1]


def test_gensims_tables_are_these(models: Any) -> None:
    counts = {"the": 81, "of": 16, "law": 1}
    model = models.Word2Vec(sg=1, min_count=1, sample=0.01, negative=5, vector_size=4)
    model.build_vocab_from_freq(dict(counts))
    assert model.wv.index_to_key == list(counts)
    table = np.diff(model.cum_table, prepend=0) / model.cum_table[-1]
    assert table == pytest.approx([27 / 36, 8 / 36, 1 / 36], abs=1e-6)
    kept = [model.wv.get_vecattr(word, "sample_int") / 2**32 for word in counts]
    assert kept == pytest.approx(keep_probability(np.array([81, 16, 1]), 0.01), rel=1e-6)


def test_gensims_step_goes_down_the_gradient_of_the_loss(models: Any, tmp_path: Path) -> None:
    """One sentence of two words is two pairs; with all noise on the third word the step has no chance left in it."""
    path = tmp_path / "words.txt"
    path.write_text("a b\n")
    model = models.Word2Vec(sg=1, min_count=1, sample=0, negative=5, vector_size=8, window=1, workers=1,
                            sorted_vocab=0, alpha=1e-3, min_alpha=1e-3, seed=1)
    model.build_vocab_from_freq({"a": 1, "b": 1, "c": 1})
    model.cum_table[:2] = 0
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(3, 8)).astype(np.float32)
    outputs = rng.normal(size=(3, 8)).astype(np.float32) / 2
    model.wv.vectors[:], model.syn1neg[:] = inputs, outputs
    model.train(corpus_file=str(path), total_words=2, epochs=1)

    v, u = (torch.tensor(table, dtype=torch.float64, requires_grad=True) for table in (inputs, outputs))
    products = v[:2] @ u.T
    wanted = torch.stack([products[0, 1], products[1, 0]])
    loss = -torch.nn.functional.logsigmoid(wanted).sum() - 5 * torch.nn.functional.logsigmoid(-products[:, 2]).sum()
    ours = skipgram_loss(inputs[:2], outputs[[1, 0]], np.repeat(outputs[None, [2]], 5, 1).repeat(2, 0))
    assert ours.sum() == pytest.approx(loss.item(), rel=1e-6)
    gradients = torch.autograd.grad(loss, (v, u))
    for before, after, gradient in zip((inputs, outputs), (model.wv.vectors, model.syn1neg), gradients, strict=True):
        # gensim looks the sigmoid up in a table of 1,000 steps and moves after each of the five noise words
        np.testing.assert_allclose((before - after) / 1e-3, gradient.numpy(), atol=0.06)
        assert np.abs(gradient.numpy()).max() > 1


def test_training_learns_and_one_worker_repeats_itself(models: Any) -> None:
    options = VectorsOptions(dimension=24, min_count=1, epochs=5, sample=0, seed=3)
    said: list[str] = []
    first, second = (train_vectors(sentences(), options, said.append) for _ in range(2))
    assert first.words == second.words and np.array_equal(first.matrix, second.matrix)
    assert not np.array_equal(first.matrix, train_vectors(sentences(100), options).matrix[: len(first.words)])
    untrained = (1 + options.negative) * math.log(2)
    assert first.about["loss_per_pair"] < 0.75 * untrained
    answers = [first.analogy("man", man, "woman", 1)[0][0] for man in PAIRS if man != "man"]
    assert answers == [woman for woman in PAIRS.values() if woman != "woman"]
    assert first.about["words_per_second"] > 0 and first.about["window"] == 5 and said.count("epoch 5 of 5") == 2


def test_several_workers_learn_too(models: Any) -> None:
    options = VectorsOptions(dimension=24, min_count=1, epochs=10, sample=0, workers=3)
    assert train_vectors(sentences(), options).about["loss_per_pair"] < 0.75 * 6 * math.log(2)


@pytest.mark.parametrize(("change", "message"), [({"dimension": 0}, "--dimension 0"), ({"max_n": 2}, "--max-n 2"),
                                                 ({"sample": -1.0}, "--sample -1"), ({"window": 0}, "--window 0"),
                                                 ({"learning_rate": 0.0}, "--learning-rate 0")])
def test_numbers_that_mean_nothing_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train_vectors(["a b"], VectorsOptions(**change))  # type: ignore[arg-type]


def test_too_little_text_and_no_gensim_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="0 words to learn"):
        train_vectors(["a b a b"], VectorsOptions())
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(SeodangError, match="gensim is not installed"):
        train_vectors(["a b a b"], VectorsOptions(min_count=1))
