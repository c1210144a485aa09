"""What noise and rows must know of a tokenizer: which ids are special, and which end a sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from seodang.data.noising import Bools, Ints, sentence_ends
from seodang.errors import DataError


@dataclass(frozen=True, eq=False)
class SpecialIds:
    """Ids by the part they play; None where the vocabulary (of `size` entries) has none.

    special    all ids that stand for no text: never noised, never put in as noise
    ends       (size,) bool, which tokens end a sentence; empty when that is not known
    sentinels  T5's <extra_id_0>, <extra_id_1>, …
    pad        any id will do where there is none, as `documents` says what is padding
    """

    size: int
    special: frozenset[int]
    pad: int = 0
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    bos: int | None = None
    eos: int | None = None
    sentinels: tuple[int, ...] = ()
    ends: Bools = field(default_factory=lambda: np.empty(0, dtype=bool))

    @staticmethod
    def of(tokenizer: Any) -> SpecialIds:
        """Of a `seodang.text.tokenizer.Tokenizer`. A vocabulary with one set of ends uses it for the other: RoBERTa's
        <s> and </s> are BERT's [CLS] and [SEP], and the other way round."""
        t = tokenizer
        pairs = {"cls": (t.cls_id, t.bos_id), "sep": (t.sep_id, t.eos_id)}
        pairs |= {"bos": (t.bos_id, t.cls_id), "eos": (t.eos_id, t.sep_id)}
        return SpecialIds(
            t.vocab_size,
            frozenset(t.special_ids) | ({t.document_end_id} - {None}),
            t.pad_id or 0,
            mask=t.mask_id,
            sentinels=tuple(t.sentinel_ids),
            ends=sentence_ends(t),
            **{name: first if first is not None else second for name, (first, second) in pairs.items()},
        )

    @cached_property
    def is_special(self) -> Bools:
        """(size,) bool."""
        table = np.zeros(self.size, dtype=bool)
        table[list(self.special)] = True
        return table

    @cached_property
    def ordinary(self) -> Ints:
        """The ids that stand for text."""
        return np.flatnonzero(~self.is_special).astype(np.int64)

    @cached_property
    def sentence_ends(self) -> Bools:
        """(size,) bool; all False when that is not known."""
        return self.ends if len(self.ends) else np.zeros(self.size, dtype=bool)

    def need(self, name: str) -> int:
        """The id with this part. Raises DataError when the vocabulary has none."""
        value = getattr(self, name)
        if value is None:
            raise DataError(
                f"the tokenizer has no {name} token",
                "this way of training puts it into every row",
                "take the tokenizer of the model's family, or train one of its kind: seodang tokenizer train",
            )
        return int(value)
