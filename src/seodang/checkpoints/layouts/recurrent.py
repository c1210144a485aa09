"""Recurrent models as folders of our own: `transformers` has no class for them. Weights have torch's names and order of
gates (LSTM: i, f, g, o; GRU: r, z, n)."""

from __future__ import annotations

from functools import partial
from typing import Any

from seodang.checkpoints.layouts.base import Layout, setting
from seodang.models.config import ModelConfig

_KEYS = {
    "vocab_size": "vocab_size",
    "context_length": "context_length",
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
}
_OTHERS = {
    "d_embed": "embedding_size",
    "embedding_dropout": "embedding_dropout",
    "residual_dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "d_ff": "intermediate_size",
    "n_encoder_layers": "num_encoder_layers",
    "start_id": "decoder_start_token_id",
    "pad_id": "pad_id",
    "init_std": "initializer_range",
    "tied": "tie_word_embeddings",
}


def to_config(family: str, config: dict[str, Any]) -> ModelConfig:
    """config.json → ModelConfig."""
    required = {ours: setting(config, theirs) for ours, theirs in _KEYS.items()}
    return ModelConfig(
        family=family, n_heads=1, **required, **{o: config[t] for o, t in _OTHERS.items() if t in config}
    )


def from_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig → config.json."""
    return {theirs: getattr(config, ours) for ours, theirs in (_KEYS | _OTHERS).items()}


_PARTS = ("attention", "key", "query", "score", "start", "combine")
_LISTS = {"layers": "layers.{}", "encoder.layers": "encoder.{}", "backward_encoder.layers": "backward_encoder.{}"}


def layout(family: str, architecture: str) -> Layout:
    """The layout of one family."""
    cells = {name: f"rnn.{name}" for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")}
    return Layout(
        model_type=f"seodang-{family}",
        family=family,
        architecture=architecture,
        prefix="",
        classifier={"classifier": "classifier"},
        layers=_LISTS,
        modules={
            "embed": "embedding", "project": "projection", "head": "output", "token_bias": "output.bias",
            **dict(zip(_PARTS, _PARTS, strict=True)), **cells,
        },  # fmt: skip
        copies={"output.weight": "embed.weight"},
        to_config=partial(to_config, family),
        from_config=from_config,
    )


RNN, LSTM, GRU = (layout(family, f"Seodang{family.upper()}LM") for family in ("rnn", "lstm", "gru"))
SEQ2SEQ = layout("seq2seq", "SeodangSeq2Seq")
BAHDANAU, LUONG = layout("seq2seq-bahdanau", "SeodangBahdanau"), layout("seq2seq-luong", "SeodangLuong")
TEXTGENRNN = layout("textgenrnn", "SeodangTextGenRNN")
