"""The three requests under every evaluation: continuation, rolling, generate.

What they compute is what lm-evaluation-harness 0.4.13 computes with its `hf` model on the same folder (Gao et al. 2021;
lm_eval/api/model.py, lm_eval/models/huggingface.py): the same tokens, the same cuts of what is too long, the same
windows. How is another matter: see `inference/likelihood.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from seodang.errors import DataError, UsageError
from seodang.inference.decode import Generation
from seodang.inference.language_model import LanguageModel
from seodang.inference.likelihood import Row, answers, logprobs

Text = str | Sequence[int]
"""A text, or its ids."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """log P(continuation | context)."""

    logprob: float
    """Natural, of all its tokens together."""
    is_greedy: bool
    """Whether each of its tokens is the most probable one."""
    n_tokens: int
    n_bytes: int
    """UTF-8 bytes of the continuation as it was given."""
    n_cut: int = 0
    """Tokens of the context that were left away from its beginning, because all together did not fit."""


@dataclass(frozen=True, slots=True)
class Rolling:
    """log P(text)."""

    logprob: float
    n_tokens: int
    n_bytes: int
    n_words: int
    """Stretches without white space."""


def continuations(
    lm: LanguageModel, pairs: Sequence[tuple[Text, Text]], *, allow_special: bool = False, names: Sequence[str] = ()
) -> list[Continuation]:
    """log P(continuation | context) of each pair. No result depends on the other pairs.

    White space at the end of a context counts as the continuation's beginning, and the tokens of the continuation are
    those that the whole text has more than the context. An empty context is bos, or else eos. A context that is too
    long loses its beginning. An encoder-decoder reads the context as its source. allow_special: special tokens spelled
    in the texts are special tokens. names: what an error calls the pairs. Raises DataError for an empty continuation,
    or one that alone is too long, UsageError for a masked model.
    """
    _refuse_masked(lm)
    if not pairs:
        return []
    encoded = encode_pairs(lm, pairs, allow_special=allow_special, names=names)
    seq2seq = lm.model.kind == "seq2seq"
    rows = [_row(lm, *pair, _name(names, number)) for number, pair in enumerate(encoded)]
    found = answers(lm.model, rows, lm.settings()) if seq2seq else logprobs(lm.model, rows)
    texts = [text if isinstance(text, str) else lm.tokenizer.decode(text) for _, text in pairs]
    return [
        Continuation(value, greedy, row.n_counted, len(text.encode("utf-8")), sum(map(len, ids)) - _size(row))
        for (value, greedy), row, text, ids in zip(found, rows, texts, encoded, strict=True)
    ]


def rolling(
    lm: LanguageModel, texts: Sequence[str], *, allow_special: bool = False, repeat_bos: bool = False
) -> list[Rolling]:
    """log P of each whole text: every token once, the first one from bos (or else eos).

    A text longer than the context is read in windows (`rolling_windows`). repeat_bos: where the tokenizer puts bos in
    front of a text, that bos too is predicted, from another one before it, as lm-evaluation-harness does. Raises
    UsageError for a model that is not causal, DataError for an empty text.
    """
    _refuse_masked(lm)
    if lm.model.kind == "seq2seq":
        raise UsageError(
            "the probability of a text from an encoder-decoder",
            "it gives a text no probability without the source that the text answers",
            "ask for continuations, whose contexts are the sources; or use a decoder",
        )
    prefix = prefix_id(lm)
    encoded = _encode_all(lm, texts, [repeat_bos] * len(texts), allow_special=allow_special)
    rows, owners = [], []
    for number, ids in enumerate(encoded):
        if not ids:
            raise DataError(f"text {number + 1} is empty", "it has no tokens", "leave it out")
        for window, n_counted in rolling_windows(ids, prefix, lm.model.max_tokens):
            rows.append(Row(window, n_counted))
            owners.append(number)
    sums = [0.0] * len(texts)
    for number, (value, _) in zip(owners, logprobs(lm.model, rows), strict=True):
        sums[number] += value
    return [
        Rolling(total, len(ids), len(text.encode("utf-8")), len(text.split()))
        for total, ids, text in zip(sums, encoded, texts, strict=True)
    ]


def generations(
    lm: LanguageModel,
    prompts: Sequence[Text],
    until: Sequence[str] = (),
    max_new_tokens: int = 256,
    *,
    allow_special: bool = False,
    batch_size: int = 16,
    **options: Any,
) -> list[Generation]:
    """The continuation of each prompt, up to the first of the strings `until` or the end of the text.

    A prompt that leaves no room for `max_new_tokens` loses its beginning. options: those of `generate`. Raises
    UsageError where `max_new_tokens` leaves no room for any prompt.
    """
    settings = lm.settings(stop=tuple(until), max_new_tokens=max_new_tokens, **options)
    room = lm.context_length - (0 if lm.model.kind == "seq2seq" else max_new_tokens)
    if room < 1:
        raise UsageError(
            f"max_new_tokens = {max_new_tokens}",
            f"the model's context of {lm.context_length} tokens leaves no room for a prompt",
            "generate fewer tokens",
        )
    ids = _encode_all(lm, prompts, [True] * len(prompts), allow_special=allow_special)
    found = lm.generate_ids([(row or [prefix_id(lm)])[-room:] for row in ids], settings, batch_size=batch_size)
    return [replace(one, n_cut=max(0, len(row) - room)) for one, row in zip(found, ids, strict=True)]


def rolling_windows(ids: Sequence[int], prefix: int, context_length: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """(ids to read and predict, how many at the end are counted), so that each of `ids` is counted once.

    The first window begins with `prefix`, each further one with the last id of the one before; the last one counts what
    is left and reaches back as far as the context allows.
    """
    whole, counted = (prefix, *ids), 1
    while counted < len(whole):
        end = min(counted + context_length, len(whole))
        yield whole[max(0, end - context_length - 1) : end], end - counted
        counted = end


# -- text to ids -------------------------------------------------------------------------------------------------------


def prefix_id(lm: LanguageModel) -> int:
    """What a text without a context is predicted from: bos, or else eos. Raises DataError when there is neither."""
    for token in (lm.tokenizer.bos_id, lm.tokenizer.eos_id, lm.start_id):
        if token is not None:
            return token
    raise DataError(
        "the tokenizer has neither bos nor eos",
        "there is nothing that the first token of a text could be predicted from",
        "give every row a context, or add a bos token to the tokenizer",
    )


def encode_pairs(
    lm: LanguageModel, pairs: Sequence[tuple[Text, Text]], *, allow_special: bool = False, names: Sequence[str] = ()
) -> list[tuple[list[int], list[int]]]:
    """(ids of the context, ids of the continuation) of each pair, as `continuations` says."""
    moved = [_moved(*pair) for pair in pairs]
    apart = [lm.model.kind == "seq2seq" or not all(isinstance(part, str) and part for part in pair) for pair in moved]
    contexts = _encode_all(lm, [context for context, _ in moved], [True] * len(pairs), allow_special=allow_special)
    wholes = [pair[1] if alone else f"{pair[0]}{pair[1]}" for pair, alone in zip(moved, apart, strict=True)]
    encoded = _encode_all(lm, wholes, [not alone for alone in apart], allow_special=allow_special)
    found = []
    for number, ((given, _), context, ids, alone) in enumerate(zip(moved, contexts, encoded, apart, strict=True)):
        ids = ids if alone else ids[len(context) :]
        if not given:
            context = [prefix_id(lm)]
            ids = ids[1:] if ids[:1] == context else ids
        if not ids:
            why = "it has no tokens to score"
            raise DataError(f"{_name(names, number)} is empty", why, "give it some text")
        found.append((context, ids))
    return found


def _moved(context: Text, continuation: Text) -> tuple[Text, Text]:
    """White space at the end of the context belongs to the continuation: words begin with it."""
    if isinstance(context, str) and isinstance(continuation, str) and context:
        kept = context.rstrip()
        return kept, context[len(kept) :] + continuation
    return context, continuation


def _encode_all(
    lm: LanguageModel, texts: Sequence[Text], whole: Sequence[bool], *, allow_special: bool
) -> list[list[int]]:
    """Ids of texts, equal ones encoded once; `whole` says which get what the tokenizer puts around a text."""
    tokenizer, seq2seq = lm.tokenizer, lm.model.kind == "seq2seq"
    strings = list(dict.fromkeys(text for text in texts if isinstance(text, str)))
    known = dict(zip(strings, tokenizer.encode_batch(strings, allow_special=allow_special), strict=True))
    bos = [tokenizer.bos_id] if tokenizer.add_bos and tokenizer.bos_id is not None and not seq2seq else []
    found = []
    for text, is_whole in zip(texts, whole, strict=True):
        if not isinstance(text, str):
            found.append(list(text))
        elif seq2seq and is_whole:
            found.append(tokenizer.encode_pair(text)[0])
        else:
            ids = known[text]
            found.append([*bos, *ids] if is_whole and bos and ids[:1] != bos else ids)
    return found


def _name(names: Sequence[str], number: int) -> str:
    return f"{names[number]}: the continuation" if names else f"continuation {number + 1}"


def _row(lm: LanguageModel, context: list[int], continuation: list[int], name: str) -> Row:
    limit = lm.model.max_tokens
    if len(continuation) > limit:
        raise DataError(
            f"{name} has {len(continuation)} tokens",
            f"the model reads {limit}",
            "shorten it, or use a model with a longer context",
        )
    if lm.model.kind == "seq2seq":
        return Row(tuple(continuation), len(continuation), tuple(context[-lm.context_length :]))
    return Row(tuple([*context, *continuation][-limit - 1 :]), len(continuation))


def _size(row: Row) -> int:
    return len(row.ids) + len(row.source)


def _refuse_masked(lm: LanguageModel) -> None:
    if lm.model.kind == "masked":
        raise UsageError(
            "a request to a masked model",
            "it guesses masked tokens from both sides, and gives no text a probability",
            "evaluate a decoder or an encoder-decoder; fine-tune an encoder on the task: seodang finetune",
        )
