"""Class heads of all families: what they read, what they leave as it was, what is written down of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from seodang.checkpoints.gguf import write_gguf
from seodang.checkpoints.huggingface import load_folder, read_task, save_folder
from seodang.checkpoints.resolve import load_model
from seodang.checkpoints.verify import verify_folder
from seodang.errors import UsageError
from seodang.models.base import Model
from seodang.models.encoder import Encoder
from seodang.models.families import build_model, with_classes
from seodang.models.sizes import published

CAUSAL = ["gpt1-mini", "gpt2-mini", "llama-mini", "gemma3-mini", "lstm-mini", "gru-mini"]
MASKED = ["bert-tiny", "roberta-mini", "albert-mini", "electra-mini"]


def fresh(name: str, n_classes: int = 3) -> Model:
    """A small model with a class head, in evaluation mode."""
    config = replace(published(name), vocab_size=40)
    if config.n_heads > 1:
        config = replace(config, d_model=32, n_heads=2, n_kv_heads=2, d_head=16, d_ff=128)
    model = build_model(replace(config, d_embed=min(config.d_embed, 32), pad_id=config.pad_id and 1))
    model.init_weights(torch.Generator().manual_seed(0))
    return with_classes(model, n_classes, 0.1, torch.Generator().manual_seed(1))[0].eval()


@torch.no_grad()
def logits(model: Model, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    return model.class_logits(model.text_vectors(model(ids, mask=mask), mask))


@pytest.mark.parametrize("name", [*CAUSAL, *MASKED])
def test_no_pad_token_is_ever_read(name: str) -> None:
    """A text alone, padded on the right, padded on the left with other ids: the same scores."""
    model = fresh(name)
    text = torch.tensor([[5, 9, 7, 30]])
    alone = logits(model, text)
    for left, right, pad in ((0, 3, 0), (0, 3, 11), (3, 0, 0), (2, 4, 38)):
        ids = torch.full((2, left + 4 + right), pad)
        mask = torch.zeros(ids.shape, dtype=torch.bool)
        ids[0, left : left + 4], mask[0, left : left + 4] = text[0], True
        ids[1, : left + 4], mask[1, : left + 4] = 8, True
        assert torch.allclose(logits(model, ids, mask)[:1], alone, atol=1e-5)
    assert alone.shape == (1, 3) and float(alone.abs().max()) > 1e-3


def test_a_decoder_reads_the_last_token_and_an_encoder_the_first() -> None:
    hidden, mask = torch.arange(24.0).view(2, 4, 3), torch.tensor([[1, 1, 1, 0], [0, 1, 1, 0]]).bool()
    decoder, encoder = fresh("gpt2-mini"), fresh("electra-mini")
    assert decoder.text_vectors(hidden).tolist() == [[9, 10, 11], [21, 22, 23]]
    assert decoder.text_vectors(hidden, mask).tolist() == [[6, 7, 8], [18, 19, 20]]
    assert encoder.text_vectors(hidden, mask).tolist() == [[0, 1, 2], [15, 16, 17]]


@pytest.mark.parametrize("name", [*CAUSAL, *MASKED])
def test_nothing_else_is_new_and_nothing_old_is_lost(name: str) -> None:
    config = published(name)
    model = build_model(replace(config, vocab_size=50))
    model.init_weights(torch.Generator().manual_seed(0))
    grown, new = with_classes(model, 5)
    before, after = model.state_dict(), grown.state_dict()
    assert set(after) - set(before) == set(new) and all(torch.equal(after[key], before[key]) for key in before)
    head = {"classifier.weight", "classifier.bias"} if isinstance(model, Encoder) else {"classifier.weight"}
    layer = {"roberta-mini", "electra-mini"}
    assert set(new) == head | ({"class_layer.weight", "class_layer.bias"} if name in layer else set())
    again, new = with_classes(grown, 2)
    assert again.state_dict()["classifier.weight"].shape == (2, config.d_model) and "classifier.weight" in new


def test_an_encoder_without_a_pooler_gets_one() -> None:
    config = replace(published("bert-tiny"), vocab_size=50, heads=("masked",))
    model = build_model(config)
    model.init_weights()
    grown, new = with_classes(model, 2)
    assert set(new) == {"pooler.weight", "pooler.bias", "classifier.weight", "classifier.bias"}
    assert isinstance(grown, Encoder) and grown.has("pooler") and grown.has("masked")


@pytest.mark.parametrize("name", [*CAUSAL, *MASKED])
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model = fresh(name)
    spec = {"name": "x", "kind": "classify", "labels": ["a", "b", "c"]}
    save_folder(tmp_path, model, None, task={"spec": spec, "max_length": 64})
    loaded = load_folder(tmp_path)[0]
    assert loaded.config == model.config and loaded.config.head_dropout == 0.1
    ids = torch.tensor([[5, 9, 7], [30, 2, 2]])
    assert torch.equal(logits(loaded, ids), logits(model, ids))
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["architectures"][0].endswith("ForSequenceClassification") and stored["id2label"]["2"] == "c"
    assert read_task(tmp_path) == load_model(tmp_path).task == {"spec": spec, "max_length": 64}
    assert verify_folder(tmp_path).passed


def test_the_probe_of_a_folder_covers_the_class_head(tmp_path: Path) -> None:
    from seodang.checkpoints.probe import check_probe, make_probe
    from seodang.errors import DataError

    for name in ("gpt2-mini", "bert-tiny"):
        model = fresh(name)
        probe = make_probe(model)
        assert check_probe(model, probe) == 0
        assert model.classifier is not None
        with torch.no_grad():
            model.classifier.weight[2, ::2] += 1
        with pytest.raises(DataError):
            check_probe(model, probe)


def test_a_gguf_file_has_the_language_model_and_says_what_it_lacks(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    model = fresh("gpt2-mini")
    written = write_gguf(tmp_path / "model.gguf", model, None, "f32")
    assert "class head is left out" in written.note
    loaded, ids = load_model(tmp_path / "model.gguf").model, torch.tensor([[5, 9, 7]])
    assert loaded.config.n_classes == 0
    assert torch.allclose(loaded.logits(loaded(ids)), model.logits(model(ids)), atol=1e-5)


def test_an_encoder_decoder_is_refused() -> None:
    for name in ("t5-mini", "transformer-mini"):
        model = build_model(replace(published(name), vocab_size=50), "meta")
        with pytest.raises(UsageError, match="class head") as caught:
            with_classes(model, 2)
        assert "--task pairs" in caught.value.fix


def test_classes_of_a_model_without_a_head_are_refused() -> None:
    model = build_model(replace(published("gpt2-mini"), vocab_size=50))
    with pytest.raises(UsageError, match="without a class head"):
        model.class_logits(torch.zeros(1, model.config.d_model))
