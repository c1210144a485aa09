"""Which special token plays which part: ends of texts, turns and documents, padding, masks, sentinels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

ROLES = ("bos_token", "eos_token", "pad_token", "unk_token")
"""The special tokens that tokenizer_config.json names for every model."""

ENCODER_ROLES = ("cls_token", "sep_token", "mask_token")
"""Those that it names for encoders."""

_ENDS_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|end_of_turn|>", "<|eot|>")
_ENDS_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
_LINE_END = "\n</w>"  # GPT-1's vocabulary has no special tokens; its own data had this one between paragraphs
_SENTINEL = re.compile(r"<extra_id_(\d+)>")


class Roles:
    """The part of a `Tokenizer` that knows its special tokens. An id is None where the vocabulary has none."""

    _backend: Backend
    _config: dict[str, Any]
    _special: dict[str, int]
    chat_template: str | None

    @property
    def bos_id(self) -> int | None:
        """Beginning of a text, where the vocabulary has one."""
        return self._role("bos_token")

    @property
    def eos_id(self) -> int | None:
        """What tokenizer_config.json calls eos: the end of a text, or of a turn in some chat models."""
        return self._role("eos_token")

    @property
    def pad_id(self) -> int | None:
        """Padding, where the vocabulary has one; never eos in the tokenizers we train."""
        return self._role("pad_token")

    @property
    def unk_id(self) -> int | None:
        """What unknown text becomes, where anything can be unknown."""
        return self._role("unk_token")

    @property
    def cls_id(self) -> int | None:
        """What stands first in an encoder's input and is pooled."""
        return self._role("cls_token")

    @property
    def sep_id(self) -> int | None:
        """What ends each text of an encoder's input."""
        return self._role("sep_token")

    @property
    def mask_id(self) -> int | None:
        """What stands for a token to be guessed."""
        return self._role("mask_token")

    @property
    def sentinel_ids(self) -> list[int]:
        """T5's <extra_id_0>, <extra_id_1>, … in that order (their ids fall in T5's own vocabulary); [] elsewhere."""
        found = ((_SENTINEL.fullmatch(name), id) for name, id in self._special.items())
        return [id for _, id in sorted((int(match[1]), id) for match, id in found if match)]

    @property
    def end_of_turn_id(self) -> int | None:
        """What ends an assistant's turn in the chat template: <|im_end|> and the like, or else eos."""
        template = self.chat_template
        for name in _ENDS_OF_TURN:
            if name in self._special and (template is None or name in template):
                return self._special[name]
        return self.eos_id

    @property
    def end_of_text_id(self) -> int | None:
        """What ends a text that is generated: <|endoftext|> and the like, or else eos."""
        return next((self._special[name] for name in _ENDS_OF_TEXT if name in self._special), self.eos_id)

    @property
    def document_end_id(self) -> int | None:
        """What stands between the documents of token shards: end of text, or else eos, sep, or GPT-1's line end."""
        for id in (self.end_of_text_id, self.eos_id, self.sep_id):
            if id is not None:
                return id
        return self._backend.token_to_id(_LINE_END)

    @property
    def add_bos(self) -> bool:
        """Whether texts begin with bos by this tokenizer's own rules; `encode` leaves that to the caller."""
        if self.bos_id is None:
            return False
        return self._backend.encode("a", add_special_tokens=True).ids[:1] == [self.bos_id]

    @property
    def special_tokens(self) -> dict[str, str]:
        """bos_token, eos_token … as chat templates see them."""
        roles = ((role, self._role(role)) for role in ROLES)
        return {role: self._backend.id_to_token(id) or "" for role, id in roles if id is not None}

    def _role(self, role: str) -> int | None:
        name = self._config_name(role)
        return None if name is None else self._backend.token_to_id(name)

    def _config_name(self, role: str) -> str | None:
        return _content(self._config.get(role))

    def _named_specials(self) -> list[str]:
        named: list[Any] = [self._config.get(role) for role in (*ROLES, *ENCODER_ROLES)]
        for key in ("additional_special_tokens", "extra_special_tokens"):
            more = self._config.get(key) or []
            named += list(more.values()) if isinstance(more, dict) else list(more)
        return [name for name in map(_content, named) if name]


def _content(token: Any) -> str | None:
    """tokenizer_config.json writes a token as its text, or as {"content": text, …}."""
    return token.get("content") if isinstance(token, dict) else token
