"""DoLa: the next token by what the last layer says beyond an early one (Chuang et al. 2024, *DoLa: Decoding by
Contrasting Layers Improves Factuality in Large Language Models*, ICLR).

Every candidate layer's state goes through the final norm and the output matrix (an early exit). Of each row's
candidates the one whose distribution is farthest from the last layer's is chosen, anew for every token, and the
logarithms of the two are subtracted. A row's choice is its own, whatever stands beside it.

Shapes: B rows, V vocabulary, J candidate layers, T tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from seodang.errors import UsageError
from seodang.inference.sampling import NEVER
from seodang.models.base import Model
from seodang.models.decoder import Decoder

ALPHA = 0.1
"""Sec. 3.1: how probable a token must be to the last layer, relative to the most probable one."""
REPETITION_PENALTY = 1.2
"""Sec. 3.1: as the contrast tends to repeat itself."""


def divergences(mature: Tensor, early: Tensor) -> Tensor:
    """Jensen–Shannon divergence (J, B), in nats, of each candidate's distribution from the last layer's (sec. 2.2).

    mature (B, V) and early (J, B, V) are logits; a token that is -inf in `mature` counts in neither.
    """
    p, q = mature.softmax(-1), early.masked_fill(mature == NEVER, NEVER).softmax(-1)
    mean = (p + q) / 2

    def relative_entropy(of: Tensor) -> Tensor:
        return (torch.xlogy(of, of) - torch.xlogy(of, mean)).sum(-1)

    return (relative_entropy(p) + relative_entropy(q)) / 2


def plausible(mature: Tensor, alpha: float = ALPHA) -> Tensor:
    """V_head (B, V; bool): the tokens at least `alpha` times as probable as the most probable one (sec. 2.3)."""
    log_p = mature.log_softmax(-1)
    return log_p >= log_p.max(-1, keepdim=True).values + torch.tensor(alpha, dtype=log_p.dtype).log().item()


def contrast(mature: Tensor, premature: Tensor, alpha: float = ALPHA) -> Tensor:
    """F (B, V): log q_N / q_M of the plausible tokens, -inf of all others (sec. 2.3); both are logits (B, V)."""
    premature = premature.masked_fill(mature == NEVER, NEVER)
    difference = mature.log_softmax(-1) - premature.log_softmax(-1)
    return torch.where(plausible(mature, alpha), difference, NEVER)


def by_dynamic_layer(mature: Tensor, early: Tensor, alpha: float = ALPHA) -> Tensor:
    """F (B, V) with each row's premature layer chosen among `early` (J, B, V) by the largest divergence (sec. 2.2)."""
    chosen = divergences(mature, early).argmax(0)
    return contrast(mature, early[chosen, torch.arange(len(chosen), device=early.device)], alpha)


def candidates(choice: str | Sequence[int], n_layers: int, tied: bool) -> tuple[int, ...]:
    """The candidate layers that a choice means: numbers from 0 (the embedding) to `n_layers` - 1.

    "low" and "high" are every second layer of the lower and the upper half (sec. 3.1; of models beyond 40 layers the
    first and last 20). With tied embeddings low begins at layer 2, as the exit at the embedding says the token itself.
    Raises UsageError for other words and for layers that do not exist.
    """
    half = n_layers // 2 if n_layers <= 40 else 20
    if choice == "low":
        first = (2 if n_layers > 2 else n_layers - 1) if tied else 0
        return tuple(range(first, max(half, first + 1), 2))
    if choice == "high":
        return tuple(range(n_layers - half if n_layers > 40 else half, n_layers, 2))
    numbers = tuple(choice) if not isinstance(choice, str) else tuple(_numbers(choice))
    wrong = [number for number in numbers if not 0 <= number < n_layers]
    if wrong or not numbers:
        raise UsageError(
            f"dola = {choice!r}",
            f"layer {wrong[0]} is none of 0 (the embedding) to {n_layers - 1}" if wrong else "it names no layer",
            f"contrast with low, high, or layers below the last one, which is {n_layers}",
        )
    return numbers


def _numbers(text: str) -> Iterator[int]:
    for part in text.split(","):
        try:
            yield int(part)
        except ValueError:
            why = "it is neither low, high nor a list of layers"
            raise UsageError(f"dola = {text!r}", why, "write --dola 2,4,6") from None


class EarlyExits:
    """What the candidate layers of a decoder say about the newest token of each row.

    Raises UsageError for models that are no decoder, and for layers that they do not have.
    """

    def __init__(self, model: Model, choice: str | Sequence[int]) -> None:
        if not isinstance(model, Decoder):
            raise UsageError(
                f"DoLa with a model of the family {model.config.family}",
                "its layers have no states that the final norm and the output matrix could read",
                "use a decoder (gpt2, llama …), or leave --dola away",
            )
        self.model = model
        self.layers = candidates(choice, len(model.layers), model.head is None)
        self._states: dict[int, Tensor] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts, a forward pass leaves behind the candidates' last column (B, D)."""

        def before(layer: Any, inputs: tuple[Any, ...]) -> None:
            self._states[0] = inputs[0][:, -1]

        def behind(number: int) -> Any:
            def keep(layer: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
                self._states[number] = output[:, -1]

            return keep

        hooks = [self.model.layers[0].register_forward_pre_hook(before)]
        hooks += [self.model.layers[n - 1].register_forward_hook(behind(n)) for n in self.layers if n > 0]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def contrasted(self, mature: Tensor) -> Tensor:
        """F (B, V) of the last watched pass, whose own logits are `mature` (B, V; V may be cut, and -inf is never)."""
        assert isinstance(self.model, Decoder)
        states = torch.stack([self._states[layer] for layer in self.layers])
        early = self.model.logits(self.model.norm(states))[..., : mature.shape[-1]]
        return by_dynamic_layer(mature, early.float())
