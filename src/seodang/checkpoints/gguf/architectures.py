"""The two-way table between our families and GGUF's architectures: names of tensors, settings, order of rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from seodang.checkpoints.gguf.metadata import Metadata
from seodang.checkpoints.gguf.settings import (
    Reads,
    Writes,
    gemma2_config,
    gemma2_settings,
    gemma3_config,
    gemma3_settings,
    gpt2_config,
    gpt2_settings,
    gptneox_config,
    gptneox_settings,
    llama_config,
    llama_settings,
    mistral_config,
    mistral_settings,
    qwen2_settings,
    qwen3_settings,
    window_of,
)
from seodang.checkpoints.rotary import halves_from_pairs, pairs_from_halves
from seodang.errors import DataError, UsageError
from seodang.models.config import ModelConfig

_THEIR_LAYER = re.compile(r"^blk\.(\d+)\.")
_OUR_LAYER = re.compile(r"^layers\.(\d+)\.")


@dataclass(frozen=True)
class Architecture:
    """One `general.architecture` of GGUF and the family of ours that it is."""

    name: str
    family: str
    modules: Mapping[str, str]
    """Our module → theirs; a layer's module is named from within its layer."""
    to_config: Reads
    """Settings of a ModelConfig beside those that all architectures state. Raises DataError for what is unsupported."""
    from_config: Writes
    """Its inverse, keys without the architecture in front. Raises UsageError for what GGUF cannot state."""
    paired: frozenset[str] = frozenset()
    """Our modules whose rows llama.cpp turns in neighbouring pairs."""
    gain: float = 0.0
    """What the file adds to the weights of norms: 1 where ours are counted from 1 (Gemma)."""
    note: str = ""
    """Where llama.cpp computes otherwise than the model; {window} is the model's."""
    windowed: bool | None = False
    """Whether files of this family state a window smaller than the context; None: they may."""

    def theirs(self, name: str) -> str:
        """Their name of our parameter."""
        module, _, kind = name.rpartition(".")
        layer = _OUR_LAYER.match(module)
        inner = self.modules[module[layer.end() :] if layer else module]
        return f"blk.{layer[1]}.{inner}.{kind}" if layer else f"{inner}.{kind}"

    def ours(self, name: str) -> str | None:
        """Our name of their tensor; None where there is no such part."""
        layer = _THEIR_LAYER.match(name)
        module, _, kind = (name[layer.end() :] if layer else name).rpartition(".")
        found = next((ours for ours, theirs in self.modules.items() if theirs == module), None)
        return found and (f"layers.{layer[1]}.{found}.{kind}" if layer else f"{found}.{kind}")

    def incoming(self, name: str, value: Tensor, config: ModelConfig) -> Tensor:
        """The value of our parameter `name` from the file's."""
        heads = self._pairs(name, config)
        gain = self.gain_of(name)
        return halves_from_pairs(value, heads) if heads else value - gain if gain else value

    def outgoing(self, name: str, value: Tensor, config: ModelConfig) -> Tensor:
        """Inverse of `incoming`."""
        heads = self._pairs(name, config)
        gain = self.gain_of(name)
        return pairs_from_halves(value, heads) if heads else value + gain if gain else value

    def gain_of(self, name: str) -> float:
        """What the file adds to our parameter."""
        return self.gain if name.endswith("norm.weight") else 0.0

    def _pairs(self, name: str, config: ModelConfig) -> int:
        """How many heads of neighbouring pairs the file keeps of our parameter; 0 where its rows are as ours."""
        module = _OUR_LAYER.sub("", name).rpartition(".")[0]
        if module not in self.paired:
            return 0
        return config.n_heads if module == "attention.q" else config.n_kv_heads

    def config(self, file: Metadata) -> ModelConfig:
        """The sizes of the model in a file. Raises DataError for a key that is missing or unsupported."""
        return ModelConfig(
            family=self.family,
            vocab_size=file.rows,
            context_length=file.number("context_length"),
            d_model=file.number("embedding_length"),
            n_layers=file.number("block_count"),
            n_heads=file.number("attention.head_count"),
            d_ff=file.number("feed_forward_length"),
            tied=file.tied,
            **self.to_config(file),
        )

    def keys(self, config: ModelConfig) -> dict[str, Any]:
        """Inverse of `config`. Raises UsageError for what GGUF cannot state."""
        keys = {
            "vocab_size": config.vocab_size,
            "context_length": config.context_length,
            "embedding_length": config.d_model,
            "block_count": config.n_layers,
            "feed_forward_length": config.d_ff,
            "attention.head_count": config.n_heads,
            "attention.head_count_kv": config.n_kv_heads,
            "attention.key_length": config.d_head,
            "attention.value_length": config.d_head,
            **self.from_config(config),
        }
        return {f"{self.name}.{key}": value for key, value in keys.items()}


_SHARED = {
    "embed": "token_embd",
    "norm": "output_norm",
    "head": "output",
    "attention_norm": "attn_norm",
    "attention.out": "attn_output",
    "mlp_norm": "ffn_norm",
    "mlp.up": "ffn_up",
    "mlp.down": "ffn_down",
}
_LLAMA = _SHARED | {
    "attention.q": "attn_q",
    "attention.k": "attn_k",
    "attention.v": "attn_v",
    "mlp.gate": "ffn_gate",
}
_NORMED = _LLAMA | {"attention.q_norm": "attn_q_norm", "attention.k_norm": "attn_k_norm"}
_GEMMA = _LLAMA | {"attention_out_norm": "post_attention_norm", "mlp_out_norm": "post_ffw_norm"}
_PAIRED = frozenset({"attention.q", "attention.k"})

ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        "gpt2",
        "gpt2",
        _SHARED | {"positions": "position_embd", "attention.qkv": "attn_qkv"},
        gpt2_config,
        gpt2_settings,
    ),
    Architecture("llama", "llama", _LLAMA, llama_config, llama_settings, _PAIRED),
    Architecture(
        "llama",
        "mistral",
        _LLAMA,
        mistral_config,
        mistral_settings,
        _PAIRED,
        note="llama.cpp knows no window of a llama file; it reads a text of more than {window} tokens otherwise",
        windowed=True,
    ),
    Architecture(
        "gptneox",
        "gptneox",
        _SHARED | {"attention.qkv": "attn_qkv"},
        gptneox_config,
        gptneox_settings,
        note="llama.cpp computes GPT-NeoX's GELU by its approximation with tanh",
    ),
    Architecture("qwen2", "qwen2", _LLAMA, llama_config, qwen2_settings),
    Architecture("qwen3", "qwen3", _NORMED, llama_config, qwen3_settings),
    Architecture("gemma2", "gemma2", _GEMMA, gemma2_config, gemma2_settings, gain=1.0, windowed=None),
    Architecture(
        "gemma3", "gemma3", _GEMMA | _NORMED, gemma3_config, gemma3_settings, gain=1.0, windowed=None
    ),
)


def architecture_of_file(file: Metadata) -> Architecture:
    """The entry for an opened file. Raises DataError naming the supported ones."""
    named = [entry for entry in ARCHITECTURES if entry.name == file.architecture]
    for entry in named:
        if entry.windowed in (None, bool(window_of(file))):
            return entry
    if named:
        raise DataError(f"{file.origin} has sliding-window attention", "not supported", "use another model")
    raise DataError(
        f"{file.origin} holds a model of architecture {file.architecture!r}",
        "this package does not read it",
        "supported: " + ", ".join(dict.fromkeys(entry.name for entry in ARCHITECTURES)),
    )


def architecture_of_family(family: str) -> Architecture:
    """The entry for one of our families. Raises UsageError for a family that GGUF has no form for."""
    for entry in ARCHITECTURES:
        if entry.family == family:
            return entry
    raise UsageError(
        f"models of the family {family!r} cannot be written as GGUF",
        "only decoders that llama.cpp computes alike are",
        "use one of " + ", ".join(entry.family for entry in ARCHITECTURES),
    )
