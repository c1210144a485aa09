"""textgenrnn's files (Woolf 2017-2020): NAME_weights.hdf5 as Keras saves weights, NAME_vocab.json, NAME_config.json.

Keras' LSTM keeps its kernels as (inputs, 4·H) with one bias. Its CuDNN layer keeps two biases and the numbers of
cuDNN's own matrices, a gate at a time: (H, inputs), merely called (inputs, H). Both have the gates in the order
i, f, g, o.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seodang.checkpoints.tensor_files import read_json
from seodang.errors import DataError, SeodangError
from seodang.models.config import ModelConfig
from seodang.text.tokenizer import Tokenizer
from seodang.text.vocabularies import from_characters

START = "<s>"
NOTHING = "<|nothing|>"
"""Token 0: where a text has not begun yet, and characters that the model does not know."""
_AGAIN = "copy the file again"


def find_weights(folder: Path) -> Path | None:
    """The weights in `folder` that have a vocabulary beside them, if there are one's."""
    files = [file for file in sorted(folder.glob("*.hdf5")) if vocabulary_of(file).is_file()]
    return files[0] if len(files) == 1 else None


def vocabulary_of(weights: Path) -> Path:
    """The file of characters that belongs to NAME_weights.hdf5."""
    return weights.with_name(weights.name.removesuffix("weights.hdf5") + "vocab.json")


class TextGenRNNFile:
    """One model. Raises DataError for what is damaged or unsupported, SeodangError where h5py is not installed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def arrays(self) -> dict[str, Tensor]:
        """Every weight by its layer and Keras name, as "rnn_1/recurrent_kernel"."""
        try:
            import h5py
        except ImportError:
            raise SeodangError(
                f"{self.path.name} cannot be read", "h5py is not installed", "pip install 'seodang[hdf5]'"
            ) from None
        found: dict[str, Tensor] = {}

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                layer, kind = name.split("/")[0], name.split("/")[-1].split(":")[0]
                found[f"{layer}/{kind}"] = torch.from_numpy(np.asarray(item[()], dtype=np.float32))

        try:
            with h5py.File(self.path) as file:
                file.visititems(visit)
        except OSError as error:
            raise DataError(f"{self.path} is damaged", str(error).splitlines()[0], _AGAIN) from None
        return found

    def array(self, name: str, *shape: int) -> Tensor:
        """One weight. Raises DataError when it is not there or not of this shape (-1: any size)."""
        value = self.arrays.get(name)
        found = None if value is None else tuple(value.shape)
        fits = found is not None and len(found) == len(shape) and all(map(lambda a, b: b in (-1, a), found, shape))
        if value is None or not fits:
            raise DataError(
                f"{self.path}: {name} is {list(found) if found else 'missing'}",
                f"textgenrnn's has the shape {list(shape)}; models for words, or of both directions, are not read",
                _AGAIN,
            )
        return value

    @property
    def config(self) -> ModelConfig:
        """The sizes that the shapes and NAME_config.json tell."""
        n_layers = sum(name.startswith("rnn_") and name.endswith("/recurrent_kernel") for name in self.arrays)
        rows, width = self.array("embedding/embeddings", -1, -1).shape
        hidden = self.array("rnn_1/recurrent_kernel", -1, -1).shape[0]
        settings = self.path.with_name(self.path.name.removesuffix("weights.hdf5") + "config.json")
        window = read_json(settings).get("max_length", 40) if settings.is_file() else 40
        return ModelConfig(
            family="textgenrnn", vocab_size=rows, context_length=window, d_model=width + n_layers * hidden,
            n_layers=n_layers, n_heads=1, d_embed=width, d_ff=hidden, tied=False,
        )  # fmt: skip

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(our name, float32 tensor) of every weight."""
        config = self.config
        yield "embed.weight", self.array("embedding/embeddings", config.vocab_size, config.d_embed)
        for layer in range(config.n_layers):
            name, n_in, n_out = f"rnn_{layer + 1}", config.d_ff if layer else config.d_embed, 4 * config.d_ff
            kernels = [self.array(f"{name}/{kind}", rows, n_out) for kind, rows in
                       (("kernel", n_in), ("recurrent_kernel", config.d_ff))]  # fmt: skip
            bias = self.array(f"{name}/bias", -1)
            if len(bias) == 2 * n_out:
                kernels = [torch.cat([gate.reshape(gate.shape[::-1]) for gate in k.chunk(4, dim=1)]) for k in kernels]
                biases = bias.split(n_out)
            else:
                kernels, biases = [kernel.T for kernel in kernels], (bias, torch.zeros_like(bias))
            for kind, kernel, one in zip(("ih", "hh"), kernels, biases, strict=True):
                yield f"layers.{layer}.weight_{kind}_l0", kernel
                yield f"layers.{layer}.bias_{kind}_l0", one
        yield "attention.weight", self.array("attention/attention_W", config.d_model, 1).T
        yield "head.weight", self.array("output/kernel", config.d_model, config.vocab_size).T
        yield "token_bias", self.array("output/bias", config.vocab_size)

    def tokenizer(self) -> Tokenizer | None:
        """Characters; those that the model does not know are token 0, as in textgenrnn. None without a vocabulary."""
        path = vocabulary_of(self.path)
        if not path.is_file():
            return None
        return from_characters({NOTHING: 0, **read_json(path)}, unknown=NOTHING, start=START)

    def generation(self) -> dict[str, Any]:
        """What begins a text ends it."""
        tokenizer = self.tokenizer()
        return {} if tokenizer is None else {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
