"""Products in float32: another library where it is faster, the same numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seodang.models import linear
from seodang.models.linear import Linear, product

there = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Whatever the processor, oneDNN is taken; counts how often."""
    if not there:
        pytest.skip("this torch has no oneDNN")
    calls: list[int] = []
    monkeypatch.setattr(linear, "_prefers_onednn", lambda: calls.append(1) or True)
    return calls


@pytest.mark.parametrize("shape", [(1, 64), (7, 64), (2, 3, 64), (2, 3, 5, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_same_but_for_rounding(onednn: list[int], shape: tuple[int, ...], bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(shape, generator=generator), torch.randn(40, 64, generator=generator)
    b = torch.randn(40, generator=generator) if bias else None
    with torch.no_grad():
        found = product(x, weight, b)
        exact = F.linear(x.double(), weight.double(), None if b is None else b.double())
    assert onednn and found.shape == (*shape[:-1], 40)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-5)


def test_strided_and_empty(onednn: list[int]) -> None:
    x, weight = torch.randn(4, 6, 64)[:, ::2], torch.randn(32, 64)
    with torch.no_grad():
        torch.testing.assert_close(product(x, weight), F.linear(x, weight), rtol=0, atol=2e-5)
        assert product(x[:0], weight).shape == (0, 3, 32)


def test_training_and_other_types_stay_torchs(onednn: list[int]) -> None:
    layer = Linear(8, 4)
    layer(torch.randn(2, 8)).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        assert layer.double()(torch.randn(2, 8, dtype=torch.float64)).dtype == torch.float64
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert product(torch.randn(2, 8), torch.randn(4, 8)).dtype == torch.bfloat16
    assert not onednn
