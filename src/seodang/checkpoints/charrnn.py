"""Character LSTMs as ml5's charRNN publishes them: raw float32 files, a manifest.json of their names and shapes, and a
vocab.json of characters.

TensorFlow's BasicLSTMCell keeps one matrix (inputs + H, 4·H) for both W and U, its gates in the order i, g, f, o, and
adds 1 to the forget gate when it runs (Zaremba et al. 2014).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seodang.checkpoints.tensor_files import read_json
from seodang.errors import DataError
from seodang.models.config import ModelConfig
from seodang.text.tokenizer import Tokenizer
from seodang.text.vocabularies import from_characters

_CELL = re.compile(r"cell_(\d+)/.*/(kernel|bias)$")
_AGAIN = "copy the folder again"


def is_charrnn(folder: Path) -> bool:
    """Whether `folder` is one of these, and no folder of ours."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return "embedding" in manifest and (folder / "vocab.json").is_file()
    except (OSError, ValueError, TypeError):
        return False


class CharRNN:
    """One folder: its config, tensors by our names, and tokenizer. Raises DataError for what is missing or damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.manifest = folder, read_json(folder / "manifest.json")

    @cached_property
    def cells(self) -> dict[tuple[int, str], str]:
        """(layer, kernel or bias) → name in the manifest."""
        matches = {name: _CELL.search(name) for name in self.manifest}
        return {(int(match[1]), match[2]): name for name, match in matches.items() if match}

    @property
    def config(self) -> ModelConfig:
        """The sizes that the shapes tell. How long the text was that it was trained on, they do not."""
        rows, width = self.shape("embedding")
        n_layers = len({layer for layer, _ in self.cells})
        hidden = self.shape("rnnlm/softmax_w")[0]
        if n_layers < 1 or width != hidden:
            raise DataError(f"{self.folder} is not a charRNN model", f"{n_layers} layers, {width} and {hidden}", _AGAIN)
        return ModelConfig(
            family="lstm", vocab_size=rows, context_length=128, d_model=hidden, n_layers=n_layers, n_heads=1, tied=False
        )

    def shape(self, name: str) -> list[int]:
        """As the manifest says."""
        try:
            return [int(size) for size in self.manifest[name]["shape"]]
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{self.folder / 'manifest.json'} has no shape of {name}", "", _AGAIN) from None

    def read(self, name: str) -> Tensor:
        """One tensor, as it was published."""
        shape, file = self.shape(name), self.folder / Path(str(self.manifest[name].get("filename"))).name
        try:
            values = np.fromfile(file, dtype="<f4")
        except OSError as error:
            raise DataError(f"{file} cannot be read", error.strerror or str(error), _AGAIN) from None
        if values.size != np.prod(shape) or file.stat().st_size != 4 * values.size:
            raise DataError(f"{file} is damaged", f"{file.stat().st_size:,} bytes are not {shape} numbers", _AGAIN)
        return torch.from_numpy(values).reshape(shape)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(our name, float32 tensor) of every weight."""
        yield "embed.weight", self.read("embedding")
        for (layer, part), name in self.cells.items():
            i, g, f, o = self.read(name).chunk(4, dim=-1)
            if part == "bias":
                f = f + 1
            value = torch.cat((i, f, g, o), dim=-1)
            if part == "bias":
                yield f"layers.{layer}.bias_ih_l0", value
                yield f"layers.{layer}.bias_hh_l0", torch.zeros_like(value)
                continue
            n_inputs = len(value) - value.shape[1] // 4
            yield f"layers.{layer}.weight_ih_l0", value[:n_inputs].T
            yield f"layers.{layer}.weight_hh_l0", value[n_inputs:].T
        yield "head.weight", self.read("rnnlm/softmax_w").T
        yield "token_bias", self.read("rnnlm/softmax_b")

    def tokenizer(self) -> Tokenizer:
        """Characters; those that the model does not know become spaces."""
        vocabulary = read_json(self.folder / "vocab.json")
        if not all(isinstance(id, int) for id in vocabulary.values()) or " " not in vocabulary:
            raise DataError(f"{self.folder / 'vocab.json'} is no vocabulary", "character → id is wanted", _AGAIN)
        return from_characters(vocabulary, unknown=" ")

    def generation(self) -> dict[str, Any]:
        """Nothing ends a text."""
        return {}
