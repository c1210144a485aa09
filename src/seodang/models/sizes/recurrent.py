"""Recurrent language models by name: the published sizes and small ones of ours. `context_length` is how far gradients
go back; the state goes further."""

from __future__ import annotations

from typing import Any

from seodang.models.config import ModelConfig


def _recurrent(family: str, **sizes: Any) -> ModelConfig:
    return ModelConfig(family=family, n_heads=1, init_std=0.1, **sizes)


_MINI = {"n_layers": 2, "d_embed": 128, "vocab_size": 8192, "context_length": 128}

RECURRENT: dict[str, ModelConfig] = {
    # Radford et al. 2018, sec. 5: the LSTM that GPT-1 is compared with
    "lstm-gpt1": _recurrent(
        "lstm", d_model=2048, n_layers=1, d_embed=768, vocab_size=40478, context_length=512
    ).with_dropout(0.1),
    # Zaremba et al. 2014, sec. 4.1: the medium one, unrolled for 35 words of Penn Treebank
    "lstm-zaremba-medium": _recurrent(
        "lstm", d_model=650, n_layers=2, vocab_size=10000, context_length=35, tied=False
    ).with_dropout(0.5),
    # Woolf 2017-2020: the weights that come with textgenrnn
    "textgenrnn": _recurrent(
        "textgenrnn", d_model=356, n_layers=2, d_embed=100, d_ff=128, vocab_size=465, context_length=40, tied=False
    ),
    # Ours, each with as many parameters as gpt2-mini
    "rnn-mini": _recurrent("rnn", d_model=472, **_MINI),
    "lstm-mini": _recurrent("lstm", d_model=232, **_MINI),
    "gru-mini": _recurrent("gru", d_model=272, **_MINI),
}



def _seq2seq(family: str, **sizes: Any) -> ModelConfig:
    layers = {"n_encoder_layers": sizes["n_layers"]}
    return _recurrent(family, d_embed=128, vocab_size=8192, context_length=128, start_id=0, pad_id=0, **layers, **sizes)


RECURRENT_SEQ2SEQ: dict[str, ModelConfig] = {
    # Ours, each with about as many parameters as gpt2-mini
    "seq2seq-mini": _seq2seq("seq2seq", d_model=160, n_layers=2),
    "seq2seq-bahdanau-mini": _seq2seq("seq2seq-bahdanau", d_model=160, n_layers=1),
    "seq2seq-luong-mini": _seq2seq("seq2seq-luong", d_model=144, n_layers=2),
}

NOTES: dict[str, str] = {
    "lstm-gpt1": "the paper says 2048 units in one layer, and no width of the embedding: GPT-1's 768 is taken",
}
