"""Attention in blocks of queries and FlexAttention's mask against the plain formula; dropout's random bits."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seodang.models import attention
from seodang.models.attention import QueryBlocks, attend, attention_mask, cross_mask, random_keep

CPU = torch.device("cpu")


def plain(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
    """softmax(q·kᵀ/√d)·v with every score held; allowed (B, T, S)."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~allowed[:, None], -math.inf).softmax(-1) @ v


def visible(documents: Tensor) -> Tensor:
    """Causal, and within a document: (B, T, T)."""
    return (documents[:, :, None] == documents[:, None, :]).tril()


def tensors(b: int, h: int, kv: int, t: int, d: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    g = torch.Generator().manual_seed(t)
    made = [torch.randn(b, t, n, d, generator=g, dtype=torch.float64).to(dtype) for n in (h, kv, kv)]
    return [x.transpose(1, 2).requires_grad_() for x in made]  # as the projections leave them: not contiguous


def packed(b: int, t: int) -> Tensor:
    """Documents of 37 tokens and more, other ones in each row, and padding at the end."""
    numbers = torch.stack([torch.arange(t) // (37 + 20 * row) for row in range(b)])
    numbers[:, -5:] = -1
    return numbers


@pytest.mark.parametrize("t", [1, 2, 50, 128, 129, 300])
@pytest.mark.parametrize("kv", [1, 2, 4])
@pytest.mark.parametrize("documents", [False, True])
def test_blocks_equal_the_plain_formula_with_gradients(t: int, kv: int, documents: bool) -> None:
    numbers = packed(2, t) if documents else torch.zeros(2, t, dtype=torch.long)
    mask = attention_mask(t, t, numbers if documents else None, dtype=torch.float64, device=CPU)
    q, k, v = tensors(2, 4, kv, t, 8)
    expected = plain(q, k, v, visible(numbers))
    found = attend(q, k, v, mask)
    up = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found, expected)
    for a, b in zip(
        torch.autograd.grad(found, (q, k, v), up), torch.autograd.grad(expected, (q, k, v), up), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_rows_are_padded_on_either_side() -> None:
    real = torch.ones(2, 200, dtype=torch.bool)
    real[0, :70], real[1, 150:] = False, False
    mask = attention_mask(200, 200, mask=real, dtype=torch.float64, device=CPU)
    q, k, v = tensors(2, 4, 2, 200, 8)
    itself = torch.eye(200, dtype=torch.bool)
    expected = plain(q, k, v, (torch.ones(200, 200, dtype=torch.bool).tril() & real[:, None, :]) | itself)
    torch.testing.assert_close(attend(q, k, v, mask), expected)


def test_keys_that_no_query_of_a_block_sees_are_left_out() -> None:
    causal = attention_mask(300, 300, dtype=torch.float32, device=CPU)
    assert isinstance(causal, QueryBlocks)
    assert causal.spans == ((0, 128, 0, 128), (128, 256, 0, 256), (256, 300, 0, 300))
    documents = (torch.arange(300) // 140)[None]
    within = attention_mask(300, 300, documents, dtype=torch.float32, device=CPU)
    assert isinstance(within, QueryBlocks)
    assert within.spans == ((0, 128, 0, 128), (128, 256, 0, 256), (256, 300, 128, 300))


def test_a_window_sees_its_last_keys_and_computes_no_others() -> None:
    mask = attention_mask(300, 300, dtype=torch.float64, device=CPU, window=20)
    assert isinstance(mask, QueryBlocks) and mask.spans == ((0, 128, 0, 128), (128, 256, 96, 256), (256, 300, 224, 300))
    q, k, v = tensors(2, 4, 2, 300, 8)
    place = torch.arange(300)
    near = (place[None] <= place[:, None]) & (place[None] > place[:, None] - 20)
    torch.testing.assert_close(attend(q, k, v, mask), plain(q, k, v, near[None]))


def test_an_encoder_sees_both_sides_and_no_padding() -> None:
    q, k, v = tensors(2, 4, 2, 200, 8)
    mask = attention_mask(200, 200, dtype=torch.float64, device=CPU, causal=False)
    torch.testing.assert_close(attend(q, k, v, mask, causal=False), plain(q, k, v, torch.ones(1, 200, 200).bool()))
    documents = torch.zeros(2, 200, dtype=torch.long)
    documents[0, 150:], documents[1, 60:] = -1, 1
    mask = attention_mask(200, 200, documents, dtype=torch.float64, device=CPU, causal=False)
    same = documents[:, :, None] == documents[:, None, :]
    torch.testing.assert_close(attend(q, k, v, mask, causal=False), plain(q, k, v, same))


@pytest.mark.parametrize("case", ["both sides", "documents", "window"])
def test_gradients_of_every_mask(case: str) -> None:
    q, k, v = tensors(2, 4, 2, 300, 8)
    documents = packed(2, 300) if case == "documents" else None
    window = 20 if case == "window" else None
    options = {"causal": case == "window", "window": window, "dtype": torch.float64, "device": CPU}
    mask = attention_mask(300, 300, documents, **options)
    allowed = torch.ones(1, 300, 300, dtype=torch.bool)
    if documents is not None:
        allowed = documents[:, :, None] == documents[:, None, :]
    if window is not None:
        place = torch.arange(300)
        allowed = ((place[None] <= place[:, None]) & (place[None] > place[:, None] - window))[None]
    up = torch.randn(2, 4, 300, 8, dtype=torch.float64)
    found = torch.autograd.grad(attend(q, k, v, mask, causal=case == "window"), (q, k, v), up)
    for ours, right in zip(found, torch.autograd.grad(plain(q, k, v, allowed), (q, k, v), up), strict=True):
        torch.testing.assert_close(ours, right)


@pytest.mark.parametrize("n_queries", [1, 140])
def test_a_target_sees_the_real_tokens_of_its_source(n_queries: int) -> None:
    q, _, _ = tensors(2, 4, 2, n_queries, 8)
    _, k, v = tensors(2, 4, 2, 50, 8)
    real = torch.ones(2, 50, dtype=torch.bool)
    real[1, 30:] = False
    for seen in (None, real):
        mask = cross_mask(n_queries, 50, seen, dtype=torch.float64, device=CPU)
        allowed = (torch.ones(2, 50).bool() if seen is None else seen)[:, None].expand(2, n_queries, 50)
        torch.testing.assert_close(attend(q, k, v, mask, causal=False), plain(q, k, v, allowed))


def test_scores_are_scaled_and_capped() -> None:
    q, k, v = tensors(2, 4, 2, 150, 8)
    scores = 0.3 * q @ k.repeat_interleave(2, dim=1).transpose(-1, -2)
    behind = torch.ones(150, 150, dtype=torch.bool).triu(1)
    values = v.repeat_interleave(2, dim=1)
    mask = attention_mask(150, 150, dtype=torch.float64, device=CPU)
    expected = scores.masked_fill(behind, -math.inf).softmax(-1) @ values
    torch.testing.assert_close(attend(q, k, v, mask, scale=0.3), expected)
    capped = (0.5 * torch.tanh(scores / 0.5)).masked_fill(behind, -math.inf).softmax(-1) @ values
    for some in (mask, None):
        found = attend(q, k, v, some, scale=0.3, softcap=0.5)
        torch.testing.assert_close(found, capped, atol=1e-6, rtol=1e-6)


def test_bfloat16_is_as_exact_as_the_fused_kernel() -> None:
    up = torch.randn(2, 4, 256, 64)

    def errors(dtype: torch.dtype, fused: bool) -> list[Tensor]:
        q, k, v = tensors(2, 4, 4, 256, 64, dtype)
        mask = None if fused else attention_mask(256, 256, dtype=dtype, device=CPU)
        out = attend(q, k, v, mask)
        return [out.detach(), *torch.autograd.grad(out, (q, k, v), up.to(dtype))]

    exact = errors(torch.float64, fused=False)
    for a, b, right in zip(errors(torch.bfloat16, False), errors(torch.bfloat16, True), exact, strict=True):
        ours, theirs = (float((x.double() - right).norm() / right.norm()) for x in (a, b))
        assert ours < 0.01 and ours < 2 * theirs


def test_dropout_drops_the_same_in_both_passes_and_keeps_the_mean() -> None:
    mask = attention_mask(150, 150, dtype=torch.float64, device=CPU)
    q, k, v = tensors(1, 2, 2, 150, 8)

    def out(shift: float) -> Tensor:
        torch.manual_seed(3)
        return attend(q + shift * q.detach(), k, v, mask, 0.25).square().sum()

    by_gradient = (torch.autograd.grad(out(0.0), q)[0] * q).sum()
    by_difference = (out(1e-6) - out(-1e-6)) / 2e-6
    torch.testing.assert_close(by_gradient, by_difference, rtol=1e-6, atol=1e-6)
    ones = torch.ones_like(v)
    mean = torch.stack([attend(q, k, ones, mask, 0.25) for _ in range(50)]).mean()
    assert mean.item() == pytest.approx(1.0, abs=0.01)  # probabilities sum to 1, dropped and scaled ones on average


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_every_lane_of_the_random_bits_is_fair(p: float) -> None:
    torch.manual_seed(0)
    keep = random_keep(torch.Size((100_001, 4)), p)
    spread = 5 * math.sqrt(p * (1 - p) / 100_001)
    assert torch.allclose(keep.double().mean(0), torch.tensor(1 - p, dtype=torch.float64), atol=spread)


def test_flex_attention_sees_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn.attention.flex_attention import flex_attention

    monkeypatch.setattr(attention, "_flex_attention", lambda: flex_attention)  # compiled only on CUDA
    documents = packed(2, 200)
    q, k, v = (x.detach() for x in tensors(2, 4, 2, 200, 16, torch.float32))  # no gradient without CUDA
    found = attend(q, k, v, attention._flex_mask(documents))
    torch.testing.assert_close(found, plain(q, k, v, visible(documents)), rtol=1e-4, atol=1e-5)


def test_other_devices_use_the_fused_kernel() -> None:
    meta = torch.device("meta")
    assert attention_mask(8, 8, dtype=torch.float32, device=meta) is None
    dense = attention_mask(8, 8, torch.zeros(1, 8, device=meta), dtype=torch.float32, device=meta)
    assert isinstance(dense, Tensor) and dense.shape == (1, 1, 8, 8)


def test_one_new_token_needs_no_mask() -> None:
    assert attention_mask(1, 9, dtype=torch.float32, device=CPU) is None
    q, k, v = (torch.randn(1, 2, n, 8) for n in (1, 9, 9))
    torch.testing.assert_close(attend(q, k, v, None), F.scaled_dot_product_attention(q, k, v))


@pytest.mark.parametrize("low", [False, True])
def test_without_gradients_the_numbers_are_the_operators(low: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    dtype = torch.bfloat16 if low else torch.float32
    q, k, v = (torch.randn(2, 4, 150, 8, generator=generator).to(dtype) for _ in range(3))
    mask = attention_mask(150, 150, dtype=dtype, device=torch.device("cpu"))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
        with_operator = attend(q.clone().requires_grad_(), k, v, mask)
        with torch.no_grad():
            assert torch.equal(attend(q, k, v, mask), with_operator)


def test_generation_does_not_import_the_compiler() -> None:
    program = """
import sys, torch
from seodang.models.families import build_model
from seodang.models.sizes import published
model = build_model(published("gpt2-mini")).eval()
with torch.no_grad():
    model(torch.tensor([[1, 2, 3]]))
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
