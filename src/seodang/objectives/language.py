"""Next-token prediction: L1(U) = Σ log P(u_i | u_{i-k}, …, u_{i-1}; Θ) (GPT-1, eq. 1), as a loss to minimise.

Shapes: N positions, D model width, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seodang.data.batch import IGNORE
from seodang.models.cache import Cache
from seodang.models.cost import LOGITS_BYTES
from seodang.models.layers import compute_type
from seodang.objectives.loss import Loss, Term

CHUNK_BYTES = LOGITS_BYTES
"""Size of the logits held at a time, whatever the vocabulary and the number of tokens."""
CACHED = 2**19
"""Numbers that several passes run over on a CPU before the next ones are touched: 2 MB in float32."""
COLUMNS = 4096
"""Rows of the weight's gradient that one product makes: its result is converted while it lies in the cache."""


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-Σ log softmax(logits)[target] in nats over positions with a target. logits (N, V), targets (N,)."""
    return F.cross_entropy(logits.float(), targets, ignore_index=IGNORE, reduction="sum")


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    label_weights: Tensor | None = None,
    softcap: float | None = None,
    label_smoothing: float = 0.0,
    chunk_bytes: int = CHUNK_BYTES,
) -> Tensor:
    """`cross_entropy(hidden @ weight.T + bias, targets)` without ever holding all logits.

    hidden (N, D), weight (V, D), bias (V,), targets (N,) → scalar in nats. Positions without a target are dropped.
    label_weights (N,): what each position's loss is multiplied by. softcap: logits z become softcap·tanh(z/softcap)
    (Gemma 2, sec. 2). label_smoothing ε: the target's probability is 1 - ε, and ε is shared by all V (Szegedy et al.
    2016, sec. 7; Vaswani et al. 2017, sec. 5.4). The gradients are computed chunk by chunk in the forward pass, so no
    chunk is computed twice; peak memory is one chunk of `chunk_bytes` and the gradients themselves. Matrix products run
    in the autocast type, the softmax in float32. It can be differentiated once.
    """
    dtype = compute_type(hidden)
    chosen = targets != IGNORE
    if not bool(chosen.all()):
        hidden, targets = hidden[chosen], targets[chosen]
        label_weights = None if label_weights is None else label_weights[chosen]
    if not torch.is_grad_enabled():  # autograd would still report the weight as one that needs a gradient
        hidden, weight = hidden.detach(), weight.detach()
        bias = None if bias is None else bias.detach()
    rows = max(1, chunk_bytes // (weight.shape[0] * dtype.itemsize))
    result = _LinearCrossEntropy.apply(
        hidden, weight, bias, targets, label_weights, softcap, label_smoothing, rows, dtype
    )
    assert isinstance(result, Tensor)
    return result


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        label_weights: Tensor | None,
        softcap: float | None,
        smoothing: float,
        rows: int,
        dtype: torch.dtype,
    ) -> Tensor:
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        d_hidden = torch.empty_like(hidden) if need_hidden else None
        d_weight = torch.empty_like(weight) if need_weight else None
        d_bias = torch.zeros_like(bias) if need_bias and bias is not None else None
        with torch.autocast(hidden.device.type, enabled=False):
            matrix = weight.to(dtype)
            for start in range(0, hidden.shape[0], rows):
                part = slice(start, start + rows)
                states = hidden[part].to(dtype)
                logits = states @ matrix.T if bias is None else torch.addmm(bias.to(dtype), states, matrix.T)
                scale = None if label_weights is None else label_weights[part]
                total += _to_gradient(logits, targets[part], scale, softcap, smoothing, any(ctx.needs_input_grad))
                if d_hidden is not None:
                    d_hidden[part] = logits @ matrix
                if d_weight is not None:
                    _add_product(d_weight, logits, states, first=start == 0)
                if d_bias is not None:
                    d_bias += logits.sum(dim=0, dtype=d_bias.dtype)
        if d_weight is not None and hidden.shape[0] == 0:
            d_weight.zero_()
        ctx.gradients = d_hidden, d_weight, d_bias
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:
        # scaled in place and given away: the weight's gradient is often the largest tensor of a step
        if ctx.gradients is None:
            raise RuntimeError("linear_cross_entropy can be differentiated once: its gradients are scaled in place")
        scaled = [None if gradient is None else gradient.mul_(d_total) for gradient in ctx.gradients]
        ctx.gradients = None
        return (*scaled, *(None,) * 6)


def _to_gradient(
    logits: Tensor,
    targets: Tensor,
    label_weights: Tensor | None,
    softcap: float | None,
    smoothing: float,
    need_gradient: bool,
) -> Tensor:
    """The loss of logits (N, V), which are overwritten with their gradient if that is needed."""
    n = max(1, CACHED // logits.shape[1]) if logits.device.type == "cpu" else logits.shape[0]
    step = _rows_to_gradient if logits.device.type == "cpu" else _compiled_rows_to_gradient()
    total = torch.zeros((), dtype=torch.float32, device=logits.device)
    for i in range(0, logits.shape[0], n):
        some = slice(i, i + n)
        scale = None if label_weights is None else label_weights[some]
        loss, gradient = step(logits[some], targets[some], scale, softcap, smoothing, need_gradient)
        total += loss
        if gradient is not None:
            logits[some] = gradient
    return total


def _rows_to_gradient(
    logits: Tensor,
    targets: Tensor,
    label_weights: Tensor | None,
    softcap: float | None,
    smoothing: float,
    need_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """Loss, and d loss / d logits = softmax - wanted distribution, through the soft cap: its slope is 1 - tanh²."""
    x = logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32, copy=True)
    capped = None
    if softcap is not None:
        capped = torch.tanh(x / softcap)
        x = capped * softcap
    wanted = x.gather(1, targets[:, None])[:, 0]
    if smoothing:
        wanted = (1 - smoothing) * wanted + smoothing * x.mean(dim=1)
    top = x.amax(dim=1, keepdim=True)
    x = x.sub_(top).exp_()
    norm = x.sum(dim=1, keepdim=True)
    losses = norm.log()[:, 0] + top[:, 0] - wanted
    if label_weights is not None:
        losses = losses * label_weights
    if not need_gradient:
        return losses.sum(), None
    x = x.div_(norm)
    x = x.scatter_add_(1, targets[:, None], x.new_full((1, 1), smoothing - 1.0).expand(len(targets), 1))
    if smoothing:
        x = x.sub_(smoothing / x.shape[1])
    if label_weights is not None:
        x = x.mul_(label_weights[:, None])
    if capped is not None:
        x = x.mul_(1 - capped**2)
    return losses.sum(), x


@functools.cache
def _compiled_rows_to_gradient() -> Callable[..., tuple[Tensor, Tensor | None]]:
    """One kernel over the logits instead of ten; where it does not compile, the same without."""
    compiled = torch.compile(_rows_to_gradient, dynamic=True)
    works = True

    def step(*arguments: Any) -> tuple[Tensor, Tensor | None]:
        nonlocal works
        if works:
            try:
                return compiled(*arguments)
            except torch.OutOfMemoryError:
                raise
            except Exception:  # whatever breaks in a compiler
                works = False
        return _rows_to_gradient(*arguments)

    return step


def _add_product(total: Tensor, gradient: Tensor, states: Tensor, *, first: bool) -> None:
    """total (V, D) += gradient (N, V)ᵀ · states (N, D); `first` overwrites what was there."""
    for v in range(0, total.shape[0], COLUMNS):
        some = slice(v, v + COLUMNS)
        product = gradient[:, some].T @ states
        if first:
            total[some] = product
        else:
            total[some] += product.to(total.dtype)  # converted first: torch adds unlike types five times slower


def vocabulary_loss(model: Any, hidden: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """-Σ log P(target) in nats of hidden states (…, D) over the positions whose target (…) is not -100."""
    hidden, targets = _with_target(hidden, targets)
    states, weight = model.to_output(hidden).flatten(0, -2), model.output_weight
    return linear_cross_entropy(
        states, weight, targets.flatten(), bias=model.output_bias, softcap=model.config.logit_softcap,
        label_smoothing=label_smoothing,
    )  # fmt: skip


@torch.no_grad()
def count_correct(model: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    """At how many positions with a target the most probable token is the target; arguments as of `vocabulary_loss`."""
    hidden, targets = _with_target(hidden, targets)
    states, targets = model.to_output(hidden).flatten(0, -2), targets.flatten()
    weight, bias = model.output_weight, model.output_bias
    rows = max(1, CHUNK_BYTES // (weight.shape[0] * states.dtype.itemsize))
    right = torch.zeros((), dtype=torch.long, device=targets.device)
    for start in range(0, len(targets), rows):
        part = slice(start, start + rows)  # a soft cap changes no order
        right += (F.linear(states[part], weight, bias).argmax(dim=1) == targets[part]).sum()
    return right


def _with_target(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Those positions: what a family puts before the output matrix is computed for them alone."""
    chosen = targets != IGNORE
    return (hidden, targets) if bool(chosen.all()) else (hidden[chosen], targets[chosen])


class LanguageModelling:
    """L1 over the targets of a batch; the same for pre-training and for instruction tuning, whose masks differ."""

    def weights(self, batch: Any) -> dict[str, float]:
        """The number of targets."""
        return {"language": float(batch.n_targets)}

    def __call__(self, model: Any, batch: Any, cache: Cache | None = None) -> Loss:
        """`cache`: what the model remembers of the tokens before the batch's."""
        hidden = model(batch.ids, positions=batch.positions, documents=batch.documents, cache=cache)
        return Loss(language=Term(vocabulary_loss(model, hidden, batch.targets), self.weights(batch)["language"]))
