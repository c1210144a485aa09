"""Rows of encoders, masked anew each time: BERT's and ALBERT's pairs, RoBERTa's full sentences, single texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from seodang.data.loader import digest, require_tokens
from seodang.data.noising import Ints, mask_tokens
from seodang.data.pairs import Pair, join_pair, next_sentence, sentence_order, split_text, truncate_pair
from seodang.data.rows import Pieces, Row, Rows, chunks, document_end, windows
from seodang.data.shards import TokenShards
from seodang.data.special import SpecialIds
from seodang.errors import DataError

Mode = Literal["nsp", "sop", "full-sentences", "plain"]


class MaskedRows(Rows):
    """Masked texts of at most `length` positions with their special tokens.

    nsp             [CLS] A [SEP] B [SEP] with the label of next-sentence prediction (BERT, sec. 3.1)
    sop             the same with that of sentence order (ALBERT, sec. 3.1)
    full-sentences  [CLS] text [SEP], always full: where a document ends the next one begins behind a [SEP] (RoBERTa,
                    sec. 4.2)
    plain           [CLS] text [SEP] of one document, 85 % of the chosen tokens masked, the others left as they are
                    (ELECTRA's released code; its sec. 2 masks all)

    Pairs are cut where a sentence begins; a tenth of them is of random shorter length (BERT, app. A.2), `short`.
    Parts of a pair never leave their document. `share`, `longest_ngram`: see `mask_tokens`. Each position has a
    draw, for ELECTRA's generator.
    """

    def __init__(
        self,
        shards: TokenShards,
        ids: SpecialIds,
        *,
        length: int,
        mode: Mode,
        share: float = 0.15,
        longest_ngram: int = 1,
        short: float = 0.1,
    ) -> None:
        require_tokens(shards)
        self.shards, self.special, self.length, self.pad = shards, ids, length, ids.pad
        self.mode, self.share, self.longest_ngram, self.short = mode, share, longest_ngram, short
        self.cls, self.sep, self.mask = ids.need("cls"), ids.need("sep"), ids.need("mask")
        self.n_text = length - (3 if mode in ("nsp", "sop") else 2)
        if self.n_text < 2:
            raise ValueError(f"length is {length}; no text fits between the special tokens")
        self.end = document_end(shards)
        self.pieces: Pieces = (windows if mode == "full-sentences" else chunks)(shards, self.n_text)
        several = self.pieces.documents[0] != self.pieces.documents[-1]
        if mode == "nsp" and not several and len(self.pieces) < 4:
            raise DataError(
                f"{shards.folder} is too small for next-sentence prediction",
                f"it is one document of {shards.n_tokens} tokens; the wrong sentences come from far away in it",
                "give more text, or choose another objective",
            )

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def fingerprint(self) -> str:
        return digest(
            "masked", self.shards.fingerprint, self.length, self.mode, self.share, self.longest_ngram, self.short
        )

    def make(self, index: int, rng: np.random.Generator) -> Row:
        text = self.shards.read(int(self.pieces.starts[index]), int(self.pieces.stops[index]))
        if self.mode in ("nsp", "sop"):
            first, second, label = self._pair(index, text, rng)
            first, second = truncate_pair(first, second, self.n_text, rng)
            ids, segments = join_pair(first, second, self.cls, self.sep)
            return replace(self._masked(ids, rng), segments=segments, label=label)
        text[text == self.end] = self.sep
        return self._masked(np.r_[self.cls, text, self.sep], rng)

    def _masked(self, ids: Ints, rng: np.random.Generator) -> Row:
        special = self.special
        as_mask, as_random = (0.85, 0.0) if self.mode == "plain" else (0.8, 0.1)
        noised, targets = mask_tokens(
            ids,
            ~special.is_special[ids],
            rng,
            mask_id=self.mask,
            replacements=special.ordinary,
            share=self.share,
            as_mask=as_mask,
            as_random=as_random,
            longest_ngram=self.longest_ngram,
        )
        n_bytes = int(self.shards.token_bytes[targets[targets >= 0]].sum()) * self.shards.bytes_ratio
        return Row(noised, targets, draws=rng.random(len(ids), dtype=np.float32), n_bytes=n_bytes)

    def _pair(self, index: int, text: Ints, rng: np.random.Generator) -> Pair:
        if rng.random() < self.short:
            size = int(rng.integers(2, self.n_text + 1))
            start = int(rng.integers(max(1, len(text) - size + 1)))
            text = text[start : start + size]
        ends = self.special.sentence_ends
        if self.mode == "sop":
            return sentence_order(text, ends, rng)
        return next_sentence(text, ends, lambda length: self._elsewhere(index, length, rng), rng)

    def _elsewhere(self, index: int, length: int, rng: np.random.Generator) -> Ints:
        """A text that begins as a second part does: in another document, or in the only one but not beside `index`."""
        pieces = self.pieces
        here = pieces.documents[index]
        before, behind = np.searchsorted(pieces.documents, [here, here + 1]).tolist()
        if behind - before < len(pieces):
            other = int(rng.integers(len(pieces) - (behind - before)))
            other += (behind - before) if other >= before else 0
        else:
            other = (index + 2 + int(rng.integers(len(pieces) - 3))) % len(pieces)
        start, stop = int(pieces.starts[other]), int(pieces.stops[other])
        first, _ = split_text(self.shards.read(start, stop), self.special.sentence_ends, rng)
        last = np.searchsorted(pieces.documents, pieces.documents[other] + 1) - 1
        start += len(first)
        return self.shards.read(start, min(start + length, int(pieces.stops[last])))
