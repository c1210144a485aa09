"""Replaced-token detection (Clark et al. 2020, *ELECTRA*, sec. 2): one model fills masks in, another finds out where.

Shapes: B rows, T tokens, N masked positions, D model width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seodang.data.batch import IGNORE
from seodang.objectives.language import CHUNK_BYTES, count_correct, vocabulary_loss
from seodang.objectives.loss import Loss, Term

LAMBDA = 50.0
"""Weight of the discriminator's loss (app. A)."""


class ReplacedTokenDetection:
    """min Σ L_MLM(x, θ_G) + λ · L_Disc(x, θ_D) (sec. 2): the masked loss of `model.generator`, and the binary
    cross-entropy of `model.replaced_logits(hidden)` (B, T) over all real tokens, never padding.

    What the generator samples is a constant for both: no gradient flows through it, and a sample that is the original
    counts as original. An evaluation measures the generator's `masked_accuracy`, and `replaced_accuracy` of the
    discriminator, beside the share of replaced tokens and how many of these were found (`replaced_recall`).
    """

    def __init__(self, coefficient: float = LAMBDA) -> None:
        self.coefficient = coefficient

    def weights(self, batch: Any) -> dict[str, float]:
        """The numbers of masked and of real tokens."""
        return {"generator": float(batch.n_targets), "replaced": float(batch.n_tokens)}

    def __call__(self, model: Any, batch: Any) -> Loss:
        weights = self.weights(batch)
        hidden = model.generator_states(batch.ids, segments=batch.segments, documents=batch.documents)
        loss = Loss(
            generator=Term(vocabulary_loss(model.generator, hidden, batch.targets), weights["generator"])
        )
        originals = torch.where(batch.targets != IGNORE, batch.targets, batch.ids)
        corrupted = fill_masks(model.generator, hidden, batch.ids, batch.targets, batch.draws)
        real = torch.ones_like(batch.ids, dtype=torch.bool) if batch.documents is None else batch.documents >= 0
        replaced = (corrupted != originals)[real]
        seen = model(corrupted, segments=batch.segments, documents=batch.documents)
        logits = model.replaced_logits(seen)[real].float()
        nats = F.binary_cross_entropy_with_logits(logits, replaced.float(), reduction="sum")
        loss["replaced"] = Term(nats, weights["replaced"], self.coefficient)
        if not model.training:
            found, right = logits > 0, count_correct(model.generator, hidden, batch.targets)
            measured = {
                "masked_accuracy": (right, weights["generator"]),
                "replaced_accuracy": ((found == replaced).sum(), weights["replaced"]),
                "replaced_share": (replaced.sum(), weights["replaced"]),
                "replaced_recall": ((found & replaced).sum(), float(replaced.sum())),
            }
            loss |= {name: Term(total, weight, coefficient=0) for name, (total, weight) in measured.items()}
        return loss


@torch.no_grad()
def fill_masks(generator: Any, hidden: Tensor, ids: Tensor, targets: Tensor, draws: Tensor | None) -> Tensor:
    """`ids` (B, T) with a token sampled from the generator, of states `hidden` (B, T, D), wherever there is a target.

    draws (B, T) in [0, 1): where in the cumulative distribution each sample lies, so that how rows are cut up changes
    none of them; new ones where it is None. Holds the logits of a chunk of positions at a time.
    """
    chosen = targets != IGNORE
    states = generator.to_output(hidden[chosen])
    places = torch.rand(len(states), device=ids.device) if draws is None else draws[chosen]
    weight, bias = generator.output_weight, generator.output_bias
    rows = max(1, CHUNK_BYTES // (weight.shape[0] * 4))
    samples = [
        sample_tokens(F.linear(states[i : i + rows], weight, bias), places[i : i + rows])
        for i in range(0, len(states), rows)
    ]
    filled = ids.clone()
    if samples:
        filled[chosen] = torch.cat(samples)
    return filled


def sample_tokens(logits: Tensor, draws: Tensor) -> Tensor:
    """Tokens (N,) from softmax(logits) (N, V): the first whose cumulated probability exceeds its draw (N,)."""
    cumulative = logits.float().softmax(dim=1).cumsum(dim=1)
    places = draws.to(cumulative.dtype)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, places, right=True)[:, 0].clamp_(max=logits.shape[1] - 1)
