"""GloVe: f, J and the counts by hand, the step against autograd, and training."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from seodang.vectors import cooccurrence
from seodang.vectors.cooccurrence import count_cooccurrences
from seodang.vectors.glove import Glove, _shuffled, glove_loss, train_glove, weight
from seodang.vectors.options import VectorsOptions
from seodang.vectors.train import train_vectors
from tests.vectors.corpus import PAIRS, sentences


def dense(counts: cooccurrence.Cooccurrences) -> np.ndarray:
    a, b, x = counts.cells(slice(None))
    matrix = np.zeros((counts.n_words, counts.n_words))
    matrix[a, b] = matrix[b, a] = x
    return matrix


def plain(lines: list[list[str]], words: list[str], window: int) -> np.ndarray:
    """X by the book: every pair of places, one by one."""
    matrix = np.zeros((len(words), len(words)))
    for line in lines:
        known = [words.index(word) for word in line if word in words]
        for i, centre in enumerate(known):
            for j in range(max(0, i - window), min(len(known), i + window + 1)):
                if j != i:
                    matrix[centre, known[j]] += 1 / abs(i - j)
    return matrix


def test_weight_by_hand() -> None:
    """f(16) = (16/100)^¾; above 100 it is 1."""
    assert weight(torch.tensor([16.0, 100.0, 1e6])).tolist() == pytest.approx([0.4**1.5, 1, 1])
    assert weight(torch.tensor([2.0]), x_max=32, alpha=0.5).item() == pytest.approx(0.25)


def test_loss_by_hand() -> None:
    """f(100)(2 − log 100)² + f(1)(−1 − 0)²"""
    expected = (2 - math.log(100)) ** 2 + 0.01**0.75
    assert glove_loss(torch.tensor([2.0, -1.0]), torch.tensor([100.0, 1.0])).item() == pytest.approx(expected)


def test_counts_by_hand(tmp_path: Path) -> None:
    """a b a c: the two a are 2 apart; x is no word of the vocabulary and does not take a place; lines do not touch."""
    vocabulary = {"a": 3, "b": 2, "c": 1}
    counts = count_cooccurrences([["a", "b", "x", "a", "c"], ["b"]], vocabulary, 2, tmp_path)
    assert dense(counts).tolist() == [[1.0, 2.0, 1.0], [2.0, 0.0, 0.5], [1.0, 0.5, 0.0]]
    assert counts.keys.tolist() == [0, 1, 2, 5]


@pytest.mark.parametrize(("chunk", "part"), [(10**6, 10**6), (50, 10**6), (50, 40)])
def test_parts_add_up_to_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, part: int
) -> None:
    monkeypatch.setattr(cooccurrence, "CHUNK", chunk)
    monkeypatch.setattr(cooccurrence, "PART", part)
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(40)]
    lines = [[words[place] for place in rng.integers(0, 40, size)] for size in rng.integers(0, 30, 60)]
    vocabulary = {word: 1 for word in words[:35]}
    counts = count_cooccurrences(lines, vocabulary, 4, tmp_path)
    np.testing.assert_allclose(dense(counts), plain(lines, words[:35], 4), rtol=1e-5)
    assert np.all(np.diff(counts.keys) > 0)


def test_a_step_is_adagrad_on_the_gradient_of_half_the_loss() -> None:
    """Cells that share no word, so that a step of three is three steps of one."""
    model = Glove(8, 5, seed=0)
    rows, columns, x = torch.tensor([0, 3, 6]), torch.tensor([1, 4, 6]), torch.tensor([0.5, 20.0, 500.0])
    w, c = (table.clone().double() for table in model.tables)
    vectors = [w[:, :5].requires_grad_(), c[:, :5].requires_grad_(), w[:, 5].requires_grad_(), c[:, 6].requires_grad_()]
    products = (vectors[0][rows] * vectors[1][columns]).sum(-1) + vectors[2][rows] + vectors[3][columns]
    loss = glove_loss(products, x.double())
    gradients = torch.autograd.grad(loss / 2, vectors)
    before = [model.tables[0].clone(), model.tables[1].clone()]
    assert model.step(rows, columns, x, 0.05) == pytest.approx(loss.item(), rel=1e-5)
    after = [model.tables[0][:, :5], model.tables[1][:, :5], model.tables[0][:, 5], model.tables[1][:, 6]]
    old = [before[0][:, :5], before[1][:, :5], before[0][:, 5], before[1][:, 6]]
    for new, was, gradient in zip(after, old, gradients, strict=True):
        torch.testing.assert_close(new - was, (-0.05 * gradient / (1 + gradient**2).sqrt()).float(), atol=1e-6, rtol=0)
    assert model.tables[0][:, 6].tolist() == model.tables[1][:, 5].tolist() == [1.0] * 8
    assert model.vectors() == pytest.approx((model.tables[0] + model.tables[1])[:, :5].numpy())


def test_an_epoch_visits_every_cell_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [[str(number) for number in rng.integers(0, 90, 50)] for _ in range(80)]
    counts = count_cooccurrences(lines, {str(number): 1 for number in range(90)}, 8, tmp_path)
    assert len(counts.keys) > 2 * 1024
    seen = torch.cat([a * 90 + b for a, b, _ in _shuffled(counts, rng)])
    assert not torch.equal(seen, seen.sort().values) and seen.sort().values.tolist() == counts.keys.tolist()


def test_products_become_the_logarithms_of_the_counts(tmp_path: Path) -> None:
    """With more numbers than words the weighted least squares can be solved exactly."""
    rng = np.random.default_rng(0)
    lines = [[str(number) for number in rng.geometric(0.3, 12)] for _ in range(300)]
    counts = count_cooccurrences(lines, {str(number): 1 for number in range(1, 9)}, 5, tmp_path)
    _, losses = train_glove(counts, dimension=10, epochs=300, learning_rate=0.05, seed=0)
    assert losses[-1] < 1e-3 * losses[0]


def test_training_learns_and_repeats_itself() -> None:
    options = VectorsOptions(kind="glove", dimension=16, min_count=1, epochs=200, window=4)
    said: list[str] = []
    first, second = train_vectors(sentences(), options, said.append), train_vectors(sentences(), options)
    assert np.array_equal(first.matrix, second.matrix)
    assert "epoch 200 of 200: J is" in said[-1] and f"{first.about['pairs']:,} pairs" in said[1]
    answers = [first.analogy("man", man, "woman", 1)[0][0] for man in PAIRS if man != "man"]
    assert answers == [woman for woman in PAIRS.values() if woman != "woman"]
    assert first.about["loss_per_cell"] < 0.2
