"""A small text, a small tokenizer's worth of questions, and the options of a run that takes seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

STORY = "The little cat sat on the red mat. 작은 고양이가 빨간 방석에 앉았습니다. It was {n} o'clock. "


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of repetitive text, one a line of a jsonl file."""
    path = tmp_path_factory.mktemp("corpus") / "stories.jsonl"
    rows = [{"text": "".join(STORY.format(n=(i * j) % 12 + 1) for j in range(1, 5))} for i in range(120)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty questions with answers."""
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    rows = [{"instruction": f"Say the number {n}.", "output": f"The number is {n}."} for n in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


TINY: dict[str, Any] = {"batch_tokens": 512, "dtype": "float32", "device": "cpu", "quiet": True}
"""Options of a run of seconds."""
