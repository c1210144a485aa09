"""The table of layouts: which Hugging Face `model_type` is which of our families."""

from __future__ import annotations

from typing import Any

from seodang.checkpoints.layouts.albert import ALBERT
from seodang.checkpoints.layouts.bart import BART, MARIAN
from seodang.checkpoints.layouts.base import Layout
from seodang.checkpoints.layouts.bert import BERT
from seodang.checkpoints.layouts.electra import ELECTRA
from seodang.checkpoints.layouts.gemma import GEMMA2, GEMMA3
from seodang.checkpoints.layouts.gpt1 import GPT1
from seodang.checkpoints.layouts.gpt2 import GPT2
from seodang.checkpoints.layouts.gptneo import GPTNEO
from seodang.checkpoints.layouts.gptneox import GPTNEOX
from seodang.checkpoints.layouts.llama import LLAMA
from seodang.checkpoints.layouts.mistral import MISTRAL
from seodang.checkpoints.layouts.qwen import QWEN2, QWEN3
from seodang.checkpoints.layouts.recurrent import BAHDANAU, GRU, LSTM, LUONG, RNN, SEQ2SEQ, TEXTGENRNN
from seodang.checkpoints.layouts.roberta import ROBERTA
from seodang.checkpoints.layouts.t5 import MT5, T5, T5V11
from seodang.errors import DataError, UsageError

LAYOUTS: tuple[Layout, ...] = (
    GPT1,
    GPT2,
    GPTNEO,
    GPTNEOX,
    LLAMA,
    MISTRAL,
    QWEN2,
    QWEN3,
    GEMMA2,
    GEMMA3,
    BERT,
    ROBERTA,
    ALBERT,
    ELECTRA,
    BART,
    MARIAN,
    T5,
    T5V11,
    MT5,
    RNN,
    LSTM,
    GRU,
    TEXTGENRNN,
    SEQ2SEQ,
    BAHDANAU,
    LUONG,
)


def layout_of_config(config: dict[str, Any]) -> Layout:
    """The layout of a config.json. Raises DataError naming the supported ones."""
    model_type = config.get("model_type")
    for layout in LAYOUTS:
        if layout.model_type == model_type and layout.matches(config):
            return layout
    raise DataError(
        f"model_type {model_type!r} is not supported",
        "it reads images too" if model_type == "gemma3" else "this package has no such architecture",
        "use a text model alone, of type gemma3_text"
        if model_type == "gemma3"
        else "use a model of type " + ", ".join(dict.fromkeys(layout.model_type for layout in LAYOUTS)),
    )


def layout_of_family(family: str) -> Layout:
    """The layout of one of our families. Raises UsageError for a family that has no Hugging Face form."""
    for layout in LAYOUTS:
        if layout.family == family:
            return layout
    raise UsageError(
        f"models of the family {family!r} cannot be saved as a Hugging Face folder",
        "no layout is known for it",
        "use one of " + ", ".join(layout.family for layout in LAYOUTS),
    )
