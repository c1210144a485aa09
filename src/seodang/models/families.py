"""The table of families, and building a model from its config."""

from __future__ import annotations

import torch

from seodang.errors import UsageError, suggest
from seodang.models.config import ModelConfig
from seodang.models.decoder import Decoder
from seodang.models.gpt import GPT1, GPT2
from seodang.models.llama import Llama

FAMILIES: dict[str, type[Decoder]] = {"gpt1": GPT1, "gpt2": GPT2, "llama": Llama}


def build_model(config: ModelConfig, device: torch.device | str = "cpu") -> Decoder:
    """The model of `config`, its weights unset: call `init_weights` or load some. "meta" takes no memory.

    Raises UsageError for an unknown family.
    """
    if config.family not in FAMILIES:
        raise UsageError(f"unknown family {config.family!r}", "", suggest(config.family, FAMILIES))
    with torch.device("meta"):  # nn.Linear would otherwise fill the weights with numbers nobody uses
        model = FAMILIES[config.family](config)
    return model if str(device) == "meta" else model.to_empty(device=device)
