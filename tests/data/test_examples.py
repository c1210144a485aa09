"""Conversations become examples in which exactly the answers are learned, and every loss is counted and named."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from seodang.data.examples import tokenize_conversations
from seodang.data.readers import Row
from seodang.errors import DataError
from tests.data.conftest import ByteTokenizer

pytestmark = pytest.mark.usefixtures("chat")


def pair(row: int, question: str = "Q", answer: str = "A") -> Row:
    return Row({"prompt": question, "completion": answer}, "rows.jsonl", row)


def learned(example: Any, tokenizer: ByteTokenizer) -> str:
    names = {3: "<end>"}
    return "".join(
        names.get(int(i)) or tokenizer.token_bytes(int(i)).decode("latin-1") for i in example.ids[example.mask]
    )


def test_exactly_the_answers_are_learned(tokenizer: ByteTokenizer) -> None:
    turns = [("system", "S"), ("user", "one"), ("assistant", "1!"), ("user", "two"), ("assistant", "2!")]
    row = Row({"messages": [{"role": role, "content": content} for role, content in turns]}, "f.jsonl", 1)
    (example,), report = tokenize_conversations([row], tokenizer, max_length=100)
    assert learned(example, tokenizer) == "1!<end>2!<end>"
    assert example.n_bytes == 4 and example.where == "f.jsonl:1"
    assert (report.rows, report.kept, report.trained_tokens, report.tokens) == (1, 1, 6, len(example.ids))
    (example,), _ = tokenize_conversations([row], tokenizer, max_length=100, train="last")
    assert learned(example, tokenizer) == "2!<end>"
    row.values["messages"][2]["train"] = True
    (example,), _ = tokenize_conversations([row], tokenizer, max_length=100, train="flags")
    assert learned(example, tokenizer) == "1!<end>"


def test_a_system_prompt_is_put_where_there_is_none(tokenizer: ByteTokenizer) -> None:
    rows = [pair(1), Row({"system": "own", "prompt": "Q", "completion": "A"}, "other.jsonl", 1)]
    (first, second), _ = tokenize_conversations(rows, tokenizer, max_length=100, system="given")
    assert "given" in tokenizer.decode(first.ids.tolist())
    assert "own" in tokenizer.decode(second.ids.tolist()) and "given" not in tokenizer.decode(second.ids.tolist())


def test_too_long_rows_are_dropped_and_named(tokenizer: ByteTokenizer) -> None:
    rows = [pair(i, "Q" * (500 if i == 7 else 1)) for i in range(1, 21)] + [pair(21)]
    examples, report = tokenize_conversations(rows, tokenizer, max_length=60)
    assert len(examples) == 20 and report.too_long == ["rows.jsonl:7"] and report.lost == 1
    assert report.duplicates == 19 and report.formats == {"pair": 21}
    assert any("rows.jsonl:7" in line for line in report.lines())


def test_a_row_that_just_fits_is_kept(tokenizer: ByteTokenizer) -> None:
    (example,), _ = tokenize_conversations([pair(1)], tokenizer, max_length=100)
    (again,), _ = tokenize_conversations([pair(1)], tokenizer, max_length=len(example.ids))
    assert np.array_equal(again.ids, example.ids)
    with pytest.raises(DataError):
        tokenize_conversations([pair(1)], tokenizer, max_length=len(example.ids) - 1)


def test_too_many_losses_stop(tokenizer: ByteTokenizer) -> None:
    rows = [pair(i, "Q" * (500 if i <= 3 else 1)) for i in range(1, 21)]
    with pytest.raises(DataError) as caught:
        tokenize_conversations(rows, tokenizer, max_length=60)
    assert caught.value.exit_code == 3 and "3 of 20 rows would be lost (15%)" in caught.value.what
    assert "rows.jsonl:1, rows.jsonl:2" in caught.value.what
    assert len(tokenize_conversations(rows, tokenizer, max_length=60, max_lost=0.15)[0]) == 17


def test_too_long_can_be_an_error(tokenizer: ByteTokenizer) -> None:
    with pytest.raises(DataError, match="rows.jsonl:2 is too long"):
        tokenize_conversations([pair(1), pair(2, "Q" * 500)], tokenizer, max_length=60, too_long="error")


def test_truncation_cuts_the_question_and_never_the_answer(tokenizer: ByteTokenizer) -> None:
    rows = [pair(1, "x" * 300 + " the end?", "the whole answer")]
    (example,), report = tokenize_conversations(rows, tokenizer, max_length=80, too_long="truncate")
    assert len(example.ids) == 80 and report.truncated == ["rows.jsonl:1"]
    assert learned(example, tokenizer) == "the whole answer<end>"
    assert "xx the end?" in tokenizer.decode(example.ids.tolist())


def test_truncation_leaves_out_old_turns_first(tokenizer: ByteTokenizer) -> None:
    turns = [("system", "S"), ("user", "x" * 90), ("assistant", "1!"), ("user", "two"), ("assistant", "2!")]
    row = Row({"messages": [{"role": role, "content": content} for role, content in turns]}, "f.jsonl", 1)
    (example,), _ = tokenize_conversations([row], tokenizer, max_length=60, too_long="truncate")
    assert tokenizer.decode(example.ids.tolist()) == "system\nS\nuser\ntwo\nassistant\n2!\n"


def test_an_answer_longer_than_the_context_is_lost_not_cut(tokenizer: ByteTokenizer) -> None:
    rows = [pair(1), pair(2, "Q", "A" * 200)]
    examples, report = tokenize_conversations(rows, tokenizer, max_length=60, too_long="truncate", max_lost=0.5)
    assert len(examples) == 1 and report.too_long == ["rows.jsonl:2"]


def test_nothing_to_learn_is_an_error_naming_the_row(tokenizer: ByteTokenizer) -> None:
    with pytest.raises(DataError, match="rows.jsonl:5 has nothing to learn"):
        tokenize_conversations([pair(5)], tokenizer, max_length=60, train="flags")
    with pytest.raises(DataError, match="rows.jsonl:6 has no answer"):
        tokenize_conversations([pair(6, "Q", " ")], tokenizer, max_length=60)
    with pytest.raises(DataError, match="no row is left"):
        tokenize_conversations([], tokenizer, max_length=60)


def test_an_error_of_the_template_names_the_row(
    tokenizer: ByteTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise DataError("roles must alternate", "the template says so", "merge the messages")

    monkeypatch.setattr(sys.modules["seodang.text.chat"], "render_with_mask", refuse)
    with pytest.raises(DataError, match="rows.jsonl:4: roles must alternate"):
        tokenize_conversations([pair(4)], tokenizer, max_length=60)


def test_mixed_formats_are_an_error_within_a_file_only(tokenizer: ByteTokenizer) -> None:
    alpaca = {"instruction": "Q", "output": "A"}
    with pytest.raises(DataError) as caught:
        tokenize_conversations([pair(1), Row(alpaca, "rows.jsonl", 2)], tokenizer, max_length=60)
    assert caught.value.what == "rows.jsonl:2 is in the format alpaca" and "row 1" in caught.value.why
    _, report = tokenize_conversations([pair(1), Row(alpaca, "other.jsonl", 2)], tokenizer, max_length=60)
    assert report.formats == {"pair": 1, "alpaca": 1}


def test_undesired_answers_are_left_out_and_unused_keys_told(tokenizer: ByteTokenizer) -> None:
    rows = [
        Row({"prompt": "Q", "completion": "A", "label": good, "id": i}, "kto.jsonl", i)
        for i, good in enumerate([True, False, True], 1)
    ]
    examples, report = tokenize_conversations(rows, tokenizer, max_length=60)
    assert [example.row for example in examples] == [1, 3] and report.undesired == 1 and report.unused == {"id"}
