"""The hyper-parameters that the papers state."""

from __future__ import annotations

import pytest

from seodang.models.sizes import published
from seodang.recipes.defaults import discriminator_weight, kaplan_lr, pretraining


@pytest.mark.parametrize(("n", "rate"), [(1, 0.003239), (1_000_000, 0.0013117), (100_000_000, 0.0006693)])
def test_kaplan_by_hand(n: int, rate: float) -> None:
    """0.003239 − 0.0001395 · ln N, with ln 10⁶ = 13.8155 and ln 10⁸ = 18.4207."""
    assert kaplan_lr(n) == pytest.approx(rate, abs=1e-7)


def test_published_sizes_get_their_papers_numbers() -> None:
    gpt1 = pretraining(published("gpt1"))
    assert (gpt1.lr, gpt1.batch_tokens, gpt1.warmup, gpt1.weight_decay) == (2.5e-4, 32_768, 2000, 0.01)
    gpt2 = pretraining(published("gpt2"))  # by GPT-3's table 2.1, row "Small": 6.0e-4, 0.5 M tokens
    assert (gpt2.lr, gpt2.batch_tokens, gpt2.betas) == (6e-4, 500_000, (0.9, 0.95))
    llama = pretraining(published("llama-7b"))
    assert (llama.lr, llama.batch_tokens, llama.weight_decay) == (3e-4, 4_000_000, 0.1)
    assert pretraining(published("llama-65b")).lr == 1.5e-4


@pytest.mark.parametrize(
    ("name", "lr", "batch", "betas", "warmup", "schedule"),
    [
        ("bert-base", 1e-4, 131_072, (0.9, 0.999), 10_000, "linear"),
        ("roberta-base", 6e-4, 4_194_304, (0.9, 0.98), 24_000, "linear"),
        ("roberta-large", 4e-4, 4_194_304, (0.9, 0.98), 30_000, "linear"),
        ("electra-base", 2e-4, 131_072, (0.9, 0.999), 10_000, "linear"),
        ("transformer-base", 6.988e-4, 25_000, (0.9, 0.98), 4000, "inverse-sqrt"),
        ("gpt3-small", 6e-4, 500_000, (0.9, 0.95), 750, "cosine"),
        ("gpt3-medium", 3e-4, 500_000, (0.9, 0.95), 750, "cosine"),
        ("gpt3-large", 2.5e-4, 500_000, (0.9, 0.95), 750, "cosine"),
        ("gpt3-xl", 2e-4, 1_000_000, (0.9, 0.95), 375, "cosine"),
        ("gpt3-2.7b", 1.6e-4, 1_000_000, (0.9, 0.95), 375, "cosine"),
        ("gpt3-6.7b", 1.2e-4, 2_000_000, (0.9, 0.95), 187.5, "cosine"),
        ("gpt3-13b", 1e-4, 2_000_000, (0.9, 0.95), 187.5, "cosine"),
        ("gpt3-175b", 0.6e-4, 3_200_000, (0.9, 0.95), 117.1875, "cosine"),
        ("pythia-410m", 3e-4, 2_097_152, (0.9, 0.95), 0.01, "cosine"),
        ("pythia-1.4b", 2e-4, 2_097_152, (0.9, 0.95), 0.01, "cosine"),
        ("qwen3-0.6b", 3e-4, 4_000_000, (0.9, 0.95), 2000, "cosine"),
    ],
)
def test_papers_of_the_family_tree(
    name: str, lr: float, batch: int, betas: tuple[float, float], warmup: float, schedule: str
) -> None:
    found = pretraining(published(name))
    assert (found.lr, found.batch_tokens, found.betas) == (pytest.approx(lr, rel=1e-3), batch, betas)
    assert (found.warmup, found.schedule) == (warmup, schedule)


def test_small_recurrent_models_take_larger_steps() -> None:
    lstm = pretraining(published("lstm-mini"))
    assert lstm.lr == 5e-3 and "measured" in lstm.source
    assert pretraining(published("seq2seq-mini")).lr < 2e-3


def test_a_small_electra_learns_at_its_papers_rate() -> None:
    """And a narrower one with the lowest λ of the paper's search, at the rate of other small encoders."""
    small, mini = published("electra-small"), published("electra-mini")
    assert pretraining(small).lr == 5e-4 and discriminator_weight(small) == 50
    assert pretraining(mini).lr > 1e-3 and discriminator_weight(mini) == 1


def test_small_models_follow_kaplan() -> None:
    mini = pretraining(published("gpt2-mini"))
    assert "Kaplan" in mini.source and 0.001 < mini.lr < 0.0014
