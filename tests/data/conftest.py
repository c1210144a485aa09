"""Stand-ins that keep these tests apart from the text package."""

from __future__ import annotations

import hashlib
import re
import sys
import types

import pytest


class ByteTokenizer:
    """Ids 0–3 are special, 4–259 are bytes, 260 onwards are a few words with their leading space, GPT-2's way."""

    WORDS = ("the", " the", " cat", " 서당", "\n\n")
    _SPLIT = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")

    def __init__(self, name: str = "bytes") -> None:
        self.name = name
        self.special_ids = {0, 1, 2, 3}
        self.end_of_text_id, self.pad_id, self.end_of_turn_id = 0, 1, 3
        self.document_end_id: int | None = 0
        self.vocab_size = 260 + len(self.WORDS)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for token in self._SPLIT.findall(text):
            ids += [260 + self.WORDS.index(token)] if token in self.WORDS else [4 + b for b in token.encode()]
        return ids

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def token_bytes(self, id: int) -> bytes:
        return self.WORDS[id - 260].encode() if id >= 260 else bytes([id - 4])

    def token_of(self, id: int) -> str:
        return ("<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>")[id]

    def decode(self, ids: list[int]) -> str:
        return b"".join(b"" if i in self.special_ids else self.token_bytes(i) for i in ids).decode()

    def fingerprint(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()


@pytest.fixture
def tokenizer() -> ByteTokenizer:
    return ByteTokenizer()


def render_with_mask(
    tokenizer: ByteTokenizer, messages: list[dict], *, train: str = "all"
) -> tuple[list[int], list[bool]]:
    """<|im_start|> role newline content <|im_end|> newline; learned: content and end of the assistant's turns."""
    ids: list[int] = []
    mask: list[bool] = []
    last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    for i, message in enumerate(messages):
        head = [2, *tokenizer.encode(message["role"] + "\n")]
        body = [*tokenizer.encode(message["content"]), 3]
        flagged = any(message.get(flag) for flag in ("train", "weight", "loss_mask"))
        chosen = {"all": True, "last": i == last, "flags": flagged}[train]
        learned = message["role"] == "assistant" and chosen
        ids += [*head, *body, *tokenizer.encode("\n")]
        mask += [False] * len(head) + [learned] * len(body) + [False]
    return ids, mask


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the rendering above in place of the package's."""
    module = types.ModuleType("seodang.text.chat")
    module.render_with_mask = render_with_mask  # type: ignore[attr-defined]
    module.render = lambda tokenizer, messages: render_with_mask(tokenizer, messages)[0]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seodang.text.chat", module)
