"""Transferred layers are the source's, the others fresh, and the same fresh ones whatever is transferred."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from seodang.checkpoints.resolve import load_model
from seodang.errors import UsageError
from seodang.models.families import build_model
from seodang.recipes.transplant import is_transferred, keep_layers
from tests.inference.conftest import tiny


@pytest.fixture
def folder(tmp_path):
    from seodang.checkpoints.huggingface import save_folder

    def save(family: str):
        save_folder(tmp_path / family, tiny(family, seed=3), None)
        return tmp_path / family

    return save


@pytest.mark.parametrize("family", ["gpt1", "gpt2", "llama", "lstm"])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_transferred_layers_are_the_sources(folder, family, n):
    path = folder(family)
    source, mixed = load_model(str(path)).model, keep_layers(load_model(str(path)), n, seed=7).model
    fresh = build_model(source.config)
    fresh.init_weights(torch.Generator().manual_seed(7))
    kept = []
    for name, value in mixed.named_parameters():
        if name.startswith("layers."):
            same = int(name.split(".")[1]) < n
        else:
            same = not name.startswith("norm.") or n == 2
        assert torch.equal(value, (source if same else fresh).get_parameter(name)), name
        kept.append(same)
    assert all(kept) == (n == 2) and any(kept)
    matrices = [name for name, value in mixed.named_parameters() if value.dim() > 1 and name.startswith("layers.1.")]
    changed = [not torch.equal(mixed.get_parameter(name), source.get_parameter(name)) for name in matrices]
    assert changed and set(changed) == {n < 2}


def test_weights_that_come_later_are_mixed_too(folder):
    loaded = load_model(str(folder("gpt2")))
    trained = [(name, value.clone()) for name, value in loaded.model.named_parameters()]
    later = keep_layers(replace(loaded, weights=lambda: iter(trained)), 1, seed=7)
    assert later.weights is not None
    found, mixed = dict(later.weights()), keep_layers(load_model(str(folder("gpt2"))), 1, seed=7).model
    assert set(found) == {name for name, _ in trained}
    assert all(torch.equal(found[name], value) for name, value in mixed.named_parameters())


def test_names():
    assert is_transferred("embed.weight", 0, 4) and is_transferred("positions.weight", 0, 4)
    assert is_transferred("layers.3.mlp.up.weight", 4, 4) and not is_transferred("layers.3.mlp.up.weight", 3, 4)
    assert not is_transferred("norm.weight", 3, 4) and is_transferred("norm.weight", 4, 4)


def test_more_layers_than_there_are(folder):
    for wrong in (3, -1):
        with pytest.raises(UsageError, match="transfer-layers"):
            keep_layers(load_model(str(folder("gpt2"))), wrong, 0)


@pytest.mark.parametrize("part", ["pooler.weight", "class_layer.weight", "classifier.weight", "attention.weight"])
def test_what_reads_the_last_layer_comes_with_all_of_them(part):
    assert not is_transferred(part, 0, 4) and not is_transferred(part, 3, 4) and is_transferred(part, 4, 4)
