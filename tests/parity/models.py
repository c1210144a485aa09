"""Small random models of each family in `transformers`, with the shapes that break assumptions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    PreTrainedModel,
)

from seodang.checkpoints.huggingface import load_folder
from seodang.models.base import Model

VOCAB, CONTEXT = 61, 32


def _gpt1(**changes: Any) -> PreTrainedModel:
    sizes = {"vocab_size": VOCAB, "n_positions": CONTEXT, "n_embd": 24, "n_layer": 2, "n_head": 3}
    return OpenAIGPTLMHeadModel(OpenAIGPTConfig(**{**sizes, **changes}))


def _gpt2(**changes: Any) -> PreTrainedModel:
    sizes = {"vocab_size": VOCAB, "n_positions": CONTEXT, "n_embd": 24, "n_layer": 2, "n_head": 3}
    return GPT2LMHeadModel(GPT2Config(**{**sizes, **changes}))


def _llama(**changes: Any) -> PreTrainedModel:
    sizes = {
        "vocab_size": VOCAB,
        "max_position_embeddings": CONTEXT,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
    }
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **changes}))


def _rope(kind: str, **values: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **values}}


_BANDS = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}

CASES: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt1": _gpt1,
    "gpt1 one layer, one head": lambda: _gpt1(n_layer=1, n_head=1),
    "gpt1 relu": lambda: _gpt1(afn="relu"),
    "gpt2": _gpt2,
    "gpt2 one layer, odd inner width": lambda: _gpt2(n_layer=1, n_inner=37),
    "gpt2 untied": lambda: _gpt2(tie_word_embeddings=False),
    "gpt2 exact gelu, wide eps": lambda: _gpt2(activation_function="gelu", layer_norm_epsilon=1e-3),
    "llama untied": _llama,
    "llama tied": lambda: _llama(tie_word_embeddings=True),
    "llama grouped": lambda: _llama(num_attention_heads=6, num_key_value_heads=2, head_dim=8),
    "llama one key head, one layer": lambda: _llama(num_key_value_heads=1, num_hidden_layers=1),
    "llama wide heads": lambda: _llama(head_dim=10),
    "llama biases": lambda: _llama(attention_bias=True, mlp_bias=True),
    "llama eps, gelu": lambda: _llama(rms_norm_eps=1e-2, hidden_act="gelu_pytorch_tanh"),
    "llama theta": lambda: _llama(**_rope("default", rope_theta=500.0)),
    "llama linear": lambda: _llama(**_rope("linear", factor=2.5)),
    "llama dynamic": lambda: _llama(**_rope("dynamic", factor=3.0)),
    "llama yarn": lambda: _llama(**_rope("yarn", factor=4.0, original_max_position_embeddings=8)),
    "llama yarn, all settings": lambda: _llama(
        **_rope(
            "yarn",
            factor=4.0,
            original_max_position_embeddings=16,
            beta_fast=8.0,
            beta_slow=0.5,
            mscale=0.8,
            mscale_all_dim=0.6,
            truncate=False,
        )
    ),
    "llama yarn, attention factor": lambda: _llama(
        **_rope("yarn", factor=2.0, original_max_position_embeddings=16, attention_factor=1.3)
    ),
    "llama llama3": lambda: _llama(**_rope("llama3", factor=8.0, **_BANDS)),
    "llama longrope": lambda: _llama(
        **_rope(
            "longrope",
            short_factor=[1.0, 1.2, 1.4, 1.6],
            long_factor=[1.0, 2.0, 4.0, 8.0],
            original_max_position_embeddings=16,
            factor=2.0,
        )
    ),
}


def theirs(case: str) -> PreTrainedModel:
    """The case's model with weights large enough that a wrong one shows."""
    torch.manual_seed(0)
    model = CASES[case]()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            shape, one = parameter.shape, 1.0 if parameter.dim() == 1 else 0.0
            parameter.copy_(one + 0.3 * torch.randn(shape, generator=generator))
    return model.eval()


def ours(model: PreTrainedModel, folder: Path, **options: Any) -> Model:
    """`model` saved by transformers and loaded by us."""
    model.save_pretrained(folder, **options)
    return load_folder(folder)[0]


def random_ids(rows: int = 3, length: int = 20) -> torch.Tensor:
    """(rows, length) ids, always the same."""
    return torch.randint(VOCAB, (rows, length), generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def our_logits(model: Model, ids: torch.Tensor, **options: Any) -> torch.Tensor:
    """(B, T, V)."""
    return model.logits(model(ids, **options))


@torch.no_grad()
def their_logits(model: PreTrainedModel, ids: torch.Tensor, **options: Any) -> torch.Tensor:
    """(B, T, V)."""
    return model(ids, **options).logits
