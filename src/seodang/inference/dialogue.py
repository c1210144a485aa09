"""A conversation that fits the context: the ids the model reads, and which turns are forgotten first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seodang.errors import DataError, FitError, UsageError
from seodang.text.chat import render
from seodang.text.tokenizer import Tokenizer

Message = dict[str, Any]


def check_messages(messages: Sequence[Message]) -> None:
    """Raise DataError unless each message has a role and text, and the last one waits for an answer."""
    if not messages:
        raise DataError("the conversation is empty", "there is nothing to answer", "give it a user message")
    fix = 'write {"role": "user", "content": "…"}'
    for row, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise DataError(f"message {row} has no role", "each message says who speaks", fix)
        if not isinstance(message.get("content"), str):
            raise DataError(f"message {row} has no text", "its content must be a string", fix)
    if messages[-1]["role"] == "assistant":
        raise DataError(
            "the conversation ends with the assistant", "it has nothing to answer", "end with a user message"
        )


def require_template(tokenizer: Tokenizer) -> None:
    """Raise UsageError when the model has no chat template."""
    if tokenizer.chat_template is None:
        raise UsageError(
            "this model has no chat template",
            "it was trained on plain text, not on conversations",
            "instruction-tune it (seodang sft), or continue a prompt (seodang generate)",
        )


def prompt_of(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """The ids that stand before the answer, by the model's own template; the same ids that training used.

    Raises UsageError when the model has no template, DataError for messages that cannot be answered.
    """
    require_template(tokenizer)
    check_messages(messages)
    return render(tokenizer, list(messages), add_generation_prompt=True)


def fit(
    tokenizer: Tokenizer, messages: Sequence[Message], room: int
) -> tuple[list[Message], list[int], int]:
    """Forget the oldest turns until the prompt has at most `room` tokens: (messages, ids, messages forgotten).

    System messages at the beginning stay, and so does the last message. A turn goes as a whole: the user's
    message with the answers to it. Raises FitError when even the last message alone is too long.
    """
    kept = list(messages)
    ids = prompt_of(tokenizer, kept)
    n_system = next((i for i, message in enumerate(kept) if message["role"] != "system"), len(kept))
    while len(ids) > room:
        later = [i for i in range(n_system + 1, len(kept)) if kept[i]["role"] == "user"]
        if not later:
            raise FitError(
                f"the message has {len(ids)} tokens",
                f"the model's context leaves room for {room}",
                "shorten the message or the system prompt, or use a model with a longer context",
            )
        del kept[n_system : later[0]]
        ids = prompt_of(tokenizer, kept)
    return kept, ids, len(messages) - len(kept)
