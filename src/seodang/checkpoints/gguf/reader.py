"""GGUF files in: models with their tokenizer and chat template, quantised blocks made float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seodang.checkpoints.gguf.architectures import architecture_of_file
from seodang.checkpoints.gguf.metadata import open_file
from seodang.checkpoints.gguf.vocabulary import tokenizer_of
from seodang.errors import DataError
from seodang.text.tokenizer import Tokenizer

QUANTISATIONS = (
    "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
)  # fmt: skip

_TABLES = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors that are settings, not weights."""


class GGUFFile:
    """An opened GGUF file: config, tokenizer, generation settings, and tensors read when asked for.

    Raises DataError when it is cut short, damaged, or of an architecture or quantisation that is not supported;
    SeodangError when the `gguf` package is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata, self._tensors = open_file(path)
        self.architecture = architecture_of_file(self.metadata)
        for tensor in self._tensors.values():
            if tensor.tensor_type.name not in QUANTISATIONS:
                raise DataError(
                    f"{path}: {tensor.name} is quantised as {tensor.tensor_type.name}",
                    "this package does not read that",
                    "use a file with " + ", ".join(QUANTISATIONS),
                )
        self.config = self.architecture.config(self.metadata)
        self._check_tokens()

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(our name, float32 tensor) of every weight, rows in our order."""
        for name, _, value in self.quantised():
            yield name, value

    def quantised(self) -> Iterator[tuple[str, Any, Tensor]]:
        """(our name, the tensor as it is stored, its float32 values as `tensors` gives them)."""
        from gguf.quants import dequantize

        for name, tensor in self._tensors.items():
            if name in _TABLES:
                continue
            ours = self.architecture.ours(name)
            if ours is None:
                raise DataError(
                    f"{self.path} has an unexpected tensor {name}",
                    f"a {self.architecture.name} model has no such part here",
                    "use another model",
                )
            if ours == "head.weight" and self.config.tied:
                continue
            # F32 comes back as a view of the file, which is read-only; everything else is new
            value = torch.from_numpy(np.require(dequantize(tensor.data, tensor.tensor_type), requirements="W"))
            yield ours, tensor, self.architecture.incoming(ours, value.reshape(self.metadata.shapes[name]), self.config)

    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer and chat template in the metadata; None when there is none."""
        return tokenizer_of(self.metadata)

    def generation(self) -> dict[str, Any]:
        """bos, eos and pad ids, as generation_config.json names them; the end of a turn ends a text too."""
        keys = {"bos_token_id": ("bos",), "eos_token_id": ("eot", "eos"), "pad_token_id": ("padding",)}
        found: dict[str, Any] = {}
        for theirs, names in keys.items():
            values = [self.metadata.value(f"tokenizer.ggml.{name}_token_id") for name in names]
            unique = list(dict.fromkeys(int(value) for value in values if value is not None))
            if unique:
                found[theirs] = unique[0] if len(unique) == 1 else unique
        return found

    def _check_tokens(self) -> None:
        tokens = self.metadata.value("tokenizer.ggml.tokens")
        if tokens is not None and len(tokens) != self.config.vocab_size:
            raise DataError(
                f"{self.path}: the tokenizer does not fit the model",
                f"it has {len(tokens):,} tokens and the model has {self.config.vocab_size:,} embedding rows",
                "convert the model to GGUF again with its own tokenizer",
            )
