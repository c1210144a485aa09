"""Next-token prediction: L1(U) = Σ log P(u_i | u_{i-k}, …, u_{i-1}; Θ) (GPT-1, eq. 1), as a loss to minimise.

Shapes: N positions, D model width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seodang.data.batch import IGNORE
from seodang.objectives.loss import Loss, Term

CHUNK_LOGITS = 2**24
"""Logits held at a time: 64 MB in float32, whatever the vocabulary and the number of tokens."""


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-Σ log softmax(logits)[target] in nats over positions with a target. logits (N, V), targets (N,)."""
    return F.cross_entropy(logits.float(), targets, ignore_index=IGNORE, reduction="sum")


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, chunk_logits: int = CHUNK_LOGITS) -> Tensor:
    """`cross_entropy(hidden @ weight.T, targets)` without ever holding all logits.

    hidden (N, D), weight (V, D), targets (N,) → scalar in nats. Positions without a target are dropped first.
    The gradients are computed chunk by chunk in the forward pass, so no chunk is computed twice; peak memory is
    a few chunks of `chunk_logits` numbers and the weight's own gradient. Matrix products run in the autocast
    type, the softmax in float32.
    """
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    chosen = targets != IGNORE
    if not bool(chosen.all()):
        hidden, targets = hidden[chosen], targets[chosen]
    if not torch.is_grad_enabled():  # autograd would still report the weight as one that needs a gradient
        hidden, weight = hidden.detach(), weight.detach()
    result = _LinearCrossEntropy.apply(hidden, weight, targets, max(1, chunk_logits // weight.shape[0]), dtype)
    assert isinstance(result, Tensor)
    return result


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        d_hidden = torch.empty_like(hidden) if need_hidden else None
        d_weight = torch.zeros_like(weight) if need_weight else None
        with torch.autocast(hidden.device.type, enabled=False):
            matrix = weight.to(dtype)
            for start in range(0, hidden.shape[0], rows):
                part = slice(start, start + rows)
                states, wanted = hidden[part].to(dtype), targets[part]
                logits = (states @ matrix.T).float()
                target_logits = logits.gather(1, wanted[:, None])[:, 0]
                if not (need_hidden or need_weight):
                    total += (logits.logsumexp(dim=-1) - target_logits).sum()
                    continue
                # One pass of softmax serves both: log Σ exp is the largest logit less the log of its probability
                # (2.5 times as fast on a CPU as logsumexp, subtraction and exp), and it never underflows.
                gradient = logits.softmax(dim=-1)
                top, at = gradient.max(dim=-1)
                total += (logits.gather(1, at[:, None])[:, 0] - top.log() - target_logits).sum()
                # d loss / d logits = softmax - one-hot
                gradient[torch.arange(len(wanted), device=wanted.device), wanted] -= 1
                gradient = gradient.to(dtype)
                if d_hidden is not None:
                    d_hidden[part] = gradient @ matrix
                if d_weight is not None:
                    d_weight += gradient.T @ states
        ctx.save_for_backward(d_hidden, d_weight)
        return total

    @staticmethod
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_weight = ctx.saved_tensors
        return (
            None if d_hidden is None else d_hidden * d_total.to(d_hidden.dtype),
            None if d_weight is None else d_weight * d_total.to(d_weight.dtype),
            None,
            None,
            None,
        )


class LanguageModelling:
    """L1 over the targets of a batch; the same for pre-training and for instruction tuning, whose masks differ."""

    def weights(self, batch: Any) -> dict[str, float]:
        """The number of targets."""
        return {"language": float(batch.n_targets)}

    def __call__(self, model: Any, batch: Any) -> Loss:
        hidden = model(batch.ids, positions=batch.positions, documents=batch.documents)
        total = linear_cross_entropy(hidden.flatten(0, -2), model.output_weight, batch.targets.flatten())
        return Loss(language=Term(total, self.weights(batch)["language"]))
