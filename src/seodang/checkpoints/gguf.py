"""GGUF files in: llama and gpt2 models with their tokenizer and chat template, quantised blocks made float32."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seodang.checkpoints.rotary import halves_from_pairs
from seodang.errors import DataError, SeodangError
from seodang.models.config import ModelConfig, RoPE
from seodang.models.positions import rotary_frequencies
from seodang.text.tokenizer import Tokenizer

QUANTISATIONS = (
    "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
)  # fmt: skip

_FIX = "copy the file again from where it came"
_LAYER = re.compile(r"^blk\.(\d+)\.")
_SHARED = {"token_embd": "embed", "output_norm": "norm", "output": "head"}
_MODULES: dict[str, dict[str, str]] = {
    "llama": {
        **_SHARED,
        "attn_norm": "attention_norm",
        "attn_q": "attention.q",
        "attn_k": "attention.k",
        "attn_v": "attention.v",
        "attn_output": "attention.out",
        "ffn_norm": "mlp_norm",
        "ffn_gate": "mlp.gate",
        "ffn_up": "mlp.up",
        "ffn_down": "mlp.down",
    },
    "gpt2": {
        **_SHARED,
        "position_embd": "positions",
        "attn_norm": "attention_norm",
        "attn_qkv": "attention.qkv",
        "attn_output": "attention.out",
        "ffn_norm": "mlp_norm",
        "ffn_up": "mlp.up",
        "ffn_down": "mlp.down",
    },
}


class GGUFFile:
    """An opened GGUF file: config, tokenizer, generation settings, and tensors read when asked for.

    Raises DataError when it is cut short, damaged, or of an architecture or quantisation that is not supported;
    SeodangError when the `gguf` package is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = _open(path)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        self.architecture = self._text("general.architecture")
        if self.architecture not in _MODULES:
            raise DataError(
                f"{path} holds a model of architecture {self.architecture!r}",
                "this package does not read it",
                "supported: " + ", ".join(_MODULES),
            )
        for tensor in self._tensors.values():
            if tensor.tensor_type.name not in QUANTISATIONS:
                raise DataError(
                    f"{path}: {tensor.name} is quantised as {tensor.tensor_type.name}",
                    "this package does not read that",
                    "use a file with " + ", ".join(QUANTISATIONS),
                )
        self.config = self._llama_config() if self.architecture == "llama" else self._gpt2_config()
        self._check_tokens()

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(our name, float32 tensor) of every weight, LLaMA's rotary rows in the order of halves."""
        from gguf.quants import dequantize

        heads = {"attention.q": self.config.n_heads, "attention.k": self.config.n_kv_heads}
        for name, tensor in self._tensors.items():
            ours = self._ours(name)
            if ours is None or (ours == "head.weight" and self.config.tied):
                continue
            # F32 comes back as a view of the file, which is read-only; everything else is new
            value = torch.from_numpy(np.require(dequantize(tensor.data, tensor.tensor_type), requirements="W"))
            value = value.reshape([int(size) for size in reversed(tensor.shape)])
            module = ours.split(".", 2)[-1].rpartition(".")[0]
            if self.architecture == "llama" and module in heads:
                value = halves_from_pairs(value, heads[module])
            yield ours, value

    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer and chat template in the metadata; None when there is none."""
        kind = self._value("tokenizer.ggml.model")
        tokens = self._value("tokenizer.ggml.tokens")
        if kind is None or tokens is None or kind == "none":
            return None
        types = self._value("tokenizer.ggml.token_type") or [1] * len(tokens)
        special = {
            name: self._value(f"tokenizer.ggml.{key}_token_id")
            for name, key in (("bos_id", "bos"), ("eos_id", "eos"), ("unk_id", "unknown"), ("pad_id", "padding"))
        }
        template = self._value("tokenizer.chat_template")
        bos = self._value("tokenizer.ggml.add_bos_token")
        if kind == "gpt2":
            return Tokenizer.from_bpe(
                tokens,
                self._value("tokenizer.ggml.merges") or [],
                types,
                pre=self._value("tokenizer.ggml.pre") or "gpt-2",
                add_bos=bool(bos),
                add_prefix_space=bool(self._value("tokenizer.ggml.add_space_prefix")),
                chat_template=template,
                **special,
            )
        if kind == "llama":
            prefix = self._value("tokenizer.ggml.add_space_prefix")
            return Tokenizer.from_sentencepiece(
                tokens,
                self._value("tokenizer.ggml.scores") or [0.0] * len(tokens),
                types,
                add_space_prefix=True if prefix is None else bool(prefix),
                add_bos=True if bos is None else bool(bos),
                chat_template=template,
                **special,
            )
        raise DataError(
            f"{self.path} has a tokenizer of kind {kind!r}", "this package does not read it", "supported: gpt2, llama"
        )

    def generation(self) -> dict[str, Any]:
        """bos, eos and pad ids, as generation_config.json names them; the end of a turn ends a text too."""
        keys = {"bos_token_id": ("bos",), "eos_token_id": ("eot", "eos"), "pad_token_id": ("padding",)}
        found: dict[str, Any] = {}
        for theirs, names in keys.items():
            values = [self._value(f"tokenizer.ggml.{name}_token_id") for name in names]
            unique = list(dict.fromkeys(int(value) for value in values if value is not None))
            if unique:
                found[theirs] = unique[0] if len(unique) == 1 else unique
        return found

    def _ours(self, name: str) -> str | None:
        """Our name of their tensor; None for tables that are not weights."""
        if name in ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"):
            return None
        layer = _LAYER.match(name)
        module, _, kind = (name[layer.end() :] if layer else name).rpartition(".")
        ours = _MODULES[self.architecture].get(module)
        if ours is None:
            raise DataError(
                f"{self.path} has an unexpected tensor {name}",
                f"a {self.architecture} model has no such part here",
                "use another model",
            )
        return f"layers.{layer[1]}.{ours}.{kind}" if layer else f"{ours}.{kind}"

    def _value(self, key: str) -> Any:
        field = self._reader.fields.get(key)
        try:
            return None if field is None else field.contents()
        except (IndexError, ValueError, UnicodeDecodeError) as error:
            raise DataError(f"{self.path}: {key} is damaged", str(error), _FIX) from None

    def _text(self, key: str) -> str:
        value = self._value(key)
        if not isinstance(value, str):
            raise DataError(f"{self.path} does not say its {key}", f"it has {value!r}", _FIX)
        return value

    def _number(self, key: str, kind: type = int, default: float | None = None) -> Any:
        value = self._value(f"{self.architecture}.{key}")
        value = default if value is None else value
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise DataError(f"{self.path} does not say {self.architecture}.{key}", f"it has {value!r}", _FIX)
        return kind(value)

    def _rows(self) -> int:
        if "token_embd.weight" not in self._tensors:
            raise DataError(f"{self.path} lacks token_embd.weight", "the embedding is needed", _FIX)
        return int(self._tensors["token_embd.weight"].shape[1])

    def _tied(self) -> bool:
        """Whether there is no output matrix, or one that repeats the embedding byte for byte."""
        if "output.weight" not in self._tensors:
            return True
        head, embed = self._tensors["output.weight"], self._tensors["token_embd.weight"]
        return head.tensor_type == embed.tensor_type and bool((head.data == embed.data).all())

    def _common(self) -> dict[str, Any]:
        n_heads = self._number("attention.head_count")
        return {
            "family": self.architecture,
            "vocab_size": self._rows(),
            "context_length": self._number("context_length"),
            "d_model": self._number("embedding_length"),
            "n_layers": self._number("block_count"),
            "n_heads": n_heads,
            "d_ff": self._number("feed_forward_length"),
            "tied": self._tied(),
        }

    def _gpt2_config(self) -> ModelConfig:
        eps = self._number("attention.layer_norm_epsilon", float, 1e-5)
        return ModelConfig(**self._common(), norm_eps=_short(eps), activation="gelu_tanh")

    def _llama_config(self) -> ModelConfig:
        common = self._common()
        if self._number("expert_count", default=0):
            raise DataError(f"{self.path} is a mixture of experts", "this package has none", "use a dense model")
        window = self._number("attention.sliding_window", default=0)
        if 0 < window < common["context_length"]:
            raise DataError(f"{self.path} has sliding-window attention", "not supported", "use another model")
        d_head = self._number("attention.key_length", default=common["d_model"] // common["n_heads"])
        if self._number("rope.dimension_count", default=d_head) != d_head:
            raise DataError(f"{self.path} rotates a part of each head", "whole heads only", "use another model")
        return ModelConfig(
            **common,
            n_kv_heads=self._number("attention.head_count_kv", default=common["n_heads"]),
            d_head=d_head,
            activation="silu",
            norm_eps=_short(self._number("attention.layer_norm_rms_epsilon", float, 1e-5)),
            attention_bias="blk.0.attn_q.bias" in self._tensors,
            mlp_bias="blk.0.ffn_up.bias" in self._tensors,
            rope=self._rope(d_head, common["context_length"]),
        )

    def _rope(self, d_head: int, context_length: int) -> RoPE:
        theta = _short(self._number("rope.freq_base", float, 10000.0))
        if "rope_freqs.weight" in self._tensors:
            return self._banded(theta, d_head, context_length)
        kind = self._value(f"{self.architecture}.rope.scaling.type") or "none"
        factor = _short(self._number("rope.scaling.factor", float, self._number("rope.scale_linear", float, 1.0)))
        original = self._value(f"{self.architecture}.rope.scaling.original_context_length")
        if kind in ("none", "linear"):
            return RoPE(theta=theta) if factor in (0.0, 1.0) else RoPE(theta=theta, scaling="linear", factor=factor)
        if kind == "yarn":
            attention = self._number("rope.scaling.attn_factor", float, 1.0)
            return RoPE(
                theta=theta,
                scaling="yarn",
                factor=factor,
                original_context=original,
                beta_fast=self._number("rope.scaling.yarn_beta_fast", float, 32.0),
                beta_slow=self._number("rope.scaling.yarn_beta_slow", float, 1.0),
                attention_factor=None if attention == 1.0 else attention * (1 + 0.1 * math.log(factor)),
            )
        raise DataError(f"{self.path} scales positions by {kind!r}", "not supported", "supported: linear, yarn")

    def _banded(self, theta: float, d_head: int, context_length: int) -> RoPE:
        """The table by which llama.cpp divides each rotation frequency: Llama 3.1's bands, or any other table.

        llama.cpp's converter keeps the table and drops the settings it came from. Those of the published models
        are tried; a table that they do not explain is kept as it is, in the one scaling that carries a table.
        """
        table = torch.from_numpy(self._tensors["rope_freqs.weight"].data.copy()).float()
        plain, _ = rotary_frequencies(RoPE(theta=theta), d_head, context_length, 0)
        if len(table) != len(plain):
            raise DataError(f"{self.path}: rope_freqs.weight has {len(table)} entries", f"not {len(plain)}", _FIX)
        bands = RoPE(theta=theta, scaling="llama3", factor=_short(float(table.max())), original_context=8192)
        found, _ = rotary_frequencies(bands, d_head, context_length, 0)
        if torch.allclose(found, plain / table, rtol=1e-5):
            return bands
        factors = tuple(float(value) for value in table)
        return RoPE(
            theta=theta,
            scaling="longrope",
            short_factor=factors,
            long_factor=factors,
            original_context=context_length,
            attention_factor=1.0,
        )

    def _check_tokens(self) -> None:
        tokens = self._value("tokenizer.ggml.tokens")
        if tokens is not None and len(tokens) != self.config.vocab_size:
            raise DataError(
                f"{self.path}: the tokenizer does not fit the model",
                f"it has {len(tokens):,} tokens and the model has {self.config.vocab_size:,} embedding rows",
                "convert the model to GGUF again with its own tokenizer",
            )


def _short(value: float) -> float:
    """The shortest decimal number that is the same in float32: 1e-05, not 9.999999747378752e-06."""
    return float(f"{value:.7g}")


def _open(path: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError:
        raise SeodangError(
            f"{path} cannot be read", "the package `gguf` is not installed", "pip install gguf"
        ) from None

    class Reader(GGUFReader):
        """Slices a plain array: a memmap makes each of 100,000 slices an object, three times as slow."""

        def _get(self, *arguments: Any, **keywords: Any) -> Any:
            if isinstance(self.data, np.memmap):
                self.data = np.asarray(self.data)  # type: ignore[assignment]
            return super()._get(*arguments, **keywords)

    try:
        reader = Reader(path)
        for tensor in reader.tensors:
            if tensor.data.nbytes != tensor.n_bytes:
                raise ValueError(f"{tensor.name} ends early")
        return reader
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, UnicodeDecodeError, MemoryError) as error:
        raise DataError(f"{path} is not a whole GGUF file", f"it is cut short or damaged ({error})", _FIX) from None
