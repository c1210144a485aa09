"""L1: hand-worked value, the chunked form against the plain one, weights, and what padding may not do."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from seodang.data.batch import Batch
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.objectives.language import (
    LanguageModelling,
    _rows_to_gradient,
    count_correct,
    cross_entropy,
    linear_cross_entropy,
)
from seodang.objectives.loss import Loss, Term


def test_cross_entropy_by_hand() -> None:
    # two classes with odds 3:1 → P = 3/4; three equal classes → P = 1/3
    logits = torch.tensor([[math.log(3.0), 0.0, -1e9], [0.0, 0.0, 0.0], [5.0, 1.0, 2.0]])
    targets = torch.tensor([0, 2, -100])
    assert cross_entropy(logits, targets).item() == pytest.approx(-math.log(3 / 4) - math.log(1 / 3), rel=1e-6)


@pytest.mark.parametrize("chunk_bytes", [1, 7 * 50 * 8, 10**9])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_chunked_equals_plain_with_gradients(
    chunk_bytes: int, softcap: float | None, weighted: bool, biased: bool, smoothing: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(23, 8, generator=generator, dtype=torch.float64)
    weight = torch.randn(50, 8, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 50, (23,), generator=generator)
    targets[::4] = -100
    label_weights = torch.rand(23, generator=generator, dtype=torch.float64) if weighted else None
    bias = torch.randn(50, generator=generator, dtype=torch.float64)
    plain = [x.clone().requires_grad_() for x in (hidden, weight, *[bias] * biased)]
    chunked = [x.detach().clone().requires_grad_() for x in plain]
    logits = plain[0] @ plain[1].T + (plain[2] if biased else 0)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    each = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    expected = (each if label_weights is None else each * label_weights).sum()
    (expected * 0.3).backward()
    options: dict[str, Any] = {"label_weights": label_weights, "softcap": softcap, "label_smoothing": smoothing}
    options["bias"] = chunked[2] if biased else None
    found = linear_cross_entropy(*chunked[:2], targets, chunk_bytes=chunk_bytes, **options)
    (found * 0.3).backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    with torch.no_grad():
        silent = linear_cross_entropy(*chunked[:2], targets, **options)
    assert silent.item() == pytest.approx(expected.item(), rel=1e-6)
    for a, b in zip(plain, chunked, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-6, atol=1e-9)


def test_label_smoothing_by_hand() -> None:
    """Odds 6:3:1 and ε = 0.3: the target keeps 0.7 + 0.1, each other one gets 0.1."""
    hidden, weight = torch.ones(1, 1), torch.tensor([6.0, 3.0, 1.0]).log()[:, None]
    found = linear_cross_entropy(hidden, weight, torch.tensor([0]), label_smoothing=0.3)
    expected = -0.8 * math.log(0.6) - 0.1 * math.log(0.3) - 0.1 * math.log(0.1)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_compiled_rows_equal_the_eager_ones() -> None:
    logits, targets = torch.randn(5, 11), torch.randint(0, 11, (5,))
    compiled = torch.compile(_rows_to_gradient, dynamic=True, backend="aot_eager")  # CUDA's path, without its kernels
    a, b = (
        rows(logits, targets, None, 2.0, 0.1, True) for rows in (compiled, _rows_to_gradient)
    )
    torch.testing.assert_close(a, b)


def test_memory_does_not_grow_with_the_number_of_logits() -> None:
    """The largest tensor made on the way, for 8 and for 64 times a chunk's logits."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        n_bytes = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple | list) else [result]:
                if isinstance(tensor, torch.Tensor):
                    self.n_bytes = max(self.n_bytes, tensor.untyped_storage().nbytes())
            return result

    def largest(n_tokens: int) -> int:
        hidden, weight = torch.randn(n_tokens, 4, requires_grad=True), torch.randn(1000, 4, requires_grad=True)
        with Largest() as seen:
            linear_cross_entropy(hidden, weight, torch.zeros(n_tokens, dtype=torch.long), chunk_bytes=2**16).backward()
        return seen.n_bytes

    assert largest(128) <= 2**16 and largest(1024) <= 2**16


def test_bfloat16_loss_is_that_of_its_logits() -> None:
    """Under autocast only the products are rounded: the softmax of a long row keeps float32's digits."""
    hidden, weight = torch.randn(40, 16), torch.randn(3000, 16)
    targets = torch.randint(0, 3000, (40,))
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_cross_entropy(hidden, weight, targets)
    logits = (hidden.bfloat16() @ weight.bfloat16().T).double()
    assert found.item() == pytest.approx(F.cross_entropy(logits, targets, reduction="sum").item(), rel=1e-6)


def test_no_target_is_zero_and_harmless() -> None:
    hidden = torch.randn(4, 8, requires_grad=True)
    weight = torch.randn(10, 8, requires_grad=True)
    loss = linear_cross_entropy(hidden, weight, torch.full((4,), -100))
    loss.backward()
    assert loss.item() == 0
    assert hidden.grad is not None and not hidden.grad.any()


def test_what_is_measured_beside_the_loss_enters_nothing() -> None:
    loss = Loss(a=Term(torch.tensor(6.0), 2), accuracy=Term(torch.tensor(3.0), 5, coefficient=0))
    assert loss.total({"a": 4}).item() == 1.5


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


def test_right_answers_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(published("gpt2-mini", vocab_size=30, context_length=16))
    model.init_weights(torch.Generator().manual_seed(0))
    ids = torch.randint(0, 30, (3, 9), generator=torch.Generator().manual_seed(1))
    hidden = model(ids)
    best = model.logits(hidden).argmax(dim=-1)
    targets = torch.where(torch.rand(3, 9) < 0.5, best, (best + 1) % 30)
    targets[0, :5] = -100
    expected = int((best == targets).sum())
    monkeypatch.setattr("seodang.objectives.language.CHUNK_BYTES", 4 * 30 * 7)  # seven rows at a time
    assert int(count_correct(model, hidden, targets)) == expected
    assert int(count_correct(model, hidden, torch.full((3, 9), -100))) == 0
