"""Small random models of every family, shared by the tests of inference."""

from __future__ import annotations

import pytest
import torch

from seodang.models.config import ModelConfig, RoPE
from seodang.models.decoder import Decoder
from seodang.models.families import FAMILIES, build_model

FAMILY_NAMES = sorted(FAMILIES)


def tiny(family: str, *, vocab_size: int = 96, context_length: int = 256, seed: int = 0) -> Decoder:
    """A random model whose scores differ enough that its greedy text does not fall into one token."""
    llama = {
        "activation": "silu", "d_ff": 64, "n_kv_heads": 2, "attention_bias": False, "mlp_bias": False, "tied": False,
        "rope": RoPE(),
    }  # fmt: skip
    config = ModelConfig(
        family=family, vocab_size=vocab_size, context_length=context_length, d_model=32, n_layers=2, n_heads=4,
        init_std=0.25, **(llama if family == "llama" else {}),
    )  # fmt: skip
    model = build_model(config)
    model.init_weights(torch.Generator().manual_seed(seed))
    return model.eval()


@pytest.fixture(scope="session")
def models() -> dict[str, Decoder]:
    """One tiny model per family."""
    return {family: tiny(family) for family in FAMILY_NAMES}


def ragged_prompts(n: int, vocab_size: int = 96, seed: int = 1, longest: int = 20) -> list[list[int]]:
    """`n` prompts of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (n,), generator=generator).tolist()
    return [torch.randint(0, vocab_size, (length,), generator=generator).tolist() for length in lengths]
