"""Sampling: equal to transformers' processors, reproducible, and true to the distribution it draws from."""

from __future__ import annotations

import pytest
import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from seodang.errors import UsageError
from seodang.inference import sampling
from seodang.inference.sampling import Settings


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(5, 50, generator=torch.Generator().manual_seed(0)) * 3


NO_IDS = torch.zeros(5, 0, dtype=torch.long)


@pytest.mark.parametrize("k", [1, 3, 49, 50, 80])
def test_top_k_equals_transformers(logits, k):
    assert torch.equal(sampling.keep_top_k(logits, k), TopKLogitsWarper(k)(NO_IDS, logits))


@pytest.mark.parametrize("p", [0.01, 0.5, 0.9, 0.999, 1.0])
def test_top_p_equals_transformers(logits, p):
    assert torch.equal(sampling.keep_top_p(logits, p), TopPLogitsWarper(p)(NO_IDS, logits))


@pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 1.0])
def test_min_p_equals_transformers(logits, p):
    assert torch.equal(sampling.keep_min_p(logits, p), MinPLogitsWarper(p)(NO_IDS, logits))


@pytest.mark.parametrize("penalty", [0.5, 1.3])
def test_repetition_penalty_equals_transformers(logits, penalty):
    ids = torch.tensor([[1, 2, 2], [3, 4, 5], [0, 0, 0], [49, 48, 1], [7, 8, 9]])
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, ids, True)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone())
    assert torch.equal(sampling.penalise_repetition(logits, seen, penalty), expected)


def test_top_p_by_hand():
    # P = .5 .3 .15 .05: the smallest set with at least .8 is the first two, with at least .81 the first three
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert (sampling.keep_top_p(logits, 0.79) > sampling.NEVER).tolist() == [[True, True, False, False]]
    assert (sampling.keep_top_p(logits, 0.81) > sampling.NEVER).tolist() == [[True, True, True, False]]


def test_order_of_the_filters():
    # at temperature 2 the second token has more than half the mass of the first: min-p must see it after that
    logits = torch.tensor([[2.0, 1.0, -9.0]])
    kept = sampling.shape(logits, Settings(temperature=2.0, min_p=0.5))
    assert (kept > sampling.NEVER).tolist() == [[True, True, False]]
    assert torch.allclose(kept[0, :2], torch.tensor([1.0, 0.5]))


def test_draws_follow_the_distribution():
    probabilities = torch.tensor([[0.5, 0.0, 0.2, 0.3]])
    generator = sampling.row_generator(0, 0)
    draws = [int(sampling.sample(probabilities.log(), [generator])) for _ in range(4000)]
    shares = torch.bincount(torch.tensor(draws), minlength=4) / 4000
    assert shares[1] == 0
    assert torch.allclose(shares, probabilities[0], atol=0.03)  # four standard errors


def test_impossible_tokens_are_never_drawn(monkeypatch):
    # the largest number below 1 must not fall past the last token that has any probability
    largest = torch.tensor(1 - 2**-53, dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *args, **kwargs: largest)
    logits = torch.full((1, 30), sampling.NEVER)
    logits[0, 3:11] = torch.linspace(-3, 0.1, 8)
    assert int(sampling.sample(logits, [torch.Generator()])) == 10


def test_streams_depend_on_seed_and_row_only():
    def draw(seed: int, row: int) -> list[float]:
        return torch.rand(4, generator=sampling.row_generator(seed, row)).tolist()

    assert draw(1, 2) == draw(1, 2)
    assert len({tuple(draw(seed, row)) for seed in range(8) for row in range(8)}) == 64


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1}, {"temperature": float("nan")}, {"temperature": float("inf")}, {"top_p": 0.0},
        {"top_p": 1.1}, {"top_k": -1}, {"min_p": 2.0}, {"repetition_penalty": 0.0}, {"max_new_tokens": 0},
        {"num_beams": 0}, {"num_beams": 2, "temperature": 1.0}, {"stop": ("",)},
    ],
)  # fmt: skip
def test_settings_out_of_range(wrong):
    with pytest.raises(UsageError) as caught:
        Settings(**wrong).check()
    assert caught.value.why and caught.value.fix
