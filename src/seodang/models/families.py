"""The table of families, and building a model from its config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from seodang.errors import UsageError, suggest
from seodang.models.albert import Albert
from seodang.models.bart import BART
from seodang.models.base import Model
from seodang.models.bert import Bert, Roberta
from seodang.models.config import ModelConfig
from seodang.models.electra import Electra
from seodang.models.encoder import Encoder
from seodang.models.gemma import Gemma2, Gemma3
from seodang.models.gpt import GPT1, GPT2
from seodang.models.gpt3 import GPT3
from seodang.models.gptneox import GPTNeoX
from seodang.models.llama import Llama
from seodang.models.mistral import Mistral
from seodang.models.qwen import Qwen2, Qwen3
from seodang.models.recurrent import GRU, LSTM, RNN
from seodang.models.seq2seq import Bahdanau, Luong, Seq2Seq
from seodang.models.t5 import T5, T5v11
from seodang.models.textgenrnn import TextGenRNN
from seodang.models.transformer import Transformer

FAMILIES: dict[str, type[Model]] = {
    "gpt1": GPT1,
    "gpt2": GPT2,
    "gpt3": GPT3,
    "gptneox": GPTNeoX,
    "llama": Llama,
    "mistral": Mistral,
    "qwen2": Qwen2,
    "qwen3": Qwen3,
    "gemma2": Gemma2,
    "gemma3": Gemma3,
    "bert": Bert,
    "roberta": Roberta,
    "albert": Albert,
    "electra": Electra,
    "transformer": Transformer,
    "bart": BART,
    "t5": T5,
    "t5v11": T5v11,
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "textgenrnn": TextGenRNN,
    "seq2seq": Seq2Seq,
    "seq2seq-bahdanau": Bahdanau,
    "seq2seq-luong": Luong,
}


def build_model(config: ModelConfig, device: torch.device | str = "cpu") -> Model:
    """The model of `config`, its weights unset: call `init_weights` or load some. "meta" takes no memory.

    Raises UsageError for an unknown family.
    """
    if config.family not in FAMILIES:
        raise UsageError(f"unknown family {config.family!r}", "", suggest(config.family, FAMILIES))
    with torch.device("meta"):  # nn.Linear would otherwise fill the weights with numbers nobody uses
        model = FAMILIES[config.family](config)
    return model if str(device) == "meta" else model.to_empty(device=device)


def with_rows(model: Model, vocab_size: int) -> Model:
    """The same model with more rows of embeddings (and of the output matrix), for tokens added to its vocabulary.

    A new row is the mean of the old ones, so that at first a new token is about as probable as any other and no
    other token's probability moves (Hewitt 2021, "Initializing new word embeddings for pretrained language models").
    """
    state = dict(more_rows(model.state_dict().items(), vocab_size))
    grown = build_model(replace(model.config, vocab_size=vocab_size), "meta")
    grown.load_state_dict(state, assign=True)
    return grown


def more_rows(tensors: Iterable[tuple[str, Tensor]], vocab_size: int) -> Iterator[tuple[str, Tensor]]:
    """The (name, value) of a model's weights with the new rows of `with_rows`."""
    for name, old in tensors:
        if name in ("embed.weight", "head.weight") or name.endswith("token_bias"):
            mean = old.mean(dim=0, keepdim=True)
            old = torch.cat((old, mean.expand(vocab_size - old.shape[0], *mean.shape[1:])))
        elif name == "logits_bias.weight":  # (1, V)
            mean = old.mean(dim=1, keepdim=True)
            old = torch.cat((old, mean.expand(-1, vocab_size - old.shape[1])), dim=1)
        yield name, old


def with_heads(model: Model, heads: Iterable[str], generator: torch.Generator | None = None) -> tuple[Model, list[str]]:
    """An encoder with those of `heads` that it lacks, drawn afresh with `generator` (on the meta device left unset),
    and the names of the new parameters, for the caller to announce. The other weights are shared with `model`.

    Raises UsageError for a head that its family does not have.
    """
    return with_parts(model, replace(model.config, heads=tuple({*(model.config.heads or ()), *heads})), generator)


def with_classes(
    model: Model, n_classes: int, head_dropout: float = 0.0, generator: torch.Generator | None = None
) -> tuple[Model, list[str]]:
    """The model with a fresh class head of `n_classes` outputs, in the place of one that it has, and the names of the
    new parameters: Wy, and of an encoder a bias and, where it lacks it, the layer below. As `with_heads` otherwise.

    Raises UsageError for an encoder-decoder.
    """
    heads = model.config.heads
    if isinstance(model, Encoder) and model.CLASS_LAYER is None:
        heads = tuple({*(heads or ()), "pooler"})
    config = replace(model.config, heads=heads, n_classes=n_classes, head_dropout=head_dropout)
    return with_parts(model, config, generator, ("classifier.", "class_layer."))


def with_parts(
    model: Model, config: ModelConfig, generator: torch.Generator | None, anew: tuple[str, ...] = ()
) -> tuple[Model, list[str]]:
    """The model as `config` describes it: parameters that it lacks, and those that begin with one of `anew`, are drawn
    with `generator`; the other weights are shared with `model`. Also the names of what was drawn."""
    grown, old = build_model(config, "meta"), model.state_dict()
    wanted = grown.state_dict()
    fresh = [name for name in wanted if name not in old or name.startswith(anew)]
    weight = model.embed.weight
    if not weight.is_meta:
        state = {name: old[name] for name in wanted if name not in fresh}
        for name in fresh:
            state[name] = torch.empty(wanted[name].shape, dtype=weight.dtype, device=weight.device)
            grown.init_parameter(name, state[name], generator, False)
        grown.load_state_dict(state, assign=True)
    return grown.train(model.training), fresh
