"""GloVe (Pennington et al. 2014): word vectors whose products are the logarithms of co-occurrence counts.

Shapes: V words, D numbers in a vector, B cells of a step. A table is (V, D + 2): in the first the vector, its bias and
a one, in the second the vector, a one and its bias, so that a row of one times a row of the other is
w_i·w̃_j + b_i + b̃_j.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from seodang.vectors.cooccurrence import Cooccurrences

BLOCK, POOL, BATCH = 1024, 1024, 512
"""Cells that stay together in the shuffle, blocks that are mixed with one another, cells of a step."""


def weight(x: Tensor, x_max: float = 100.0, alpha: float = 0.75) -> Tensor:
    """f(x) = (x/x_max)^α below x_max, 1 above (Pennington et al. 2014, eq. 9)."""
    return (x / x_max).clamp(max=1) ** alpha


def glove_loss(products: Tensor, x: Tensor) -> Tensor:
    """J = Σ f(X_ij)(w_i·w̃_j + b_i + b̃_j − log X_ij)² (eq. 8), the sums in the brackets given as `products` (B,)."""
    return (weight(x) * (products - x.log()) ** 2).sum()


class Glove:
    """The two tables and AdaGrad's sums of squares, which begin at 1 as in the authors' program."""

    def __init__(self, n_words: int, dimension: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.tables = [
            (torch.rand(n_words, dimension + 2, generator=generator) - 0.5) / (dimension + 1) for _ in range(2)
        ]
        self.squares = [torch.ones(n_words, dimension + 2) for _ in range(2)]
        self.ones = (dimension + 1, dimension)  # the column of each table that stays 1
        for table, column in zip(self.tables, self.ones, strict=True):
            table[:, column] = 1

    def step(self, rows: Tensor, columns: Tensor, x: Tensor, learning_rate: float) -> float:
        """One AdaGrad step on each of B cells, taken together; returns their J before it.

        The gradient is that of J/2, as in the authors' program. A word's squares of the whole step are added before
        any of its cells moves it, so that a frequent word does not overshoot.
        """
        pairs = [self.tables[0].index_select(0, rows), self.tables[1].index_select(0, columns)]  # (B, D + 2) each
        products = torch.einsum("bd,bd->b", *pairs)
        slope = weight(x) * (products - x.log())  # (B,)
        for side, index in enumerate((rows, columns)):
            gradient = pairs[1 - side] * slope[:, None]
            gradient[:, self.ones[side]] = 0
            self.squares[side].index_add_(0, index, gradient * gradient)
            gradient *= self.squares[side].index_select(0, index).rsqrt_()
            self.tables[side].index_add_(0, index, gradient, alpha=-learning_rate)
        return float(glove_loss(products, x))

    def vectors(self) -> np.ndarray:
        """w + w̃ (V, D) (sec. 4.2)."""
        return (self.tables[0] + self.tables[1])[:, :-2].numpy()


def train_glove(
    counts: Cooccurrences,
    *,
    dimension: int,
    epochs: int,
    learning_rate: float,
    seed: int,
    progress: Callable[[int, float], None] = lambda epoch, loss: None,
) -> tuple[np.ndarray, list[float]]:
    """Vectors (V, D) and J per cell of each epoch, both halves of X counted. The same seed gives the same vectors.

    `progress` is called after each epoch with its number, from 1, and its loss.
    """
    model, losses = Glove(counts.n_words, dimension, seed), []
    for epoch in range(epochs):
        total, n_cells = 0.0, 0
        for a, b, x in _shuffled(counts, np.random.default_rng([seed, epoch])):
            other = a != b  # a cell on the diagonal has no mirror image
            rows, columns, both = torch.cat([a, b[other]]), torch.cat([b, a[other]]), torch.cat([x, x[other]])
            total += model.step(rows, columns, both, learning_rate)
            n_cells += len(both)
        losses.append(total / max(n_cells, 1))
        progress(epoch + 1, losses[-1])
    return model.vectors(), losses


def _shuffled(counts: Cooccurrences, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Every cell once, in steps of BATCH / 2: blocks in random order, the cells of POOL blocks mixed."""
    n_cells = len(counts.keys)
    blocks = rng.permutation(-(-n_cells // BLOCK))
    for start in range(0, len(blocks), POOL):
        places = (np.sort(blocks[start : start + POOL])[:, None] * BLOCK + np.arange(BLOCK)).ravel()
        a, b, x = counts.cells(places[places < n_cells])
        order = rng.permutation(len(a))
        for first in range(0, len(order), BATCH // 2):
            chosen = order[first : first + BATCH // 2]
            yield torch.from_numpy(a[chosen]), torch.from_numpy(b[chosen]), torch.from_numpy(x[chosen])
