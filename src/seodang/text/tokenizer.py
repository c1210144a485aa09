"""Text → ids and back, for every vocabulary this package reads or learns: one class around `tokenizers`.

Three rules hold for all of them. `encode` adds nothing of its own (no bos, no eos). A special token that somebody
spells out in a text stays text, unless the caller allows it. Nothing is cut or padded.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seodang.errors import DataError
from seodang.files import atomic_write
from seodang.text.roles import ENCODER_ROLES, ROLES, Roles
from seodang.text.rules import Spelling, prefix_of, without_prefix

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend


class Tokenizer(Roles):
    """A vocabulary with its rules, special tokens and chat template. Safe to use from several threads."""

    def __init__(
        self, backend: Backend, *, config: dict[str, Any] | None = None, chat_template: str | None = None
    ) -> None:
        """`config` is what tokenizer_config.json holds; special tokens that it names are declared to `backend`."""
        from tokenizers import AddedToken

        self._config = dict(config or {})
        self._config.pop("chat_template", None)
        self.chat_template = chat_template
        backend.no_truncation()
        backend.no_padding()
        known = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
        for name in self._named_specials():
            if name not in known and backend.token_to_id(name) is not None:
                backend.add_special_tokens([AddedToken(name, special=True, normalized=False)])
        # spelled-out special tokens are text; `_split` finds the real ones where they are allowed
        backend.encode_special_tokens = True
        self._backend = backend
        self._spelling = Spelling(backend)
        self._added = dict(backend.get_added_tokens_decoder())
        self._special = {token.content: id for id, token in self._added.items() if token.special}

    # -- in and out ----------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """A tokenizer from a folder or a file: tokenizer.json, GPT-2's, GPT-1's or RoBERTa's published files, BERT's
        vocab.txt, or SentencePiece's .model.

        Raises DataError when nothing of the kind is there, or when a file is damaged.
        """
        from seodang.text.vocabularies import load

        return load(Path(path))

    @classmethod
    def from_bpe(
        cls,
        tokens: Sequence[str],
        merges: Sequence[str | tuple[str, str]],
        types: Sequence[int] | None = None,
        *,
        pre: str = "gpt-2",
        special: dict[str, int] | None = None,
        bos_id: int | None = None,
        eos_id: int | None = None,
        pad_id: int | None = None,
        unk_id: int | None = None,
        add_bos: bool = False,
        add_prefix_space: bool = False,
        nfc: bool | None = None,
        chat_template: str | None = None,
    ) -> Tokenizer:
        """Byte-level BPE from its tables, as GGUF stores them.

        merges  "left right" or (left, right), the first learned first.
        types   GGUF's token types: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
        pre     name of the pre-tokenizer (tokenizer.ggml.pre). Raises DataError for one that is not known.
        special further special tokens: text → id.
        nfc     compose text first; None: as `pre` does.
        """
        from seodang.text.pieces import byte_level_backend

        backend = byte_level_backend(tokens, merges, types, pre, special or {}, add_prefix_space, nfc)
        ids = {"bos_token": bos_id, "eos_token": eos_id, "pad_token": pad_id, "unk_token": unk_id}
        return cls._from_tables(backend, tokens, ids, add_bos, chat_template)

    @classmethod
    def from_sentencepiece(
        cls,
        tokens: Sequence[str],
        scores: Sequence[float],
        types: Sequence[int] | None = None,
        *,
        add_space_prefix: bool = True,
        special: dict[str, int] | None = None,
        normalizers: Sequence[Any] = (),
        bos_id: int | None = None,
        eos_id: int | None = None,
        pad_id: int | None = None,
        unk_id: int | None = None,
        add_bos: bool = True,
        chat_template: str | None = None,
    ) -> Tokenizer:
        """SentencePiece BPE with byte fallback from its pieces and scores: LLaMA's GGUF files, llama2.c's .bin.

        types   as for `from_bpe`; without them ids 0, 1, 2 are <unk>, <s>, </s> and `<0xNN>` are bytes.
        normalizers  rules of `tokenizers` for the text, before its spaces are marked.
        """
        from tokenizers.normalizers import Sequence as Rules

        from seodang.text.pieces import sentencepiece_backend, sentencepiece_types

        if types is None:
            tokens, types = sentencepiece_types(tokens)
        control = {index for index, kind in enumerate(types) if kind == 3}
        bos_id = 1 if bos_id is None and 1 in control else bos_id
        eos_id = 2 if eos_id is None and 2 in control else eos_id
        unk_id = 0 if unk_id is None and types[0] == 2 else unk_id
        backend = sentencepiece_backend(tokens, scores, types, special or {}, unk_id, add_space_prefix)
        if normalizers:
            backend.normalizer = Rules([*normalizers, backend.normalizer])
        ids = {"bos_token": bos_id, "eos_token": eos_id, "pad_token": pad_id, "unk_token": unk_id}
        return cls._from_tables(backend, tokens, ids, add_bos and bos_id is not None, chat_template)

    @classmethod
    def _from_tables(
        cls,
        backend: Backend,
        tokens: Sequence[str],
        ids: dict[str, int | None],
        add_bos: bool,
        chat_template: str | None,
    ) -> Tokenizer:
        config: dict[str, Any] = {role: backend.id_to_token(id) for role, id in ids.items() if id is not None}
        if add_bos:
            from tokenizers import processors

            bos = config["bos_token"]
            backend.post_processor = processors.TemplateProcessing(
                single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, ids["bos_token"])]
            )
        config["add_bos_token"] = add_bos
        return cls(backend, config=config, chat_template=chat_template)

    def save(self, folder: Path | str) -> None:
        """Write tokenizer.json, tokenizer_config.json, chat_template.jinja, and vocab.json + merges.txt for BPE.

        transformers 4 and 5 read the folder and give the same ids.
        """
        folder = Path(folder)
        atomic_write(folder / "tokenizer.json", self._backend.to_str(pretty=True))
        added = {str(id): token.__getstate__() for id, token in sorted(self._added.items())}
        # transformers 4 wants a dictionary under extra_special_tokens and 5 a list; both read the older name
        config = {key: value for key, value in self._config.items() if key != "extra_special_tokens"}
        named = {self._config_name(role) for role in (*ROLES, *ENCODER_ROLES)}
        config |= {
            "additional_special_tokens": [name for name in self._special if name not in named],
            "tokenizer_class": "PreTrainedTokenizerFast",  # reads tokenizer.json as it is, in version 4 and 5
            "added_tokens_decoder": added,
            "clean_up_tokenization_spaces": False,
            "model_max_length": self._config.get("model_max_length", int(1e30)),
        }
        if self.cls_id is not None and 1 in self.encode_pair("a", "a")[1]:  # else transformers keeps them to itself
            config["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
        atomic_write(folder / "tokenizer_config.json", json.dumps(config, ensure_ascii=False, indent=2) + "\n")
        if self.chat_template is not None:
            atomic_write(folder / "chat_template.jinja", self.chat_template)
        model = self.pipeline()["model"]
        if model["type"] == "BPE":
            atomic_write(folder / "vocab.json", json.dumps(model["vocab"], ensure_ascii=False))
            lines = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
            atomic_write(folder / "merges.txt", "\n".join(["#version: 0.2", *lines]) + "\n")

    def with_chatml(self) -> Tokenizer:
        """A copy with ChatML's two tokens and its template, for a vocabulary that came without any dialogue."""
        from seodang.text.chat import chatml

        return self.with_special(("<|im_start|>", "<|im_end|>"), chat_template=chatml())

    def with_special(
        self, marks: Sequence[str], *, pad: str | None = None, chat_template: str | None = None
    ) -> Tokenizer:
        """A copy with these special tokens, behind the others where they are new. pad: which of them fills rows up from
        now on. chat_template: in the place of its own."""
        from tokenizers import AddedToken
        from tokenizers import Tokenizer as Backend

        backend = Backend.from_str(self._backend.to_str())
        backend.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
        config = self._config if pad is None else {**self._config, "pad_token": pad}
        return Tokenizer(backend, config=config, chat_template=chat_template or self.chat_template)

    # -- text to ids ---------------------------------------------------------------------------------------------

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """The ids of `text`. Special tokens spelled in it are text, unless `allow_special`.

        Raises DataError for a lone surrogate, which no UTF-8 text can hold.
        """
        if allow_special:
            return [id for ids in self.encode_segments([(text, True)]) for id in ids]
        return self._encode(self._backend, text)

    def encode_batch(self, texts: Sequence[str], *, allow_special: bool = False) -> list[list[int]]:
        """The ids of each text, on all processors."""
        if allow_special:
            return [self.encode(text, allow_special=True) for text in texts]
        try:
            encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        except (UnicodeEncodeError, TypeError):
            return [self.encode(text) for text in texts]  # names what is wrong
        return [encoding.ids for encoding in encodings]

    def encode_segments(self, segments: Iterable[tuple[str, bool]]) -> list[list[int]]:
        """The ids of each (text, allow_special) of one running text, encoded apart: no token spans two segments.

        A SentencePiece space prefix is put where it would be in the whole text, not before every segment.
        """
        result = []
        first = after_special = True
        for text, allow_special in segments:
            ids: list[int] = []
            for piece, special in self._split(text) if allow_special else [(text, None)]:
                if special is not None:
                    ids.append(special)
                elif piece:
                    prefixed = first or (after_special and self._prefix == "always")
                    ids += self._encode(self._backend if prefixed else self._bare, piece)
                else:
                    continue
                first, after_special = False, special is not None
            result.append(ids)
        return result

    def encode_pair(self, a: str, b: str | None = None) -> tuple[list[int], list[int]]:
        """The ids of one text or two, with the special tokens that this tokenizer's own rules put around them.

        BERT: [CLS] a [SEP] b [SEP]. RoBERTa and BART: <s> a </s></s> b </s>. T5: a </s> b </s>. GPT: a b. Second come
        the segments (token types) of the ids: 1 for `b` and its end where the family tells texts apart, 0 for all else.
        Raises DataError for a lone surrogate.
        """
        try:
            encoding = self._backend.encode(a, b, add_special_tokens=True)
        except (UnicodeEncodeError, TypeError):
            for text in (a, b or ""):
                self.encode(text)  # names what is wrong
            raise
        return encoding.ids, encoding.type_ids

    def _encode(self, backend: Backend, text: str) -> list[int]:
        try:
            return backend.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError):
            if not isinstance(text, str):
                raise
            at = next(i for i, character in enumerate(text) if "\ud800" <= character <= "\udfff")
            raise DataError(
                f"a text cannot be encoded: {text[max(0, at - 20) : at + 20]!r}",
                f"character {at} is half of a surrogate pair, which is no character",
                "write the text as UTF-8",
            ) from None

    def _split(self, text: str) -> list[tuple[str, int | None]]:
        """`text` cut at special tokens: (text, None) or (spelling, id)."""
        if self._special_pattern is None:
            return [(text, None)]
        parts: list[tuple[str, int | None]] = []
        at = 0
        for match in self._special_pattern.finditer(text):
            parts.append((text[at : match.start()], None))
            spelled = match.group()
            parts.append((spelled, self._special[spelled if spelled in self._special else spelled.strip()]))
            at = match.end()
        return [*parts, (text[at:], None)]

    @cached_property
    def _special_pattern(self) -> re.Pattern[str] | None:
        tokens = sorted((t for t in self._added.values() if t.special), key=lambda t: -len(t.content))
        spelled = [
            (r"\s*" if t.lstrip else "") + re.escape(t.content) + (r"\s*" if t.rstrip else "") for t in tokens
        ]
        return re.compile("|".join(spelled)) if spelled else None

    @cached_property
    def _prefix(self) -> str:
        return prefix_of(self._backend)

    @cached_property
    def _bare(self) -> Backend:
        return self._backend if self._prefix == "none" else without_prefix(self._backend)

    # -- ids to text ---------------------------------------------------------------------------------------------

    @property
    def has_bytes(self) -> bool:
        """Whether tokens are strings of bytes, so that joining `token_bytes` is decoding."""
        return self._spelling.kind != "words"

    @property
    def spells_exactly(self) -> bool:
        """Whether joining `token_bytes` is the text, but for a space at its end: not where decoding puts spaces between
        words (WordPiece)."""
        return self._spelling.exact

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """The text of `ids`. Bytes that are no UTF-8 become U+FFFD; ids without a token give nothing."""
        ids = [int(id) for id in ids]
        if not self.has_bytes:
            known = [id for id in ids if self._backend.id_to_token(id) is not None]
            return self._backend.decode(known, skip_special_tokens=skip_special)
        skipped = self.special_ids if skip_special else set()
        text = b"".join(self.token_bytes(id) for id in ids if id not in skipped).decode("utf-8", errors="replace")
        return text[1:] if self._spelling.drops_first_space and text.startswith(" ") else text

    def token_bytes(self, id: int) -> bytes:
        """The exact bytes that a token stands for; b"" for an id without a token.

        Vocabularies of words have no exact bytes: a word's token stands for itself with one space before it
        (after it with `</w>`).
        """
        if id in self._added:
            return self._added[id].content.encode("utf-8")
        token = self._backend.id_to_token(id)
        return b"" if token is None else self._spelling.to_bytes(token)

    # -- the vocabulary ------------------------------------------------------------------------------------------

    @cached_property
    def vocab_size(self) -> int:
        """Embedding rows that are needed: the highest id, plus one."""
        return 1 + max(self._backend.get_vocab(with_added_tokens=True).values())

    def id_of(self, token: str) -> int | None:
        """The id of a token as the vocabulary spells it, or None."""
        return self._backend.token_to_id(token)

    def token_of(self, id: int) -> str:
        """The token as the vocabulary spells it; "" for an id without a token."""
        return self._backend.id_to_token(id) or ""

    @property
    def special_ids(self) -> set[int]:
        """Ids of the tokens that stand for no text."""
        return set(self._special.values())

    def pipeline(self) -> dict[str, Any]:
        """What tokenizer.json holds: normalizer, pre_tokenizer, model, added_tokens …"""
        whole: dict[str, Any] = json.loads(self._backend.to_str())
        return whole

    def fingerprint(self) -> str:
        """SHA-256 over tokenizer.json, the special tokens and the chat template; the same after save and load."""
        whole = self.pipeline()
        roles = {role: self._role(role) for role in ROLES}
        roles |= {role: id for role in ENCODER_ROLES if (id := self._role(role)) is not None}
        text = json.dumps([whole, roles, self.chat_template], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()
