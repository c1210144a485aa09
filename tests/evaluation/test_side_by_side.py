"""Prompts through two models: the texts are theirs, the log-probabilities what each model says alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from seodang.errors import DataError, UsageError
from seodang.evaluation.side_by_side import Prompt, SideBySide, read_prompts, side_by_side
from seodang.inference.language_model import LanguageModel
from tests.inference.conftest import taught, tiny

PROMPTS = [Prompt("the cat", (" sat on the mat",), "f:1"), Prompt("서당에서", (), "f:2")]


@pytest.fixture(scope="module")
def models() -> dict[str, LanguageModel]:
    good = taught()
    return {"taught": good, "random": LanguageModel(tiny("gpt2", vocab_size=good.tokenizer.vocab_size), good.tokenizer)}


@pytest.fixture(scope="module")
def found(models: dict[str, LanguageModel]) -> SideBySide:
    return side_by_side(list(models), models.__getitem__, PROMPTS, {"max_new_tokens": 6})


def by_hand(model: LanguageModel, prompt: str, text: str) -> float:
    """Σ log softmax of the tokens that the whole has more than the prompt."""
    ids, start = model.tokenizer.encode(prompt + text), len(model.tokenizer.encode(prompt))
    logprobs = model.logits([ids])[0].log_softmax(-1)
    return sum(float(logprobs[place - 1, ids[place]]) for place in range(start, len(ids)))


def test_texts_and_logprobs_are_each_models_own(found: SideBySide, models: dict[str, LanguageModel]) -> None:
    assert [[entry.by for entry in row] for row in found.written] == [["taught", "random", ""], ["taught", "random"]]
    for prompt, row in zip(PROMPTS, found.written, strict=True):
        for entry in row[:2]:
            assert entry.text == models[entry.by].generate(prompt.text, max_new_tokens=6).text
        for entry in row:
            for logprob, model in zip(entry.logprobs, models.values(), strict=True):
                expected = by_hand(model, prompt.text, entry.text) if entry.text else None
                assert logprob == (expected and pytest.approx(expected, abs=1e-3))
    assert any(entry.text for row in found.written for entry in row[:2])
    assert found.written[0][2].text == " sat on the mat"


def test_what_was_learned_is_more_probable(found: SideBySide, models: dict[str, LanguageModel]) -> None:
    assert found.comparison is not None
    rows = {row.task: row for row in found.comparison.rows}
    assert list(rows) == ["answers", "prompts"]
    for row in rows.values():
        assert row.values[0].value < row.values[1].value and row.differences[0].difference > 0
    scores = models["taught"].score([prompt.text for prompt in PROMPTS])
    bits = -sum(score.logprob for score in scores) / math.log(2) / sum(len(p.text.encode()) for p in PROMPTS)
    assert rows["prompts"].values[0].value == pytest.approx(bits, rel=1e-5)
    assert rows["answers"].differences[0].p == 1  # one answer proves nothing


def test_a_model_and_itself(models: dict[str, LanguageModel]) -> None:
    found = side_by_side(["a", "b"], lambda name: models["taught"], PROMPTS, {"max_new_tokens": 3})
    assert found.comparison is not None
    assert {difference.difference for row in found.comparison.rows for difference in row.differences} == {0}
    with pytest.raises(UsageError, match="comparison of 1"):
        side_by_side(["a"], models.__getitem__, PROMPTS)


def test_a_text_that_melts_into_the_prompt_is_scored(models: dict[str, LanguageModel]) -> None:
    """Prompt and answer together have no more tokens than the prompt: the answer's own tokens are scored."""
    encode = models["taught"].tokenizer.encode
    word = next(word for word in ("cat", "sat", "the", "mat") if len(encode(word)) <= len(encode(word[:-1])))
    found = side_by_side(
        ["a", "b"], lambda name: models["taught"], [Prompt(word[:-1], (word[-1],))], {"max_new_tokens": 2}
    )
    (answer,) = [entry for entry in found.written[0] if not entry.by]
    assert answer.logprobs[0] is not None and answer.logprobs[0] < 0


def test_prompts_of_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n둘\n", "utf-8")
    (tmp_path / "b.jsonl").write_text('{"prompt": "x", "answer": "y"}\n{"prompt": "z", "answers": ["1", "2"]}\n')
    assert read_prompts([tmp_path / "a.txt", tmp_path / "b.jsonl"]) == [
        Prompt("one", (), f"{tmp_path}/a.txt:1"),
        Prompt("둘", (), f"{tmp_path}/a.txt:3"),
        Prompt("x", ("y",), f"{tmp_path}/b.jsonl:1"),
        Prompt("z", ("1", "2"), f"{tmp_path}/b.jsonl:2"),
    ]
    (tmp_path / "c.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(DataError, match=r"c.jsonl:1 has no prompt"):
        read_prompts([tmp_path / "c.jsonl"])
    (tmp_path / "d.txt").write_text("\n\n")
    with pytest.raises(DataError, match="no prompts"):
        read_prompts([tmp_path / "d.txt"])
