"""L1: hand-worked value, the chunked form against the plain one, weights, and what padding may not do."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from seodang.data.batch import Batch
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.objectives.language import LanguageModelling, cross_entropy, linear_cross_entropy
from seodang.objectives.loss import Loss, Term


def test_cross_entropy_by_hand() -> None:
    # two classes with odds 3:1 → P = 3/4; three equal classes → P = 1/3
    logits = torch.tensor([[math.log(3.0), 0.0, -1e9], [0.0, 0.0, 0.0], [5.0, 1.0, 2.0]])
    targets = torch.tensor([0, 2, -100])
    assert cross_entropy(logits, targets).item() == pytest.approx(-math.log(3 / 4) - math.log(1 / 3), rel=1e-6)


@pytest.mark.parametrize("chunk_logits", [1, 7 * 50, 10**9])
def test_chunked_equals_plain_with_gradients(chunk_logits: int) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(23, 8, generator=generator, dtype=torch.float64)
    weight = torch.randn(50, 8, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 50, (23,), generator=generator)
    targets[::4] = -100
    plain = (hidden.clone().requires_grad_(), weight.clone().requires_grad_())
    chunked = (hidden.clone().requires_grad_(), weight.clone().requires_grad_())
    expected = F.cross_entropy(plain[0] @ plain[1].T, targets, reduction="sum")
    (expected * 0.3).backward()
    found = linear_cross_entropy(*chunked, targets, chunk_logits)
    (found * 0.3).backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for a, b in zip(plain, chunked, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6)


def test_no_target_is_zero_and_harmless() -> None:
    hidden = torch.randn(4, 8, requires_grad=True)
    weight = torch.randn(10, 8, requires_grad=True)
    loss = linear_cross_entropy(hidden, weight, torch.full((4,), -100))
    loss.backward()
    assert loss.item() == 0
    assert hidden.grad is not None and not hidden.grad.any()


def test_total_divides_each_term_by_the_weight_of_the_step() -> None:
    loss = Loss(a=Term(torch.tensor(6.0), 2), b=Term(torch.tensor(5.0), 1, coefficient=0.5))
    assert loss.total({"a": 4, "b": 10}).item() == pytest.approx(6 / 4 + 0.5 * 5 / 10)


def test_a_weight_of_zero_gives_zero() -> None:
    loss = Loss(a=Term(torch.tensor(0.0, requires_grad=True), 0))
    assert loss.total({"a": 0}).item() == 0


def test_language_modelling_sums_over_targets_only() -> None:
    model = build_model(published("gpt2-mini", vocab_size=30, context_length=16))
    model.init_weights(torch.Generator().manual_seed(0))
    ids = torch.randint(0, 30, (2, 9), generator=torch.Generator().manual_seed(1))
    targets = ids.roll(-1, dims=1)
    targets[:, -1] = -100
    targets[1, 2:5] = -100
    objective = LanguageModelling()
    loss = objective(model, Batch(ids, targets))
    assert loss["language"].weight == objective.weights(Batch(ids, targets))["language"] == 13
    logits = model.logits(model(ids))
    assert loss["language"].sum.item() == pytest.approx(
        cross_entropy(logits.flatten(0, 1), targets.flatten()).item(), rel=1e-5
    )


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_evaluation_computes_no_gradient(context: type, monkeypatch: pytest.MonkeyPatch) -> None:
    from seodang.objectives import language

    real, asked = language._LinearCrossEntropy.forward, []

    def forward(ctx, *arguments):  # type: ignore[no-untyped-def]
        asked.append(ctx.needs_input_grad[:2])
        return real(ctx, *arguments)

    monkeypatch.setattr(language._LinearCrossEntropy, "forward", staticmethod(forward))
    weight, hidden = torch.nn.Parameter(torch.randn(50, 8)), torch.randn(6, 8, requires_grad=True)
    with context():
        linear_cross_entropy(hidden, weight, torch.arange(6))
    assert asked == [(False, False)]
