"""Unknown rate, bytes per token and fertility, by hand-worked values."""

from __future__ import annotations

import pytest

from seodang.text.stats import measure, script_of
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer


def test_scripts() -> None:
    assert [script_of(line) for line in ("각", "ㅋㅋ ok", "café", "1 + 1 = 2", "日本")] == [
        "hangul", "hangul", "latin", "other", "other",
    ]  # fmt: skip


def test_rates_by_hand() -> None:
    tokenizer = train_tokenizer(["the cat", "the cat"], kind="word", vocab_size=10)
    usage = measure(tokenizer, ["the cat sat\n\n고양이\n", "the cat"])
    assert list(usage) == ["hangul", "latin", "all"]
    latin, hangul = usage["latin"], usage["hangul"]
    assert (latin.lines, latin.words, latin.tokens, latin.unknown, latin.n_bytes) == (2, 5, 5, 1, 18)
    assert latin.unknown_rate == pytest.approx(0.2) and latin.bytes_per_token == pytest.approx(3.6)
    assert (hangul.unknown_rate, hangul.tokens_per_word, hangul.bytes_per_token) == (1.0, 1.0, 9.0)
    assert usage["all"].tokens == 6 and usage["all"].as_dict()["unknown_tokens"] == 2


def test_kinds_lose_what_they_are_said_to_lose(learned: Tokenizer, lines: list[str]) -> None:
    unseen = ["slowest 훈장 🙂"]
    by_kind = {kind: train_tokenizer(lines, kind=kind, vocab_size=400) for kind in ("word", "char")}  # type: ignore[arg-type]
    assert measure(learned, unseen)["all"].unknown == 0
    assert measure(by_kind["word"], unseen)["all"].unknown_rate > 0.5
    word, char = (measure(by_kind[kind], lines)["all"].tokens_per_word for kind in ("word", "char"))
    assert word < measure(learned, lines)["all"].tokens_per_word < char
    assert measure(learned, []) == {}
