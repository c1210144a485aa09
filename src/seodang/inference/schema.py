"""Texts that keep to a JSON schema, a regular expression or a list of choices: tokens that would break it become -inf.

What may come next is computed by the library `llguidance`, from the bytes that each token stands for. JSON is written
as Python's `json.dumps` writes it, one way for each value, so that a text of bounded parts is bounded itself.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seodang.errors import UsageError
from seodang.inference.sampling import NEVER, Settings
from seodang.text.tokenizer import Tokenizer

_FREE = b"\1"
_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def _library() -> Any:
    try:
        import llguidance
    except ImportError:
        raise UsageError(
            "a schema, a regex or choices need the package llguidance",
            "it is not installed",
            'pip install "seodang[schema]"',
        ) from None
    return llguidance


def grammar_of(
    schema: Mapping[str, Any] | bool | str | None = None,
    regex: str | None = None,
    choices: Sequence[str] | None = None,
) -> str | None:
    """What a text must be, as a grammar of llguidance; None when nothing is given.

    schema: a JSON schema, or its JSON text. regex: for the whole text, without look-around and back-references.
    choices: the possible texts. Raises UsageError for more than one of them, for one that is wrong or uses what cannot
    be enforced, for one that no text satisfies, and where llguidance is missing.
    """
    wanted = {"schema": schema, "regex": regex, "choices": choices}
    names = [name for name, value in wanted.items() if value is not None]
    if not names:
        return None
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} at once", "a text keeps to one of them", f"give {names[0]} alone")
    matcher = _library().LLMatcher
    if schema is not None:
        grammar = matcher.grammar_from_json_schema(json.dumps(_as_object(schema)), defaults=_LAYOUT)
    elif regex is not None:
        grammar = matcher.grammar_from_regex(regex)
    else:
        grammar = matcher.grammar_from_lark("start: " + " | ".join(map(_quoted, _texts(choices))))
    wrong, messages = matcher.validate_grammar_with_warnings(grammar)
    if wrong:
        raise _refusal(names[0], messages[0])
    return str(grammar)


def _as_object(schema: Mapping[str, Any] | bool | str) -> Mapping[str, Any]:
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except json.JSONDecodeError as error:
            raise UsageError(f"the schema is not JSON: line {error.lineno}", error.msg, "correct it") from None
    if schema is True:
        return {}
    if not isinstance(schema, Mapping):
        why = "false allows nothing" if schema is False else "it must be an object, such as {...}"
        raise UsageError(f"the schema is {json.dumps(schema)}", why, 'write {"type": "object", "properties": {…}}')
    return schema


def _texts(choices: Sequence[str] | None) -> Sequence[str]:
    if isinstance(choices, str) or not choices or not all(isinstance(text, str) and text for text in choices):
        raise UsageError(f"choices = {choices!r}", "they are the possible texts, none of them empty", "list some texts")
    return choices


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _refusal(name: str, message: str) -> UsageError:
    """llguidance's message in three lines."""
    reason = " ".join(line.strip() for line in message.splitlines() if line.strip())[:300]
    if "Unsatisfiable" in message:
        why = reason.partition("Unsatisfiable schema:")[2].strip() or reason
        return UsageError(f"nothing satisfies the {name}", why, "loosen what contradicts itself")
    if "Unimplemented" in message or "not supported" in message:
        return UsageError(f"the {name} asks for what cannot be enforced", reason, "leave that part away")
    return UsageError(f"the {name} is wrong", reason, "correct it")


class _Vocabulary:
    """What llguidance wants to know of a tokenizer, and one token more, which is never chosen."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, end_ids: Sequence[int]) -> None:
        self.none = tokenizer.vocab_size
        specials = tokenizer.special_ids
        self.tokens = [*map(tokenizer.token_bytes, range(self.none)), b"<none>"]
        self.special_token_ids = [*sorted(specials), self.none]
        self.eos_token_id = end_ids[0] if end_ids else self.none
        self._tokenizer = tokenizer
        self._ids = {data: token for token, data in enumerate(self.tokens[:-1]) if data and token not in specials}
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: bytes) -> list[int]:
        """The ids whose bytes are `text`, as the model is used to them where that is exact; what is forced is spelled
        so. What the vocabulary cannot spell ends in the token that is never chosen."""
        _, ids = self._tokenizer.encode_segments([("x", False), (text.decode("utf-8"), False)])
        return ids if b"".join(self.tokens[token] for token in ids) == text else self._greedy(text)

    def _greedy(self, text: bytes) -> list[int]:
        ids, at = list[int](), 0
        while at < len(text):
            ends = range(min(len(text), at + self._longest), at, -1)
            end = next((end for end in ends if text[at:end] in self._ids), None)
            if end is None:
                return [*ids, self.none]
            ids.append(self._ids[text[at:end]])
            at = end
        return ids


@functools.lru_cache(maxsize=4)
def _vocabulary(tokenizer: Tokenizer, end_ids: tuple[int, ...]) -> tuple[Any, bool]:
    """llguidance's view of a tokenizer, and whether every byte is a token of its own."""
    library = _library()
    if not tokenizer.spells_exactly:
        raise UsageError(
            "a schema, a regex or choices with this vocabulary",
            "its tokens are words, and the spaces between them are not in any of them",
            "use a model with a byte-level, SentencePiece or </w> vocabulary",
        )
    ends = [token for token in end_ids if token < tokenizer.vocab_size]
    known = _Vocabulary(tokenizer, ends)
    every_byte = {bytes([byte]) for byte in range(256)} <= set(known.tokens)
    return library.LLTokenizer(library.TokenizerWrapper(known), eos_token=ends or [known.none]), every_byte


class Guide:
    """Where in its grammar each of `n_rows` texts is.

    Raises UsageError for a vocabulary of words, and for a grammar that no text of the vocabulary satisfies.
    """

    def __init__(self, tokenizer: Tokenizer, settings: Settings, n_rows: int) -> None:
        self.tokenizer = tokenizer
        vocabulary, every_byte = _vocabulary(tokenizer, settings.stop_ids)
        matcher = _library().LLMatcher(vocabulary, settings.grammar, log_level=0)
        self._matchers = [matcher.deep_copy() for _ in range(n_rows)]
        self._read: list[list[int]] = [[] for _ in range(n_rows)]
        self._blind = not every_byte  # a token may then be allowed behind which nothing can be spelled

    def allow(self, logits: Tensor, rows: Sequence[int | None]) -> Tensor:
        """Logits (B, V) with -inf for what may not come next; `rows` says whose text each of them is, None: nobody's.

        Raises UsageError where nothing is left.
        """
        n_ids = logits.shape[1]
        masks = [_FREE * n_ids if row is None else self._allowed(row)[:n_ids] for row in rows]
        allowed = torch.frombuffer(bytearray(b"".join(masks)), dtype=torch.uint8).view(len(rows), n_ids) > 0
        kept = logits.masked_fill(~allowed.to(logits.device), NEVER)
        dead = (kept == NEVER).all(1).tolist()
        for row, empty, mask in zip(rows, dead, masks, strict=True):
            if row is not None and empty:
                raise self._dead_end(row, any(mask))
        return kept

    def dead_ends(self, chosen: Sequence[int], rows: Sequence[int | None]) -> list[int]:
        """The places in `rows` whose chosen token could not be followed by any other."""
        return [
            place
            for place, (row, token) in enumerate(zip(rows, chosen, strict=True))
            if self._blind and row is not None and self._ends_blind(row, token)
        ]

    def push(self, row: int, token: int, *, last: bool = False) -> bool:
        """A row goes on with `token`. True when its text is whole: nothing can follow, or nothing will (`last`)."""
        matcher = self._matchers[row]
        matcher.consume_token(token)
        if matcher.is_error():
            raise self._dead_end(row, any_allowed=False)
        self._read[row].append(token)
        return bool(matcher.is_stopped() or (last and matcher.is_accepting()))

    def _allowed(self, row: int) -> bytes:
        """(V + 1,) a byte for each token, not 0 for what may come next."""
        mask = self._matchers[row].compute_logit_bias()
        return bytes(len(mask)) if self._matchers[row].is_error() else mask

    def _ends_blind(self, row: int, token: int) -> bool:
        ahead = self._matchers[row].deep_copy()
        ahead.consume_token(token)
        if ahead.is_stopped():
            return bool(ahead.is_error())
        return not any(ahead.compute_logit_bias()[: self.tokenizer.vocab_size])

    def _dead_end(self, row: int, any_allowed: bool) -> UsageError:
        text, matcher = self.tokenizer.decode(self._read[row]), self._matchers[row]
        place = f"nothing can follow {text!r}" if text else "no text can be begun"
        reason = matcher.get_error().partition("\n")[0]
        if any_allowed:
            why, fix = "other settings forbid every token that the schema allows", "set --no-repeat-ngram-size 0"
        elif "TooComplex" in reason:
            why, fix = reason[:200], "make the schema simpler"
        else:
            why = "the schema allows nothing there that the vocabulary can spell"
            fix = "correct the schema, or use a model whose vocabulary has these characters"
        return UsageError(place, why, fix)
