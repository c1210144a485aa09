"""A small text in Korean and English, and vocabularies learned from it once."""

from __future__ import annotations

import pytest

from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer

LINES = [
    "The lowest newest widest low lower river was new and low.",
    "옛날 옛적에 서당에서 아이들이 글을 배웠습니다.",
    "훈장님은 하늘 천 따 지를 가르치고, 아이들은 따라 읽었습니다.",
    "A child asked: what is 12 + 30? The answer is 42!",
    "don't we'll they're café naïve  two  spaces\tand a tab",
] * 8


@pytest.fixture(scope="session")
def lines() -> list[str]:
    return list(LINES)


@pytest.fixture(scope="session")
def learned() -> Tokenizer:
    """A byte-level BPE of 400 entries with ChatML."""
    return train_tokenizer(LINES, vocab_size=400)
