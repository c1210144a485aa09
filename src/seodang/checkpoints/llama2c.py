"""llama2.c's model files: a header of seven int32 and float32 weights, in the legacy order or with a version."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seodang.checkpoints.rotary import halves_from_pairs
from seodang.errors import DataError
from seodang.models.config import ModelConfig, RoPE
from seodang.text.sentencepiece import read_llama2c_vocabulary, read_model, tokenizer_from_pieces
from seodang.text.tokenizer import Tokenizer

_MAGIC = 0x616B3432  # "ak42"
_V1_HEADER_BYTES = 256
_LEGACY_HEADER_BYTES = 28
_LAYERED = {
    "wq": "attention.q",
    "wk": "attention.k",
    "wv": "attention.v",
    "wo": "attention.out",
    "w1": "mlp.gate",
    "w2": "mlp.down",
    "w3": "mlp.up",
    "attention_norm": "attention_norm",
    "mlp_norm": "mlp_norm",
}
_LEGACY_ORDER = (
    "embed", "attention_norm", "wq", "wk", "wv", "wo", "mlp_norm", "w1", "w2", "w3", "norm", "rotary", "head",
)  # fmt: skip
_V1_ORDER = (
    "attention_norm", "mlp_norm", "norm", "embed", "wq", "wk", "wv", "wo", "w1", "w2", "w3", "head",
)  # fmt: skip


@dataclass(frozen=True)
class Llama2cFile:
    """A parsed header: the model's config, and where its weights lie."""

    path: Path
    config: ModelConfig
    version: int
    offset: int

    def generation(self) -> dict[str, Any]:
        """SentencePiece's ids; llama2.c starts every text with bos."""
        return {"bos_token_id": 1, "eos_token_id": 2}

    def tokenizer(self) -> Tokenizer | None:
        """The one that lies beside the file (see `find_tokenizer`)."""
        return find_tokenizer(self.path, self.config.vocab_size)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(our name, float32 tensor) of every weight, rotary rows in the order of halves."""
        config = self.config
        floats = np.memmap(self.path, dtype="<f4", mode="r", offset=self.offset)
        kv_width, width = config.n_kv_heads * config.d_head, config.n_heads * config.d_head
        shapes: dict[str, tuple[int, ...]] = {
            "wq": (width, config.d_model),
            "wk": (kv_width, config.d_model),
            "wv": (kv_width, config.d_model),
            "wo": (config.d_model, width),
            "w1": (config.d_ff, config.d_model),
            "w2": (config.d_model, config.d_ff),
            "w3": (config.d_ff, config.d_model),
            "attention_norm": (config.d_model,),
            "mlp_norm": (config.d_model,),
            "norm": (config.d_model,),
            "embed": (config.vocab_size, config.d_model),
            "head": (config.vocab_size, config.d_model),
        }
        position = 0
        for block in _LEGACY_ORDER if self.version == 0 else _V1_ORDER:
            if block == "rotary":  # cosine and sine tables, which follow from the config
                position += config.context_length * config.d_head
                continue
            if block == "head" and config.tied:
                continue
            for layer in range(config.n_layers) if block in _LAYERED else [None]:
                size = int(np.prod(shapes[block]))
                tensor = torch.from_numpy(np.array(floats[position : position + size])).reshape(shapes[block])
                position += size
                if block in ("wq", "wk"):
                    tensor = halves_from_pairs(tensor, config.n_heads if block == "wq" else config.n_kv_heads)
                name = block if layer is None else f"layers.{layer}.{_LAYERED[block]}"
                yield f"{name}.weight", tensor


def read_header(path: Path) -> Llama2cFile:
    """Parse the header of a llama2.c model and check that the file is exactly as long as it says.

    Legacy files mark an untied head by a negative vocabulary size; version 1 has a magic word and a flag.
    Raises DataError when the file is neither, is cut short, or is the int8 version 2.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        start = stream.read(_V1_HEADER_BYTES)
    try:
        if struct.unpack_from("<I", start)[0] == _MAGIC:
            version, *fields = struct.unpack_from("<8i", start, 4)
            tied, offset = bool(start[36]), _V1_HEADER_BYTES
        else:
            fields = list(struct.unpack_from("<7i", start))
            version, tied, offset = 0, fields[5] > 0, _LEGACY_HEADER_BYTES
    except (struct.error, IndexError):
        raise DataError(f"{path} is not a llama2.c model", "its header is cut short", "copy it again") from None
    if version not in (0, 1):
        raise DataError(
            f"{path} is llama2.c version {version}",
            "only the float32 versions, legacy and 1, are read",
            "export the model again with llama2.c's `export.py --version 1`",
        )
    d_model, d_ff, n_layers, n_heads, n_kv_heads, vocab_size, context_length = fields
    whole = min(d_model, d_ff, n_layers, n_heads, n_kv_heads, abs(vocab_size), context_length) > 0
    if not whole or d_model % n_heads or n_heads % n_kv_heads:
        raise DataError(
            f"{path} is not a llama2.c model", f"its header reads {fields}", "check that it is the model's .bin file"
        )
    config = ModelConfig(
        family="llama",
        vocab_size=abs(vocab_size),
        context_length=context_length,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        d_ff=d_ff,
        activation="silu",
        norm_eps=1e-5,
        tied=tied,
        attention_bias=False,
        mlp_bias=False,
        rope=RoPE(),
    )
    wanted = offset + 4 * _count_floats(config, version)
    if size != wanted:
        raise DataError(
            f"{path} is {'cut short' if size < wanted else 'too long'}",
            f"it has {size:,} bytes and its header promises {wanted:,}",
            "copy it again",
        )
    return Llama2cFile(path, config, version, offset)


def _count_floats(config: ModelConfig, version: int) -> int:
    width, kv_width = config.n_heads * config.d_head, config.n_kv_heads * config.d_head
    layer = config.d_model * (2 * width + 2 * kv_width + 3 * config.d_ff + 2)
    embeddings = config.vocab_size * config.d_model * (1 if config.tied else 2)
    rotary = config.context_length * config.d_head if version == 0 else 0
    return config.n_layers * layer + config.d_model + embeddings + rotary


def find_tokenizer(path: Path, vocab_size: int) -> Tokenizer | None:
    """The tokenizer beside a llama2.c model: `tokNNN.bin`, `tokenizer.bin` or a SentencePiece `.model`, or None.

    Raises DataError when one is there and does not have the model's number of pieces.
    """
    for name in (f"tok{vocab_size}.bin", "tokenizer.bin", f"tok{vocab_size}.model", "tokenizer.model"):
        file = path.with_name(name)
        if not file.is_file() or file == path:
            continue
        pieces = read_llama2c_vocabulary(file, vocab_size) if file.suffix == ".bin" else read_model(file)
        if len(pieces.tokens) != vocab_size:
            raise DataError(
                f"{file} does not fit the model",
                f"it holds {len(pieces.tokens)} pieces and the model has {vocab_size} embedding rows",
                "put the tokenizer that the model was trained with beside it",
            )
        return tokenizer_from_pieces(pieces)
    return None
