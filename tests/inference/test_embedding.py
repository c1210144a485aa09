"""Vectors of texts: pooling by hand, batch = alone, and what sentence-transformers writes beside a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import seodang
from seodang.checkpoints.sentence_transformers import EmbeddingSettings, read_embedding_settings
from seodang.errors import DataError, FitError, UsageError
from seodang.inference.embedding import pool
from seodang.inference.language_model import LanguageModel
from tests.inference.conftest import taught
from tests.inference.masked import encoder, read, wordpiece

TEXTS = ["the cat sat on the mat", "the dog", "where is the cat? 고양이는 어디에 있나요?", "low", "the log and the mat"]
HIDDEN = torch.tensor([[[1.0, 2.0], [3.0, -4.0], [9.0, 9.0]], [[9.0, 9.0], [5.0, 6.0], [-7.0, 8.0]]])
MASK = torch.tensor([[True, True, False], [False, True, True]])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [[2.0, -1.0], [-1.0, 7.0]]),
        ("cls", [[1.0, 2.0], [5.0, 6.0]]),
        ("last", [[3.0, -4.0], [-7.0, 8.0]]),
        ("max", [[3.0, 2.0], [5.0, 8.0]]),
    ],
)
def test_pooling_by_hand(pooling: Any, expected: list[list[float]]) -> None:
    assert pool(HIDDEN, MASK, pooling).tolist() == expected


@torch.no_grad()
def test_an_encoder_reads_a_text_with_its_special_tokens() -> None:
    lm = read()
    ids, _ = lm.tokenizer.encode_pair("the cat")
    hidden = lm.model(torch.tensor([ids]))
    assert ids[0] == lm.tokenizer.cls_id and ids[-1] == lm.tokenizer.sep_id
    torch.testing.assert_close(lm.embed("the cat"), hidden.mean(dim=1), rtol=0, atol=1e-6)
    torch.testing.assert_close(lm.embed("the cat", pooling="pooler"), lm.model.pooled(hidden), rtol=0, atol=1e-6)  # type: ignore[operator]
    unit = lm.embed(TEXTS, normalize=True)
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(len(TEXTS)))
    torch.testing.assert_close(unit[0], lm.embed(TEXTS[0])[0] / lm.embed(TEXTS[0]).norm())


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler", "last", "max"])
def test_batch_equals_alone(pooling: str) -> None:
    models = [read()] if pooling in ("cls", "pooler") else [read(), taught()]
    for lm in models:
        together = lm.embed(TEXTS, pooling=pooling, batch_size=3)
        for text, vector in zip(TEXTS, together, strict=True):
            torch.testing.assert_close(lm.embed(text, pooling=pooling)[0], vector, rtol=0, atol=1e-5)


def test_poolings_that_a_model_does_not_have() -> None:
    for lm, pooling, said in (
        (taught(), "pooler", "without a pooler"),
        (taught(), "cls", "seen nothing"),
        (read(), "average", "no such pooling"),
        (LanguageModel(encoder(heads=("masked",)), wordpiece()), "pooler", "without a pooler"),
    ):
        with pytest.raises(UsageError, match=said):
            lm.embed("the cat", pooling=pooling)


def test_a_long_text_is_cut_only_where_that_is_asked_for() -> None:
    lm = read()
    text = "the cat sat " * 30
    with pytest.raises(FitError, match="the model takes 48"):
        lm.embed(text)
    ids, _ = lm.tokenizer.encode_pair(text)
    kept = torch.tensor([[*ids[:47], ids[-1]]])
    with torch.no_grad():
        expected = lm.model(kept).mean(dim=1)
    torch.testing.assert_close(lm.embed(text, truncate=True), expected, rtol=0, atol=1e-6)


def write_modules(folder: Path, pooling: dict[str, Any], *steps: str, limit: int | None = None) -> None:
    """modules.json and what it names, as sentence-transformers writes them."""
    kinds = ("Transformer", "Pooling", *steps)
    modules = [
        {"name": str(n), "path": f"{n}_{kind}" if n else "", "type": f"sentence_transformers.models.{kind}"}
        for n, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **pooling}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit, "do_lower_case": False}))


def test_the_folder_says_how_to_pool(tmp_path: Path) -> None:
    read().save(tmp_path)
    assert read_embedding_settings(tmp_path) == EmbeddingSettings()
    write_modules(tmp_path, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "Normalize", limit=9)
    assert read_embedding_settings(tmp_path) == EmbeddingSettings("cls", True, 9)
    lm = seodang.load(tmp_path)
    torch.testing.assert_close(lm.embed("the cat"), read().embed("the cat", pooling="cls", normalize=True))
    largest = lm.embed("the cat", pooling="max", normalize=False)
    torch.testing.assert_close(largest, read().embed("the cat", pooling="max"))
    with pytest.raises(FitError, match="the model takes 9"):
        lm.embed("the cat sat on the mat and the dog sat on the log")
    write_modules(tmp_path, {"pooling_mode": "lasttoken"})
    assert read_embedding_settings(tmp_path) == EmbeddingSettings("last")


@pytest.mark.parametrize(
    ("pooling", "steps"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, ()),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, ()),
        ({}, ()),
        ({"pooling_mode": "weightedmean"}, ()),
        ({"pooling_mode_mean_tokens": True}, ("Dense",)),
    ],
)
def test_steps_that_we_do_not_have_are_refused(pooling: dict[str, Any], steps: tuple[str, ...], tmp_path: Path) -> None:
    write_modules(tmp_path, pooling, *steps)
    with pytest.raises(DataError, match="not implement|step"):
        read_embedding_settings(tmp_path)


def test_damaged_modules_are_refused(tmp_path: Path) -> None:
    for text in ("{", "{}", "[1]"):
        (tmp_path / "modules.json").write_text(text)
        with pytest.raises(DataError):
            read_embedding_settings(tmp_path)
