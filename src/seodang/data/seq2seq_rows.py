"""Rows of encoder-decoders: T5's span corruption, BART's denoising, continuations of a text, pairs of texts.

The decoder reads `start` and then the targets but the last (teacher forcing). `start` is pad in T5 and in
transformers' Marian, </s> in BART.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seodang.data.loader import digest, hash_ids, require_tokens
from seodang.data.noising import (
    BartNoise,
    Ints,
    bart_noise,
    corrupt_spans,
    noise_spans,
    span_corruption_lengths,
    span_counts,
)
from seodang.data.rows import Row, Rows, chunks, document_end, windows
from seodang.data.shards import TokenShards
from seodang.data.special import SpecialIds
from seodang.data.text_pairs import TextPair
from seodang.errors import DataError


def taught(source: Ints, target: Ints, start: int, n_bytes: float = 0.0) -> Row:
    """A row whose decoder predicts `target`, each token from `start` and those before it."""
    return Row(source, target, decoder_ids=np.r_[start, target[:-1]].astype(np.int64), n_bytes=n_bytes)


def _n_bytes(shards: TokenShards, text: Ints) -> float:
    return int(shards.token_bytes[text].sum()) * shards.bytes_ratio


class SpanCorruptionRows(Rows):
    """T5's denoising (Raffel et al. 2020, sec. 3.1.4): windows of so many tokens that the inputs are `length` long.

    Documents follow one another in a window without their end tokens, as in the released code; </s> ends inputs and
    targets. Raises DataError when the vocabulary has fewer sentinels than a window has spans.
    """

    def __init__(
        self,
        shards: TokenShards,
        ids: SpecialIds,
        *,
        length: int,
        density: float = 0.15,
        mean_span: float = 3.0,
        start: int | None = None,
    ) -> None:
        require_tokens(shards)
        self.shards, self.special, self.length, self.pad = shards, ids, length, ids.pad
        self.density, self.mean_span = density, mean_span
        self.start, self.eos = ids.pad if start is None else start, ids.need("eos")
        n_raw, self.decoder_length = span_corruption_lengths(length, density, mean_span)
        spans = span_counts(n_raw, density, mean_span)[1]
        if spans > len(ids.sentinels):
            raise DataError(
                f"the tokenizer has {len(ids.sentinels)} sentinels",
                f"inputs of {length} tokens have {spans} spans",
                "take a tokenizer with <extra_id_0>, <extra_id_1>, …, or a smaller --max-length",
            )
        self.end, self.pieces = document_end(shards), windows(shards, n_raw)

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def fingerprint(self) -> str:
        return digest("spans", self.shards.fingerprint, self.length, self.density, self.mean_span, self.start)

    def make(self, index: int, rng: np.random.Generator) -> Row:
        text = self.shards.read(int(self.pieces.starts[index]), int(self.pieces.stops[index]))
        text = text[text != self.end]
        noise = noise_spans(len(text), rng, self.density, self.mean_span)
        source, target = corrupt_spans(text, noise, self.special.sentinels, self.eos)
        return taught(source, target, self.start, _n_bytes(self.shards, text[noise]))


class InfillingRows(Rows):
    """BART's denoising (Lewis et al. 2020, sec. 2.2): <s> noised text </s> → <s> text </s>, parts of one document.

    The decoder starts with </s>, as in the released models. `noises`, `share`, `mean_span`: see `bart_noise`.
    """

    def __init__(
        self,
        shards: TokenShards,
        ids: SpecialIds,
        *,
        length: int,
        noises: Sequence[BartNoise] = ("permutation", "infilling"),
        share: float = 0.3,
        mean_span: float = 3.0,
        start: int | None = None,
    ) -> None:
        require_tokens(shards)
        self.shards, self.special, self.pad = shards, ids, ids.pad
        self.length = self.decoder_length = length
        self.noises, self.share, self.mean_span = tuple(noises), share, mean_span
        self.bos, self.eos, self.mask = ids.need("bos"), ids.need("eos"), ids.need("mask")
        self.start = self.eos if start is None else start
        self.pieces = chunks(shards, length - 2)

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def fingerprint(self) -> str:
        noise = (self.noises, self.share, self.mean_span, self.start)
        return digest("infilling", self.shards.fingerprint, self.length, *noise)

    def make(self, index: int, rng: np.random.Generator) -> Row:
        text = self.shards.read(int(self.pieces.starts[index]), int(self.pieces.stops[index]))
        noised = bart_noise(
            text,
            rng,
            mask_id=self.mask,
            ends=self.special.sentence_ends,
            noises=self.noises,
            share=self.share,
            mean_span=self.mean_span,
        )
        # inserted masks may make a short text longer than it was
        source = np.r_[self.bos, noised[: self.length - 2], self.eos]
        target = np.r_[self.bos, text, self.eos]
        return taught(source, target, self.start, _n_bytes(self.shards, text))


class ContinuationRows(Rows):
    """Plain text for an encoder-decoder: a part of a document up to any place → what follows (the prefix language
    model of Raffel et al. 2020, sec. 3.3.1). `eos` ends every source, and a target that ends its document."""

    def __init__(
        self, shards: TokenShards, ids: SpecialIds, *, length: int, start: int | None = None
    ) -> None:
        require_tokens(shards)
        self.shards, self.pad, self.eos = shards, ids.pad, ids.need("eos")
        self.length = self.decoder_length = length
        self.start = ids.pad if start is None else start
        self.pieces = chunks(shards, length)

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def fingerprint(self) -> str:
        return digest("continuation", self.shards.fingerprint, self.length, self.start)

    def make(self, index: int, rng: np.random.Generator) -> Row:
        pieces = self.pieces
        text = self.shards.read(int(pieces.starts[index]), int(pieces.stops[index]))
        cut = int(rng.integers(1, len(text)))
        is_last = index + 1 == len(pieces) or pieces.documents[index + 1] != pieces.documents[index]
        source = np.r_[text[:cut], self.eos]
        target = np.r_[text[cut:], self.eos] if is_last else text[cut:]
        return taught(source, target, self.start, _n_bytes(self.shards, text[cut:]))


class PairRows(Rows):
    """Pairs of texts (translation, summaries): source </s> → target </s>; with `bos` both begin with <s> (BART).

    Every pair once per epoch. Raises DataError for a pair that does not fit `length` and `decoder_length`.
    """

    def __init__(
        self,
        pairs: Sequence[TextPair],
        ids: SpecialIds,
        *,
        length: int,
        decoder_length: int | None = None,
        start: int | None = None,
        bos: bool = False,
    ) -> None:
        self.pairs, self.pad, self.length, self.decoder_length = pairs, ids.pad, length, decoder_length or length
        self.start, self.eos = ids.pad if start is None else start, ids.need("eos")
        self.first = [ids.need("bos")] if bos else []
        if not pairs:
            raise DataError("no pairs", "the data holds no row that can be used", "seodang data check FILE")
        extra = len(self.first) + 1
        for pair in pairs:
            if len(pair.source) + extra > length or len(pair.target) + extra > self.decoder_length:
                raise DataError(
                    f"{pair.where} is too long",
                    f"it has {len(pair.source)} and {len(pair.target)} tokens; "
                    f"{length - extra} and {self.decoder_length - extra} fit",
                    "shorten the row, or raise --max-length",
                )

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def fingerprint(self) -> str:
        data = (f"{hash_ids(pair.source)}:{hash_ids(pair.target)}" for pair in self.pairs)
        return digest("pairs", *data, self.length, self.decoder_length, self.start, self.first, self.eos)

    def make(self, index: int, rng: np.random.Generator) -> Row:
        pair = self.pairs[index]
        source = np.r_[self.first, pair.source, self.eos].astype(np.int64)
        target = np.r_[self.first, pair.target, self.eos].astype(np.int64)
        return taught(source, target, self.start, pair.n_bytes)
