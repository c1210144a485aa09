"""The one interface between models and training: a loss is a few named sums, each with its weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class Term:
    """One summand of a loss.

    sum: scalar, in nats, with gradient. weight: how many things were summed (tokens, pairs, examples).
    coefficient: what the mean enters the total with, λ in L3 = L2 + λ·L1; 0 for what is only measured beside the
    loss, such as an accuracy, which needs no weight in `Objective.weights`.
    """

    sum: Tensor
    weight: float
    coefficient: float = 1.0


class Loss(dict[str, Term]):
    """Terms by name. Sums and weights add over micro-batches and ranks; only then is divided, once."""

    def total(self, weights: dict[str, float]) -> Tensor:
        """Σ coefficient · sum / weight, with the weights of the whole step: the scalar to differentiate."""
        entering = {name: term for name, term in self.items() if term.coefficient}
        parts = [term.coefficient * term.sum / weights[name] for name, term in entering.items() if weights[name] > 0]
        return sum(parts[1:], start=parts[0]) if parts else sum(term.sum * 0 for term in entering.values())  # type: ignore[return-value]


class Objective(Protocol):
    """A callable `(model, batch) -> Loss` that knows its weights from the batch alone.

    The step must know the weights of all micro-batches before the first backward pass: with two terms of
    different weights, no division afterwards could put it right.
    """

    def weights(self, batch: Any) -> dict[str, float]:
        """What each term of this batch will weigh."""
        ...

    def __call__(self, model: Any, batch: Any) -> Loss:
        """The loss of this batch."""
        ...
