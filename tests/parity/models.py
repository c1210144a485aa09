"""Small random models of each family in `transformers`, with the shapes that break assumptions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
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


def _gpt3(**changes: Any) -> PreTrainedModel:
    sizes = {
        "vocab_size": VOCAB, "max_position_embeddings": CONTEXT, "hidden_size": 24, "num_layers": 2, "num_heads": 3,
        "attention_types": [[["global", "local"], 1]], "window_size": 5, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    return GPTNeoForCausalLM(GPTNeoConfig(**{**sizes, **changes}))


_SIZES = {
    "vocab_size": VOCAB,
    "max_position_embeddings": CONTEXT,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
}
_ONE_KEY_HEAD = {"num_key_value_heads": 1}


def _llama(**changes: Any) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**{**_SIZES, **changes}))


def _qwen2(**changes: Any) -> PreTrainedModel:
    return Qwen2ForCausalLM(Qwen2Config(**{**_SIZES, "num_key_value_heads": 3, **changes}))


def _qwen3(**changes: Any) -> PreTrainedModel:
    return Qwen3ForCausalLM(Qwen3Config(**{**_SIZES, "num_key_value_heads": 3, "head_dim": 8, **changes}))


def _neox(**changes: Any) -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**{**_SIZES, "hidden_act": "gelu", **changes}))


def _mistral(**changes: Any) -> PreTrainedModel:
    sizes = {**_SIZES, "num_key_value_heads": 3, "sliding_window": 6}
    return MistralForCausalLM(MistralConfig(**{**sizes, **changes}))


_GEMMA = {**_SIZES, "num_key_value_heads": 3, "head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 20}


def _gemma2(**changes: Any) -> PreTrainedModel:
    return Gemma2ForCausalLM(Gemma2Config(**{**_GEMMA, "attn_implementation": "eager", **changes}))


def _gemma3(**changes: Any) -> PreTrainedModel:
    return Gemma3ForCausalLM(Gemma3TextConfig(**{**_GEMMA, **changes}))


def _ropes(full: dict[str, Any], local: dict[str, Any]) -> dict[str, Any]:
    kinds = {"full_attention": full, "sliding_attention": local}
    return {"rope_parameters": {name: {"rope_type": "default", **values} for name, values in kinds.items()}}


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
    "gpt3": _gpt3,
    "gpt3 one layer, one head, odd inner width": lambda: _gpt3(
        num_layers=1, num_heads=1, intermediate_size=37, attention_types=[[["global"], 1]]
    ),
    "gpt3 untied, local first": lambda: _gpt3(
        tie_word_embeddings=False, num_layers=3, attention_types=[[["local", "global"], 1], [["local"], 1]]
    ),
    "gpt3 exact gelu, window of one": lambda: _gpt3(activation_function="gelu", window_size=1, num_heads=6),
    "gptneox": _neox,
    "gptneox one layer, half of one head": lambda: _neox(
        num_hidden_layers=1, num_attention_heads=1, **_rope("default", partial_rotary_factor=0.5)
    ),
    "gptneox tied, one part after the other, whole heads": lambda: _neox(
        use_parallel_residual=False, tie_word_embeddings=True, **_rope("default", partial_rotary_factor=1.0)
    ),
    "gptneox tanh, theta, linear": lambda: _neox(
        hidden_act="gelu_new", layer_norm_eps=1e-3, intermediate_size=37,
        **_rope("linear", rope_theta=500.0, factor=2.0, partial_rotary_factor=0.25),
    ),
    "mistral": _mistral,
    "mistral tied, no window": lambda: _mistral(sliding_window=None, tie_word_embeddings=True),
    "mistral one layer, wide heads, grouped": lambda: _mistral(
        num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=10, sliding_window=1
    ),
    "gemma2": _gemma2,
    "gemma2 one layer, no caps": lambda: _gemma2(
        num_hidden_layers=1, attn_logit_softcapping=None, final_logit_softcapping=None, query_pre_attn_scalar=8
    ),
    "gemma2 untied, tight caps, grouped, biases": lambda: _gemma2(
        tie_word_embeddings=False, attn_logit_softcapping=2.0, final_logit_softcapping=5.0, num_attention_heads=6,
        num_key_value_heads=2, num_hidden_layers=3, attention_bias=True,
    ),
    "gemma3": lambda: _gemma3(num_hidden_layers=7),
    "gemma3 one local layer, wide heads": lambda: _gemma3(num_hidden_layers=1, head_dim=20),
    "gemma3 listed layers, linear, capped": lambda: _gemma3(
        layer_types=["full_attention", "sliding_attention"], num_key_value_heads=1, final_logit_softcapping=5.0,
        **_ropes({"rope_type": "linear", "rope_theta": 5e3, "factor": 8.0}, {"rope_theta": 300.0}),
    ),
    "qwen2": _qwen2,
    "qwen2 tied, grouped": lambda: _qwen2(tie_word_embeddings=True, num_attention_heads=6, num_key_value_heads=2),
    "qwen2 one layer, one key head": lambda: _qwen2(num_hidden_layers=1, **_ONE_KEY_HEAD),
    "qwen2 upper layers local": lambda: _qwen2(
        num_hidden_layers=3, use_sliding_window=True, sliding_window=6, max_window_layers=1
    ),
    "qwen2 listed layers, theta": lambda: _qwen2(
        use_sliding_window=True, sliding_window=3, layer_types=["sliding_attention", "full_attention"],
        **_rope("default", rope_theta=1e6),
    ),
    "qwen3": _qwen3,
    "qwen3 tied, wide heads": lambda: _qwen3(tie_word_embeddings=True, head_dim=20, rms_norm_eps=1e-2),
    "qwen3 one layer, grouped": lambda: _qwen3(num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2),
    "qwen3 biases, local, yarn": lambda: _qwen3(
        attention_bias=True, use_sliding_window=True, sliding_window=4, max_window_layers=1,
        **_rope("yarn", factor=4.0, original_max_position_embeddings=8),
    ),
}  # fmt: skip


def enlarged(make: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    """What `make` gives, always the same, with weights large enough that a wrong one shows."""
    torch.manual_seed(0)
    model = make()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            shape, one = parameter.shape, 1.0 if parameter.dim() == 1 else 0.0
            parameter.copy_(one + 0.3 * torch.randn(shape, generator=generator))
    return model.eval()


def theirs(case: str) -> PreTrainedModel:
    """The case's model, enlarged."""
    return enlarged(CASES[case])


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
