"""Conversations → ids, by the model's own chat template, with the tokens that carry loss marked.

The conversation is rendered once with a placeholder for each message's content; what stands between the
placeholders is the template's text. Template text may hold special tokens; contents never do, whatever they spell.
Each segment is encoded apart, so no token spans the border between prompt and answer: ids(prompt) always begin
ids(prompt + answer).

Against encoding the rendered text as a whole (transformers' `apply_chat_template(tokenize=True)`) this gives the
same ids wherever the pre-tokenizer splits at the border anyway: in ChatML, a content that begins with a letter, a
digit, punctuation or one space, since a newline goes before it and a special token after it. It differs
(a) where a content spells a special token, which here stays text;
(b) where a content begins with white space other than one space: whole-text encoding joins it with the newline before;
(c) in templates that put a space before the content (Llama 2's `[INST] `): whole-text encoding moves that space into
the content's first token.
In (b) and (c) training, chat and the server still agree with each other, since all of them come through here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from seodang.errors import DataError, UsageError
from seodang.text.template import render_template
from seodang.text.tokenizer import Tokenizer

Message = dict[str, Any]
"""{"role", "content"} and, optionally, whether it is learned: "train", "weight" or "loss_mask"."""

Train = Literal["all", "last", "flags"]

_FLAGS = ("train", "weight", "loss_mask")
_ROLE = re.compile(r"[\w.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a rendered conversation: template text (`message` None) or the content of one message."""

    text: str
    message: int | None


@cache
def chatml() -> str:
    """The default template: ChatML, with `{% generation %}` around what the assistant says."""
    return (Path(__file__).parent / "chatml.jinja").read_text(encoding="utf-8")


def render(tokenizer: Tokenizer, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> list[int]:
    """The ids of a conversation; with `add_generation_prompt` they end where the assistant's answer begins.

    Raises UsageError when the tokenizer has no chat template, DataError for messages that it cannot write.
    """
    found = segments(tokenizer, messages, add_generation_prompt=add_generation_prompt)
    encoded = tokenizer.encode_segments((segment.text, segment.message is None) for segment in found)
    return [id for ids in encoded for id in ids]


def render_with_mask(
    tokenizer: Tokenizer, messages: Sequence[Message], *, train: Train = "all"
) -> tuple[list[int], list[bool]]:
    """The ids of a conversation and, for each, whether it is learned: the assistant's contents and what ends them.

    train   which assistant messages are learned: "all", the "last" one, or those that "flags" say.
    The end is the special token that follows a content at once (or after white space, which is then learned too).
    Raises UsageError and DataError as `render` does.
    """
    if train not in ("all", "last", "flags"):
        raise UsageError(f"train={train!r} is unknown", "it says which answers are learned", "all, last or flags")
    found = segments(tokenizer, messages)
    learned = _learned(messages, train)
    encoded = tokenizer.encode_segments((segment.text, segment.message is None) for segment in found)
    ids: list[int] = []
    mask: list[bool] = []
    answering = False
    for segment, part in zip(found, encoded, strict=True):
        if segment.message is not None:
            answering = segment.message in learned
            marked = len(part) if answering else 0
        else:
            marked = _end_of_answer(tokenizer, part) if answering else 0
            answering = False
        ids += part
        mask += [True] * marked + [False] * (len(part) - marked)
    return ids, mask


def _end_of_answer(tokenizer: Tokenizer, ids: list[int]) -> int:
    """How many ids at the front of template text end an answer: white space and one special token, or none."""
    special = tokenizer.special_ids
    for count, id in enumerate(ids, 1):
        if id in special:
            return count
        if tokenizer.token_bytes(id).strip():
            break
    return 0


def _learned(messages: Sequence[Message], train: Train) -> set[int]:
    answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    if train == "last":
        return set(answers[-1:])
    if train == "flags":
        return {index for index in answers if _flagged(messages[index])}
    return set(answers)


def _flagged(message: Message) -> bool:
    """A message's own flag; one without a flag is not learned."""
    return any(bool(message[name]) for name in _FLAGS if message.get(name) is not None)


def segments(
    tokenizer: Tokenizer, messages: Sequence[Message], *, add_generation_prompt: bool = False
) -> list[Segment]:
    """A rendered conversation as template text and contents, in order; joined they are the template's own rendering.

    Raises DataError when the template changes its own text with what a message says, so that the two cannot be told
    apart.
    """
    source = tokenizer.chat_template
    if source is None:
        raise UsageError(
            "this tokenizer has no chat template",
            "the model was trained on plain text, not on conversations",
            "instruction-tune it (seodang sft), or put a chat_template.jinja into its folder",
        )
    plain = [_plain(message, row) for row, message in enumerate(messages, 1)]
    if not plain:
        raise DataError("a conversation is empty", "it has no messages", "give it at least one message")

    def write(contents: Sequence[str]) -> str:
        filled = [{**message, "content": content} for message, content in zip(plain, contents, strict=True)]
        return render_template(
            source, filled, add_generation_prompt=add_generation_prompt, special=tokenizer.special_tokens
        )

    contents = [message["content"] for message in plain]
    real = write(contents)
    mark = "\ue000"
    while any(mark in text for text in (real, source)):
        mark = chr(ord(mark) + 1)
    # an empty content first gets a placeholder too; some templates write other text around nothing
    for marked in (set(range(len(plain))), {index for index, content in enumerate(contents) if content}):
        places = [f"{mark}{index}{mark}" if index in marked else contents[index] for index in range(len(plain))]
        found = _substitute(write, places, contents, real, mark)
        if found is not None:
            return found
    raise DataError(
        "the chat template cannot be told apart from the messages",
        "its own text changes with what a message says",
        "use another chat template (chat_template.jinja in the model's folder)",
    )


def _substitute(write: Any, places: list[str], contents: list[str], real: str, mark: str) -> list[Segment] | None:
    """The segments, if writing each content (as the template writes it) into its place gives `real`."""
    pattern = re.compile(f"{mark}(\\d+){mark}")
    skeleton = write(places)
    parts = pattern.split(skeleton)  # template, number, template, number, … template

    def filled(texts: Sequence[str]) -> list[Segment] | None:
        made = [
            Segment(texts[int(part)], int(part)) if at % 2 else Segment(part, None) for at, part in enumerate(parts)
        ]
        if "".join(segment.text for segment in made) != real:
            return None
        return [segment for segment in made if segment.text or segment.message is not None]

    for texts in (contents, [content.strip() for content in contents]):
        found = filled(texts)
        if found is not None:
            return found
    # the template rewrites contents in its own way: write one real content at a time and see what came of it
    texts = list(contents)
    for index, place in enumerate(places):
        if not place.startswith(mark) or skeleton.count(place) != 1:
            continue
        before, after = skeleton.split(place)
        one = write([*places[:index], contents[index], *places[index + 1 :]])
        if not (one.startswith(before) and one.endswith(after) and len(one) >= len(before) + len(after)):
            return None
        texts[index] = one[len(before) : len(one) - len(after)]
    return filled(texts)


def _plain(message: Message, row: int) -> dict[str, str]:
    """Role and text of a message: all that the template sees, since what it sees is trusted as its own."""
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not _ROLE.fullmatch(role):
        raise DataError(f"message {row} has no proper role: {role!r}", "", "use system, user, assistant or tool")
    if message.get("tool_calls"):
        raise DataError(f"message {row} calls tools", "tool calls are not supported", "write them as text")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise DataError(f"message {row} has no text", f"its content is {type(content).__name__}", "give it text")
    return {"role": role, "content": content}
