"""Formats are told apart by their keys, and each gives the dialogue it stands for."""

from __future__ import annotations

from typing import Any

import pytest

from seodang.data.formats import detect, format_of, is_desired, to_conversation, unused_keys, without_row
from seodang.data.readers import Row
from seodang.errors import DataError

TURNS = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
MESSAGES = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]


def row(**values: Any) -> Row:
    return Row(values, "rows.jsonl", 3)


def dialogue(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in to_conversation(row(**values)).messages]


QA = [("user", "Q"), ("assistant", "A")]

CASES: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("alpaca", {"instruction": "Q", "input": "", "output": "A"}, QA),
    ("alpaca", {"instruction": "Q", "input": "I", "output": "A"}, [("user", "Q\nI"), ("assistant", "A")]),
    (
        "alpaca",
        {"instruction": "Q", "output": "A", "system": "S", "history": [["q", "a"]]},
        [("system", "S"), ("user", "q"), ("assistant", "a"), *QA],
    ),
    ("alpaca", {"instruction": "Q", "input": "", "output": "A", "chosen": "A", "rejected": "B"}, QA),
    ("sharegpt", {"conversations": TURNS}, QA),
    ("sharegpt", {"conversations": TURNS, "system": "S"}, [("system", "S"), *QA]),
    ("messages", {"messages": MESSAGES}, QA),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]}, MESSAGES[1]]}, QA),
    ("messages", {"messages": MESSAGES, "label": "greeting"}, QA),
    ("pair", {"prompt": "Q", "completion": "A"}, QA),
    ("pair", {"prompt": MESSAGES[:1], "completion": MESSAGES[1:]}, QA),
    ("pair", {"Q": "Q", "A": "A", "label": "0"}, QA),
    ("pair", {"question": "Q", "answer": "A"}, QA),
    ("pair", {"질문": "Q", "답변": "A"}, QA),
    ("preference", {"prompt": "Q", "chosen": "A", "rejected": "B"}, QA),
    ("preference", {"prompt": MESSAGES[:1], "chosen": MESSAGES[1:], "rejected": MESSAGES[1:]}, QA),
    ("preference", {"prompt": "Q", "chosen": MESSAGES, "rejected": MESSAGES}, QA),
    ("preference", {"chosen": MESSAGES, "rejected": MESSAGES}, QA),
    ("preference", {"conversations": TURNS[:1], "chosen": TURNS[1], "rejected": TURNS[1]}, QA),
    ("preference", {"instruction": "Q", "input": "", "chosen": "A", "rejected": "B"}, QA),
    ("preference", {"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"}, QA),
    ("unpaired", {"prompt": "Q", "completion": "A", "label": True}, QA),
    ("unpaired", {"prompt": "Q", "completion": "A", "label": "True"}, QA),
    ("unpaired", {"messages": MESSAGES, "kto_tag": True}, QA),
    ("unpaired", {"messages": MESSAGES, "label": True}, QA),
    ("unpaired", {"instruction": "Q", "output": "A", "kto_tag": True}, QA),
]


@pytest.mark.parametrize(("kind", "values", "expected"), CASES)
def test_each_format(kind: str, values: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert format_of(row(**values)) == kind
    assert dialogue(values) == expected
    assert to_conversation(row(**values)).where == "rows.jsonl:3"


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (["text"], "text"),
        (["id", "document", "label"], "text"),
        (["prompt"], "prompt"),
        (["prompt", "completions", "labels"], "stepwise"),
        (["premise", "hypothesis"], None),
        ([], None),
    ],
)
def test_detection_by_keys(keys: list[str], kind: str | None) -> None:
    assert detect(keys) == kind


def test_flags_of_messages_are_kept() -> None:
    turns = [MESSAGES[0], {**MESSAGES[1], "train": False}, MESSAGES[0], {**MESSAGES[1], "weight": 1, "loss_mask": None}]
    messages = to_conversation(row(messages=turns)).messages
    assert messages[1]["train"] is False
    assert messages[3] == {"role": "assistant", "content": "A", "weight": 1}


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": "Q", "completion": ""},
        {"prompt": "Q", "completion": None},
        {"prompt": "Q"},
        {"text": "Q"},
        {"messages": MESSAGES[:1]},
        {"messages": []},
        {"chosen": "\n\nHuman: Q\n\nAssistant:", "rejected": ""},
    ],
)
def test_a_row_without_an_answer_is_named(values: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"rows.jsonl:3 has no (answer|messages)"):
        to_conversation(row(**values))


def test_an_unknown_format_gets_the_nearest_and_a_command() -> None:
    with pytest.raises(DataError) as caught:
        format_of(row(instructions="Q", response_text="A", id=1))
    assert caught.value.what == "rows.jsonl:3 is in no known format"
    assert "instructions, response_text, id" in caught.value.why and "alpaca" in caught.value.why
    assert caught.value.fix == (
        "jq -c '{prompt: .instructions, completion: .response_text}' rows.jsonl > converted.jsonl"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"messages": [{"role": "wizard", "content": "x"}]}, "unknown role 'wizard' in message 1"),
        ({"messages": [{"speaker": "user"}]}, "no usable message 1"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}, MESSAGES[1]]}, "content that is no text"),
        ({"prompt": "Q", "completion": "A", "label": "good"}, "has the label 'good'"),
        ({"instruction": "Q", "output": "A", "history": ["q"]}, "unusable history"),
    ],
)
def test_unusable_rows_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        to_conversation(row(**values))
    assert caught.value.what.startswith("rows.jsonl:3") and message in caught.value.what


def test_undesired_answers_are_not_taught() -> None:
    bad = row(prompt="Q", completion="A", label=False)
    assert not is_desired(bad) and is_desired(row(Q="Q", A="A", label=0))
    with pytest.raises(DataError, match="undesired"):
        to_conversation(bad)


def test_keys_without_effect_are_told() -> None:
    assert unused_keys(row(Q="Q", A="A", label=0)) == {"label"}
    assert unused_keys(row(messages=MESSAGES, kto_tag=True, id=3)) == {"id"}
    assert unused_keys(row(document="x", id=3)) == {"id"}


def test_the_command_that_leaves_a_row_out() -> None:
    assert without_row("d/rows.jsonl", 3) == "sed 3d d/rows.jsonl > cleaned-rows.jsonl"
    assert without_row("rows.json", 3) == "jq 'del(.[2])' rows.json > cleaned-rows.json"
