"""Writers of small GGUF and llama2.c files, for tests only."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize

from seodang.models.base import Model
from seodang.models.config import ModelConfig
from seodang.models.decoder import Decoder
from seodang.models.families import FAMILIES, build_model
from seodang.models.sizes import published
from tests.training.helpers import mini_of

DECODERS = [name for name, family in FAMILIES.items() if issubclass(family, Decoder)]
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]


def tiny(family: str, **changes: Any) -> Model:
    """A random model whose rows all hold whole quantisation blocks of 32."""
    sizes: dict[str, Any] = {
        "vocab_size": 50, "context_length": 24, "d_model": 64, "n_layers": 2, "n_heads": 4, "d_head": 0,
        "d_ff": 256 if family == "gpt1" else 96,  # whose published form has one inner width
    }  # fmt: skip
    if family in DECODERS:
        usual = published(mini_of(family))
        sizes |= {"n_kv_heads": 2 if usual.n_kv_heads < usual.n_heads else 4, "window": usual.window and 6}
        config = replace(usual, **{**sizes, **changes})
    else:
        segments = {"n_segments": 2} if FAMILIES[family].kind == "masked" else {}
        state = {"n_heads": 1, "d_ff": 0, "d_embed": 32} if FAMILIES[family].recurrent else {}
        config = ModelConfig(family=family, **{**sizes, **segments, **state, **changes})
    model = build_model(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            one = 1.0 if parameter.dim() == 1 else 0.0
            parameter.copy_(one + 0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


GGUF_NAMES = {
    "llama": {
        "embed": "token_embd", "norm": "output_norm", "head": "output", "attention_norm": "attn_norm",
        "attention.q": "attn_q", "attention.k": "attn_k", "attention.v": "attn_v", "attention.out": "attn_output",
        "mlp_norm": "ffn_norm", "mlp.gate": "ffn_gate", "mlp.up": "ffn_up", "mlp.down": "ffn_down",
    },
    "gpt2": {
        "embed": "token_embd", "positions": "position_embd", "norm": "output_norm", "head": "output",
        "attention_norm": "attn_norm", "attention.qkv": "attn_qkv", "attention.out": "attn_output",
        "mlp_norm": "ffn_norm", "mlp.up": "ffn_up", "mlp.down": "ffn_down",
    },
}  # fmt: skip


def _pairs(weight: np.ndarray, heads: int) -> np.ndarray:
    """As llama.cpp's converter permutes query and key rows: halves to neighbouring pairs, row by row."""
    width = weight.shape[0] // heads
    pairs = [part * width // 2 + i for i in range(width // 2) for part in (0, 1)]
    return weight[[head * width + row for head in range(heads) for row in pairs]]


def write_gguf(
    path: Path,
    model: Model,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    *,
    tokens: list[str] | None = None,
    types: list[int] | None = None,
    merges: list[str] | None = None,
    scores: list[float] | None = None,
    template: str | None = None,
    extra: dict[str, Any] | None = None,
    rope_freqs: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Write `model`; matrices are quantised as `kind`, vectors stay F32. Returns what was stored, by our names."""
    config = model.config
    writer = GGUFWriter(path, config.family)
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.d_model)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_head_count(config.n_heads)
    if config.family == "llama":
        writer.add_head_count_kv(config.n_kv_heads)
        writer.add_layer_norm_rms_eps(config.norm_eps)
        writer.add_rope_dimension_count(config.d_head)
        writer.add_rope_freq_base(config.rope.theta if config.rope else 1e4)
    else:
        writer.add_layer_norm_eps(config.norm_eps)
    for key, value in (extra or {}).items():
        {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}[type(value)](key, value)
    if tokens is not None:
        writer.add_tokenizer_model("llama" if scores is not None else "gpt2")
        writer.add_token_list(tokens)
        writer.add_token_types(types or [TokenType.NORMAL] * len(tokens))
        if scores is not None:
            writer.add_token_scores(scores)
        if merges is not None:
            writer.add_tokenizer_pre("gpt-2")
            writer.add_token_merges(merges)
    if template is not None:
        writer.add_chat_template(template)
    if rope_freqs is not None:
        writer.add_tensor("rope_freqs.weight", rope_freqs.astype(np.float32))
    stored: dict[str, np.ndarray] = {}
    for name, tensor in model.state_dict().items():
        module, _, part = name.rpartition(".")
        layer, inner = module.split(".")[1:2], ".".join(module.split(".")[2:])
        theirs = GGUF_NAMES[config.family][inner if module.startswith("layers.") else module]
        full = f"blk.{layer[0]}.{theirs}.{part}" if module.startswith("layers.") else f"{theirs}.{part}"
        value = stored[name] = tensor.numpy().copy()
        if theirs in ("attn_q", "attn_k"):
            value = _pairs(value, config.n_heads if theirs == "attn_q" else config.n_kv_heads)
        if value.ndim == 2 and kind != GGMLQuantizationType.F32:
            writer.add_tensor(full, quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(full, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


def write_llama2c(path: Path, model: Model, version: int = 0) -> None:
    """Write `model` in llama2.c's order: legacy (0) or version 1."""
    config, state = model.config, model.state_dict()
    layers = range(config.n_layers)

    def block(name: str, heads: int = 0) -> list[np.ndarray]:
        values = [state[f"layers.{layer}.{name}.weight"].numpy() for layer in layers]
        return [_pairs(value, heads) for value in values] if heads else values

    norms, mlp_norms = block("attention_norm"), block("mlp_norm")
    attention = [
        *block("attention.q", config.n_heads),
        *block("attention.k", config.n_kv_heads),
        *block("attention.v"),
        *block("attention.out"),
    ]
    mlp = [*block("mlp.gate"), *block("mlp.down"), *block("mlp.up")]
    embed, norm = state["embed.weight"].numpy(), state["norm.weight"].numpy()
    head = [] if config.tied else [state["head.weight"].numpy()]
    table = np.full(config.context_length * config.d_head, np.nan)  # cos and sin tables, which a reader skips
    sizes = [config.d_model, config.d_ff, config.n_layers, config.n_heads, config.n_kv_heads]
    if version == 0:
        start = struct.pack("<7i", *sizes, config.vocab_size * (1 if config.tied else -1), config.context_length)
        blocks = [embed, *norms, *attention, *mlp_norms, *mlp, norm, table, *head]
    else:
        sizes += [config.vocab_size, config.context_length]
        start = struct.pack("<Ii7iB", 0x616B3432, version, *sizes, config.tied).ljust(256, b"\0")
        blocks = [*norms, *mlp_norms, norm, embed, *attention, *mlp, *head]
    path.write_bytes(start + b"".join(block.astype("<f4").tobytes() for block in blocks))


def write_llama2c_tokenizer(path: Path, pieces: list[tuple[str, float]]) -> None:
    """Write (piece, score) pairs as llama2.c's tokenizer.py does, spaces as spaces."""
    data = struct.pack("<i", max(len(piece) for piece, _ in pieces))
    for piece, score in pieces:
        raw = piece.encode()
        data += struct.pack("<fi", score, len(raw)) + raw
    path.write_bytes(data)
