"""Heads that a folder lacks: absent when it is loaded, fresh and announced when it is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seodang.checkpoints.huggingface import load_folder
from seodang.checkpoints.resolve import Loaded, Source
from seodang.errors import UsageError
from seodang.models.encoder import Encoder
from seodang.models.families import build_model
from seodang.recipes.config import PretrainConfig
from seodang.recipes.heads import with_heads_for
from seodang.recipes.pretrain import pretrain
from tests.inference.masked import encoder, wordpiece
from tests.recipes.conftest import TINY


def loaded(model: Encoder) -> Loaded:
    return Loaded(model, wordpiece(), {}, Source("folder", "the-folder"))


def test_what_is_there_stays_and_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    whole = loaded(encoder())
    assert with_heads_for("next-sentence", whole, 0) is whole
    assert capsys.readouterr().err == ""


def test_fresh_heads_are_announced_and_the_same_when_weights_come_one_by_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bare = encoder(heads=("pooler",))
    grown = with_heads_for("next-sentence", loaded(bare), 3).model
    said = capsys.readouterr().err
    assert "the-folder has no masked and no sentence head" in said and "sentence.weight" in said
    deferred = replace(
        loaded(bare), model=build_model(bare.config, "meta"), weights=lambda: list(bare.state_dict().items())
    )
    streamed = with_heads_for("next-sentence", deferred, 3)
    assert streamed.weights is not None and streamed.model.embed.weight.is_meta
    values = dict(streamed.weights())
    assert set(values) == set(grown.state_dict())
    assert all(torch.equal(values[name], value) for name, value in grown.state_dict().items())


def test_a_discriminator_alone_does_not_learn_to_discriminate() -> None:
    alone = encoder("electra-mini", generator_share=0.0, d_embed=16)
    with pytest.raises(UsageError, match="has no generator"):
        with_heads_for("replaced", loaded(alone), 0)


def test_a_bare_encoder_learns_on(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from seodang.inference.language_model import LanguageModel

    LanguageModel(encoder(heads=("pooler",)), wordpiece()).save(tmp_path / "bare")
    config = PretrainConfig(
        model=str(tmp_path / "bare"), data=(corpus,), out=tmp_path / "run", steps=2, max_length=32, task="masked",
        **TINY,
    )  # fmt: skip
    pretrain(config)
    assert "has no masked head" in capsys.readouterr().err
    assert load_folder(tmp_path / "run")[0].config.heads == ("pooler", "masked")
