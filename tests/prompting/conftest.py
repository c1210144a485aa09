"""A model that says what it is told to, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from seodang.inference.decode import Generation
from seodang.inference.language_model import LanguageModel
from tests.inference.conftest import taught


@dataclass
class Scripted:
    """In place of a LanguageModel where only its texts matter. One character is one token."""

    says: Callable[[str], str]
    context_length: int = 10_000
    prompts: list[str] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)

    @property
    def model(self) -> Any:
        return SimpleNamespace(kind="causal")

    @property
    def tokenizer(self) -> Any:
        return SimpleNamespace(
            encode=lambda text: list(text.encode()), encode_batch=lambda texts: [list(text.encode()) for text in texts]
        )

    def generate(self, prompts: list[str], *, batch_size: int = 16, **options: Any) -> list[Generation]:
        self.prompts += prompts
        self.options.append(options)
        texts = [self.says(prompt) for prompt in prompts]
        return [
            Generation(text, list(text.encode()), "stop", len(prompt))
            for prompt, text in zip(prompts, texts, strict=True)
        ]


@pytest.fixture(scope="session")
def lm() -> LanguageModel:
    """A tiny model that has learned a few sentences by heart; its context is 128 tokens."""
    return taught()
