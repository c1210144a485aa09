"""Small random encoders in `transformers`, with the shapes that break assumptions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertModel,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertModel,
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ElectraModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaModel,
)

from seodang.checkpoints.huggingface import load_folder
from seodang.models.electra import Electra
from seodang.models.encoder import Encoder
from tests.parity.models import enlarged

VOCAB, CONTEXT = 67, 24
_SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "max_position_embeddings": CONTEXT,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
_ONE = {"num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 7}


def _bert(kind: type[PreTrainedModel] = BertForPreTraining, **changes: Any) -> PreTrainedModel:
    return kind(BertConfig(**{**_SIZES, **changes}))


def _roberta(kind: type[PreTrainedModel] = RobertaForMaskedLM, **changes: Any) -> PreTrainedModel:
    rows = {"max_position_embeddings": CONTEXT + 2, "type_vocab_size": 1}
    return kind(RobertaConfig(**{**_SIZES, **rows, **changes}))


def _albert(kind: type[PreTrainedModel] = AlbertForPreTraining, **changes: Any) -> PreTrainedModel:
    return kind(AlbertConfig(**{**_SIZES, "embedding_size": 10, **changes}))


def electra(kind: type[PreTrainedModel] = ElectraForPreTraining, **changes: Any) -> PreTrainedModel:
    """A small random one."""
    return kind(ElectraConfig(**{**_SIZES, "embedding_size": 10, **changes}))


CASES: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": _bert,
    "bert one layer, one head, one segment": lambda: _bert(**_ONE, type_vocab_size=1),
    "bert untied": lambda: _bert(tie_word_embeddings=False),
    "bert tanh gelu, wide eps": lambda: _bert(hidden_act="gelu_new", layer_norm_eps=1e-2, type_vocab_size=4),
    "bert masked only": lambda: _bert(BertForMaskedLM),
    "bert masked only, untied": lambda: _bert(BertForMaskedLM, tie_word_embeddings=False),
    "bert bare": lambda: _bert(BertModel),
    "bert bare, one layer": lambda: _bert(BertModel, **_ONE),
    "roberta": _roberta,
    "roberta one layer, one head": lambda: _roberta(**_ONE),
    "roberta untied, two segments": lambda: _roberta(tie_word_embeddings=False, type_vocab_size=2),
    "roberta relu, other padding": lambda: _roberta(
        hidden_act="relu", pad_token_id=4, max_position_embeddings=CONTEXT + 5
    ),
    "roberta bare": lambda: _roberta(RobertaModel),
    "albert": lambda: _albert(num_hidden_layers=3),
    "albert one layer, one head, one segment": lambda: _albert(**_ONE, type_vocab_size=1),
    "albert untied, not factorised": lambda: _albert(tie_word_embeddings=False, embedding_size=24),
    "albert masked only, exact gelu": lambda: _albert(AlbertForMaskedLM, hidden_act="gelu"),
    "albert bare": lambda: _albert(AlbertModel, num_hidden_layers=5),
    "electra discriminator": electra,
    "electra discriminator, one layer, one head": lambda: electra(**_ONE, embedding_size=24),
    "electra discriminator, relu, one segment": lambda: electra(hidden_act="relu", type_vocab_size=1),
    "electra generator": lambda: electra(ElectraForMaskedLM),
    "electra generator, not factorised": lambda: electra(ElectraForMaskedLM, embedding_size=24, **_ONE),
    "electra generator, untied, relu": lambda: electra(
        ElectraForMaskedLM, tie_word_embeddings=False, hidden_act="relu"
    ),
    "electra bare": lambda: electra(ElectraModel),
}


def theirs(case: str) -> PreTrainedModel:
    """The case's model, enlarged."""
    return enlarged(CASES[case])


def ours(model: PreTrainedModel, folder: Path, **options: Any) -> Encoder:
    """`model` saved by transformers and loaded by us."""
    model.save_pretrained(folder, **options)
    loaded = load_folder(folder)[0]
    assert isinstance(loaded, Encoder)
    return loaded


def inputs(case: str, rows: int = 3, length: int = 20, seed: int = 2) -> tuple[Tensor, Tensor]:
    """Ids (rows, length), none of them a padding token, and segments: zeros, then the last type."""
    ids = torch.randint(5, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))
    types = CASES[case]().config.type_vocab_size
    segments = torch.zeros_like(ids)
    segments[:, length // 2 :] = types - 1
    return ids, segments


@torch.no_grad()
def our_results(model: Encoder, ids: Tensor, **options: Any) -> dict[str, Tensor]:
    """Everything that the model's heads say."""
    hidden = model(ids, **options)
    found = {}
    if model.has("masked"):
        found["logits"] = model.logits(hidden)
    elif isinstance(model, Electra) and model.has("replaced"):
        found["replaced"] = model.replaced_logits(hidden)
    else:
        found["hidden"] = hidden
    if model.has("sentence"):
        found["sentence"] = model.sentence_logits(hidden)
    elif model.has("pooler"):
        found["pooled"] = model.pooled(hidden)
    return found


@torch.no_grad()
def their_results(
    model: PreTrainedModel,
    ids: Tensor,
    *,
    segments: Tensor | None = None,
    mask: Tensor | None = None,
    positions: Tensor | None = None,
) -> dict[str, Tensor]:
    """The same of theirs. positions: as they count them."""
    output = model(
        ids,
        token_type_ids=segments,
        attention_mask=None if mask is None else mask.long(),
        position_ids=positions,
    )
    names = {
        "logits": "logits",
        "prediction_logits": "logits",
        "seq_relationship_logits": "sentence",
        "sop_logits": "sentence",
        "last_hidden_state": "hidden",
        "pooler_output": "pooled",
    }
    if isinstance(model, ElectraForPreTraining):
        names["logits"] = "replaced"
    return {names[key]: value for key, value in output.items() if key in names}
