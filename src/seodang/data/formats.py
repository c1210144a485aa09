"""Row formats, told apart by their keys alone, and the conversation each stands for.

The formats are those of the Alpaca and ShareGPT data sets, of OpenAI's `messages`, of TRL's dataset types and of
LLaMA-Factory's variants of them (`kto_tag`, `instruction/input/chosen/rejected`, single messages as answers).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from seodang.data.readers import TEXT_KEYS, Row, text_key
from seodang.errors import DataError

Message = dict[str, Any]
"""{"role": system|user|assistant|tool, "content": str, and optionally "train", "weight" or "loss_mask"}"""

FLAGS = ("train", "weight", "loss_mask")

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "observation": "tool",
}

PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("prompt", "output"),
    ("question", "answer"),
    ("query", "response"),
    ("q", "a"),
    ("input", "output"),
    ("질문", "답변"),
)
"""Columns of a question and its answer, compared without regard to case."""

EXAMPLES = {
    "text": '{"text": "..."}',
    "alpaca": '{"instruction": "...", "input": "...", "output": "..."}',
    "sharegpt": '{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}',
    "messages": '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}',
    "pair": '{"prompt": "...", "completion": "..."}',
    "prompt": '{"prompt": "..."}',
    "preference": '{"prompt": "...", "chosen": "...", "rejected": "..."}',
    "unpaired": '{"prompt": "...", "completion": "...", "label": true}',
    "stepwise": '{"prompt": "...", "completions": ["..."], "labels": [true]}',
}
"""Each format and an example of it."""

_TYPICAL = {
    "alpaca": ("instruction", "input", "output"),
    "sharegpt": ("conversations",),
    "messages": ("messages",),
    "pair": ("prompt", "completion", "question", "answer"),
    "preference": ("chosen", "rejected"),
    "text": ("text",),
}

_QUESTIONS = ("prompt", "question", "instruction", "input", "query", "utterance", "user")
_ANSWERS = ("completion", "answer", "output", "response", "reply", "target", "assistant")

_TRANSCRIPT = re.compile(r"\n\n(Human|Assistant): ?")


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in order, and the file and row they came from."""

    messages: list[Message]
    source: str
    row: int
    format: str = "messages"

    @property
    def where(self) -> str:
        """`file:row`"""
        return f"{self.source}:{self.row}"


def detect(keys: Iterable[str]) -> str | None:
    """The format (a key of EXAMPLES) that rows with these keys are in, or None.

    >>> detect(["instruction", "input", "output"])
    'alpaca'
    """
    seen = {key.casefold() for key in keys}
    body = _body(seen)
    if {"chosen", "rejected"} <= seen and body != "alpaca":
        return "preference"
    if {"prompt", "completions", "labels"} <= seen:
        return "stepwise"
    if "kto_tag" in seen and body or {"prompt", "completion", "label"} <= seen:
        return "unpaired"
    if body:
        return body
    if "prompt" in seen:
        return "prompt"
    return "text" if seen & set(TEXT_KEYS) else None


def _body(seen: set[str]) -> str | None:
    if "messages" in seen:
        return "messages"
    if "conversations" in seen or "conversation" in seen:
        return "sharegpt"
    if "instruction" in seen and seen & {"output", "response"}:
        return "alpaca"
    return "pair" if _pair(seen) else None


def _pair(seen: set[str]) -> tuple[str, str] | None:
    return next((pair for pair in PAIRS if set(pair) <= seen), None)


def format_of(row: Row) -> str:
    """The format of a row. Raises DataError naming the keys seen, the nearest format and a command that converts."""
    found = detect(row.values)
    if found in ("messages", "sharegpt", "pair") and isinstance(row.values.get("label"), bool):
        return "unpaired"  # LLaMA-Factory's; a label of another kind is a class and has no meaning here
    if found is not None:
        return found
    keys = list(row.values)
    nearest = _nearest(keys)
    raise DataError(
        f"{row.where} is in no known format",
        f"its keys are {', '.join(keys) or 'none'}; the nearest format is {nearest}: {EXAMPLES[nearest]}",
        _conversion(row, nearest),
    )


def to_conversation(row: Row) -> Conversation:
    """The dialogue a row stands for, ending with an answer.

    Alpaca: `system`, then the pairs of `history`, then instruction and input on two lines. Preference rows give the
    prompt with the chosen answer; unpaired rows (`label`, `kto_tag`) only serve when their label is true.
    Raises DataError (file:row) for an unknown format, an unknown role, and a row that has no answer.
    """
    kind = format_of(row)
    if kind in ("text", "prompt", "stepwise"):
        raise DataError(
            f"{row.where} has no answer",
            f"the row is in the format {kind} (keys {', '.join(row.values)}), which holds no answer to learn",
            f"write rows such as {EXAMPLES['pair']}"
            + ("; to learn from plain text use: seodang pretrain" if kind == "text" else ""),
        )
    values = {key.casefold(): value for key, value in row.values.items()}
    if kind == "unpaired" and not _is_desired(values, row):
        raise DataError(
            f"{row.where} is marked as an undesired answer",
            "its label is false; supervised fine-tuning would teach it",
            f"leave it out: {without_row(row.source, row.row)}",
        )
    messages = _chosen(values, row) if kind == "preference" else _messages(values, row)
    if not any(message["role"] == "assistant" and message["content"].strip() for message in messages):
        raise DataError(
            f"{row.where} has no answer",
            "no assistant message with text in it",
            f"give the row an answer, or leave it out: {without_row(row.source, row.row)}",
        )
    return Conversation(messages, row.source, row.row, kind)


def is_desired(row: Row) -> bool:
    """False for an unpaired row (`label` or `kto_tag`) whose label is false; True for every other row."""
    if format_of(row) != "unpaired":
        return True
    return _is_desired({key.casefold(): value for key, value in row.values.items()}, row)


def _is_desired(values: dict[str, Any], row: Row) -> bool:
    label = values["kto_tag"] if "kto_tag" in values else values["label"]
    if isinstance(label, str) and label.strip().casefold() in ("true", "false", "1", "0"):
        return label.strip().casefold() in ("true", "1")
    if isinstance(label, bool) or label in (0, 1):
        return bool(label)
    raise DataError(
        f"{row.where} has the label {label!r}",
        "the label of an unpaired preference is true or false",
        f"for example {EXAMPLES['unpaired']}; leave the key out for plain questions and answers",
    )


def _messages(values: dict[str, Any], row: Row) -> list[Message]:
    """The dialogue of a row of every format but preference."""
    system = [{"role": "system", "content": values["system"]}] if values.get("system") else []
    kind = _body(set(values))
    if kind in ("messages", "sharegpt"):
        turns = values.get("messages") or values.get("conversations") or values.get("conversation")
        return system + message_list(turns, row)
    if kind == "alpaca":
        answer = values["output"] if "output" in values else values["response"]
        return system + _history(values, row) + [_user(_instruction(values, row)), *_answer(answer, row)]
    question, answer = _pair(set(values)) or ("prompt", "completion")
    return system + _history(values, row) + _prompt(values[question], row) + _answer(values[answer], row)


def _chosen(values: dict[str, Any], row: Row) -> list[Message]:
    """Prompt and chosen answer of a preference row; the prompt may be inside the chosen dialogue."""
    chosen = values["chosen"]
    if isinstance(chosen, str) and _TRANSCRIPT.match(chosen):
        return _from_transcript(chosen)
    system = [{"role": "system", "content": values["system"]}] if values.get("system") else []
    if values.get("conversations") or values.get("messages"):
        return system + message_list(values.get("conversations") or values["messages"], row) + _answer(chosen, row)
    if "instruction" in values:
        return system + _history(values, row) + [_user(_instruction(values, row)), *_answer(chosen, row)]
    prompt = next((values[key] for key in ("prompt", "question", "input", "query") if values.get(key)), None)
    if prompt is None:
        return system + _answer(chosen, row)
    answer = _answer(chosen, row)
    if answer[0]["role"] != "assistant":  # the chosen dialogue repeats the prompt
        return system + answer
    return system + _prompt(prompt, row) + answer


def message_list(turns: Any, row: Row) -> list[Message]:
    """Messages from a list of {"role", "content"} or {"from", "value"}, with their flags kept.

    Raises DataError for anything else, naming the row and the message.
    """
    if not isinstance(turns, list) or not turns:
        raise DataError(f"{row.where} has no messages", "the list is empty or no list", EXAMPLES["messages"])
    messages: list[Message] = []
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, dict) or not ({"role", "content"} <= set(turn) or {"from", "value"} <= set(turn)):
            seen = ", ".join(turn) if isinstance(turn, dict) else repr(turn)[:40]
            raise DataError(
                f"{row.where} has no usable message {number}",
                f"it has {seen or 'nothing'}; a message has role and content, or from and value",
                f"for example {EXAMPLES['messages']}",
            )
        name = str(turn["role"] if "role" in turn else turn["from"])
        if name.casefold() not in ROLES:
            raise DataError(
                f"{row.where} has the unknown role {name!r} in message {number}",
                f"known roles are {', '.join(ROLES)}",
                "rename the role",
            )
        content = _content(turn["content"] if "content" in turn else turn["value"], row)
        message: Message = {"role": ROLES[name.casefold()], "content": content}
        message.update({flag: turn[flag] for flag in FLAGS if turn.get(flag) is not None})
        messages.append(message)
    return messages


def _content(value: Any, row: Row) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in value):
        return "".join(str(part.get("text", "")) for part in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise DataError(
        f"{row.where} has content that is no text",
        f"it is a {type(value).__name__}: {str(value)[:60]}",
        "only text is learned; take images, tool calls and other parts out",
    )


def _prompt(value: Any, row: Row) -> list[Message]:
    return message_list(value, row) if isinstance(value, list) else [_user(_content(value, row))]


def _answer(value: Any, row: Row) -> list[Message]:
    if isinstance(value, dict):  # LLaMA-Factory: a single message
        value = [value]
    if isinstance(value, list):
        return message_list(value, row)
    return [{"role": "assistant", "content": _content(value, row)}]


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _instruction(values: dict[str, Any], row: Row) -> str:
    parts = [_content(values.get(key), row) for key in ("instruction", "input")]
    return "\n".join(part for part in parts if part.strip())


def _history(values: dict[str, Any], row: Row) -> list[Message]:
    messages: list[Message] = []
    for turn in values.get("history") or []:
        if not isinstance(turn, list | tuple) or len(turn) != 2:
            raise DataError(
                f"{row.where} has an unusable history", "it is a list of pairs", '"history": [["question", "answer"]]'
            )
        messages += [_user(_content(turn[0], row)), *_answer(turn[1], row)]
    return messages


def _from_transcript(text: str) -> list[Message]:
    """A dialogue written as `\\n\\nHuman: …\\n\\nAssistant: …` (Bai et al. 2022's files)."""
    parts = _TRANSCRIPT.split(text)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": roles[name], "content": content.strip()} for name, content in turns]


def _nearest(keys: list[str]) -> str:
    from difflib import SequenceMatcher

    def likeness(kind: str) -> tuple[float, float]:
        """How near the nearest key is; among equals, how near they are on average."""
        typical = _TYPICAL[kind]
        best = [max((SequenceMatcher(None, key.casefold(), t).ratio() for key in keys), default=0.0) for t in typical]
        return max(best), sum(best) / len(best)

    return max(_TYPICAL, key=likeness)


def _conversion(row: Row, nearest: str) -> str:
    """One command that makes a usable file of rows like this one."""
    question = _likest(row.values, _QUESTIONS, "QUESTION")
    answer = _likest([key for key in row.values if key != question], _ANSWERS, "ANSWER")
    if row.source.endswith((".csv", ".tsv")):
        return f"in the first line of {row.source} rename {question} to prompt and {answer} to completion"
    stream = ".[] | " if row.source.endswith(".json") else ""
    command = f"jq -c '{stream}{{prompt: .{question}, completion: .{answer}}}' {row.source} > converted.jsonl"
    return command + ("" if {question, answer} <= set(row.values) else "   (put your keys for the capitals)")


def _likest(keys: Iterable[str], words: tuple[str, ...], otherwise: str) -> str:
    from difflib import get_close_matches

    by_name = {key.casefold(): key for key in keys}
    for word in words:
        near = get_close_matches(word, by_name, n=1, cutoff=0.75)
        if near:
            return by_name[near[0]]
    return otherwise


def unused_keys(row: Row) -> set[str]:
    """Keys of a row that its format does not read, such as an id or a label beside question and answer."""
    kind = format_of(row)
    if kind == "text":
        return set(row.values) - {text_key(row)}
    pair = _pair({key.casefold() for key in row.values}) or ()
    used = {
        "messages": {"messages", "system"},
        "sharegpt": {"conversations", "conversation", "system"},
        "alpaca": {"instruction", "input", "output", "response", "system", "history"},
        "pair": {*pair, "system", "history"},
        "prompt": {"prompt", "system"},
        "preference": {
            *("prompt", "question", "input", "query", "instruction", "chosen", "rejected"),
            *("conversations", "messages", "system", "history"),
        },
        "stepwise": {"prompt", "completions", "labels"},
    }
    used["unpaired"] = used["alpaca"] | used["messages"] | used["sharegpt"] | {*pair, "label", "kto_tag"}
    return {key for key in row.values if key.casefold() not in used[kind]}


def without_row(source: str, row: int) -> str:
    """A command that writes a file without one row."""
    name = source.rsplit("/", 1)[-1]
    if source.endswith(".json"):
        return f"jq 'del(.[{row - 1}])' {source} > cleaned-{name}"
    if source.endswith((".jsonl", ".ndjson", ".csv", ".tsv")):
        return f"sed {row}d {source} > cleaned-{name}"
    return "take the row out"
