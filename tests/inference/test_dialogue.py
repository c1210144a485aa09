"""Conversations: which turns are forgotten when the context is full, and what cannot be answered."""

from __future__ import annotations

import pytest

from seodang.errors import DataError, FitError, UsageError
from seodang.inference import dialogue
from seodang.inference.language_model import LanguageModel
from seodang.text.chat import render


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "be kind"}
TALK = [SYSTEM, user("the cat"), assistant("sat"), user("the dog"), assistant("sat too"), user("where?")]


def length(tokenizer, messages):
    return len(render(tokenizer, messages, add_generation_prompt=True))


def test_whole_turns_are_forgotten_oldest_first(tokenizer):
    whole = length(tokenizer, TALK)
    assert dialogue.fit(tokenizer, TALK, whole)[0] == TALK
    kept, ids, forgotten = dialogue.fit(tokenizer, TALK, whole - 1)
    assert (kept, forgotten) == ([SYSTEM, *TALK[3:]], 2)
    assert ids == render(tokenizer, kept, add_generation_prompt=True)
    kept, _, forgotten = dialogue.fit(tokenizer, TALK, length(tokenizer, kept) - 1)
    assert (kept, forgotten) == ([SYSTEM, TALK[-1]], 4)
    with pytest.raises(FitError):
        dialogue.fit(tokenizer, TALK, length(tokenizer, kept) - 1)


def test_no_two_bos_and_the_same_ids_as_training(lm, tokenizer):
    ids = dialogue.prompt_of(tokenizer, TALK)
    assert ids[0] == tokenizer.id_of("<|im_start|>") != ids[1]
    answered = render(tokenizer, [*TALK, assistant("on the log")])
    assert answered[: len(ids)] == ids


def test_chat_is_generation_from_the_rendered_prompt(lm):
    messages = [user("where is the cat?")]
    answer = lm.chat(messages, max_new_tokens=12)
    ids = render(lm.tokenizer, messages, add_generation_prompt=True)
    assert answer == lm.generate_ids([ids], lm.settings(max_new_tokens=12))[0]
    assert answer.prompt_tokens == len(ids)
    stream = lm.stream_chat(messages, max_new_tokens=12)
    assert "".join(stream) == answer.text and stream.generation == answer


def test_an_end_of_turn_ends_the_answer(lm, monkeypatch):
    end = lm.tokenizer.end_of_turn_id
    answer = lm.chat([user("the cat")], max_new_tokens=5)
    monkeypatch.setattr(LanguageModel, "end_ids", frozenset({answer.tokens[2]}))
    assert lm.chat([user("the cat")]).finish_reason == "stop"
    monkeypatch.undo()
    assert end in lm.end_ids


def test_the_next_turn_computes_only_what_is_new(lm, monkeypatch):
    """The cache of the turn before is taken over; the answer is that of a fresh start."""
    lengths: list[int] = []
    forward = type(lm.model).forward

    def counted(model, ids, **rest):
        lengths.append(ids.shape[1])
        return forward(model, ids, **rest)

    monkeypatch.setattr(type(lm.model), "forward", counted)
    talk = [SYSTEM, user("the cat sat on")]
    first = lm.stream_chat(talk, max_new_tokens=8)
    talk += [assistant("".join(first)), user("the dog?")]
    fresh = lm.chat(talk, max_new_tokens=8)
    lengths.clear()
    second = lm.stream_chat(talk, after=first, max_new_tokens=8)
    assert "".join(second) == fresh.text and second.generation.tokens == fresh.tokens
    assert lengths[0] < fresh.prompt_tokens / 2 and sum(lengths) < fresh.prompt_tokens
    lengths.clear()
    third = lm.stream_chat(talk[:2], after=second, max_new_tokens=8)  # and back again
    assert "".join(third) == first.generation.text and lengths[0] == 1


def test_fit_messages_leaves_room_for_the_answer(lm):
    talk = [message for _ in range(6) for message in (user("the cat sat on the mat"), assistant("the dog too"))]
    kept, forgotten = lm.fit_messages([*talk, user("where?")], max_new_tokens=40)
    assert forgotten and forgotten % 2 == 0 and kept[-1] == user("where?")
    assert length(lm.tokenizer, kept) <= lm.context_length - 40
    with pytest.raises(FitError):
        lm.chat([*talk, user("where?")])


@pytest.mark.parametrize(
    "wrong", [[], [assistant("hello")], [{"content": "x"}], [{"role": "user"}], [{"role": "user", "content": 3}]]
)
def test_what_cannot_be_answered(lm, wrong):
    with pytest.raises(DataError) as caught:
        lm.chat(wrong)
    assert caught.value.fix


def test_a_model_without_a_template(lm, monkeypatch):
    monkeypatch.setattr(lm.tokenizer, "chat_template", None)
    with pytest.raises(UsageError, match="no chat template"):
        lm.chat([user("hello")])
