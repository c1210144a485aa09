"""A text's ids → what a denoising model reads and what it must predict. Pure functions; `rng` is the only chance.

Shapes: T tokens of one text, V entries of the vocabulary. Ids are int64 arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seodang.data.batch import IGNORE

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BartNoise = Literal["masking", "deletion", "infilling", "permutation", "rotation"]


# ---- BERT, RoBERTa, ALBERT, ELECTRA


def mask_tokens(
    ids: Ints,
    candidates: Bools,
    rng: np.random.Generator,
    *,
    mask_id: int,
    replacements: Ints,
    share: float = 0.15,
    as_mask: float = 0.8,
    as_random: float = 0.1,
    longest_ngram: int = 1,
) -> tuple[Ints, Ints]:
    """(noised ids, targets), both (T,): masked language modelling's input (Devlin et al. 2019, sec. 3.1, task 1).

    Of the `candidates` (T,), round(share · their number), at least one, are chosen. A chosen token becomes `mask_id`
    with probability `as_mask`, one of `replacements` (ids that are no special tokens) with `as_random`, and else
    stays; in each case it is a target. The other targets are -100. longest_ngram: see `choose_ngrams`.
    """
    noised, targets = ids.copy(), np.full(len(ids), IGNORE, dtype=np.int64)
    n_candidates = int(candidates.sum())
    if n_candidates == 0:
        return noised, targets
    count = max(1, round(share * n_candidates))
    if longest_ngram > 1:
        chosen = np.flatnonzero(choose_ngrams(candidates, count, rng, longest_ngram))
    else:
        chosen = rng.permutation(np.flatnonzero(candidates))[:count]
    targets[chosen] = ids[chosen]
    lot = rng.random(count)
    noised[chosen[lot < as_mask]] = mask_id
    random = chosen[(lot >= as_mask) & (lot < as_mask + as_random)]
    noised[random] = replacements[rng.integers(len(replacements), size=len(random))]
    return noised, targets


def choose_ngrams(candidates: Bools, count: int, rng: np.random.Generator, longest: int = 3) -> Bools:
    """Exactly `count` of the candidates (T,), in runs of n ≤ `longest` with p(n) = (1/n) / Σ 1/k (ALBERT, Lan et al.
    2020, sec. 4.1, eq. for n-gram masking). The last run is cut to what is left; single tokens fill up a text in
    which no run fits any more."""
    weights = 1 / np.arange(1, longest + 1)
    starts = rng.permutation(np.flatnonzero(candidates))
    lengths = rng.choice(np.arange(1, longest + 1), size=len(starts), p=weights / weights.sum())
    free, left = candidates.copy(), count
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        if left == 0:
            break
        span = free[start : start + min(length, left)]
        if len(span) == min(length, left) and span.all():
            span[:] = False
            left -= len(span)
    free[rng.permutation(np.flatnonzero(free))[:left]] = False
    return candidates & ~free


# ---- T5


def span_counts(length: int, density: float = 0.15, mean_span: float = 3.0) -> tuple[int, int]:
    """(noise tokens, noise spans) of a text of `length` ≥ 2 tokens: neither part is ever empty."""
    noise = min(max(round(length * density), 1), length - 1)
    return noise, min(max(round(noise / mean_span), 1), noise, length - noise)


def noise_spans(length: int, rng: np.random.Generator, density: float = 0.15, mean_span: float = 3.0) -> Bools:
    """Which of `length` tokens are noise, (length,): the released code's `random_spans_noise_mask` (Raffel et al. 2020,
    sec. 3.1.4). The numbers of tokens and spans are fixed, how they are cut up is uniform among all ways; kept and
    noisy spans take turns, so the text begins with a kept token and ends with a noisy one."""
    if length < 2:
        return np.zeros(length, dtype=bool)
    noise, spans = span_counts(length, density, mean_span)
    lengths = np.stack([_cut(length - noise, spans, rng), _cut(noise, spans, rng)], axis=1)
    return np.repeat(np.tile([False, True], spans), lengths.ravel())


def _cut(length: int, parts: int, rng: np.random.Generator) -> Ints:
    """`length` as a sum of `parts` positive numbers, each way equally likely."""
    cuts = np.sort(rng.permutation(length - 1)[: parts - 1]) + 1
    return np.diff(np.r_[0, cuts, length])


def corrupt_spans(ids: Ints, noise: Bools, sentinels: Sequence[int], end_id: int | None = None) -> tuple[Ints, Ints]:
    """(inputs, targets) of span corruption (Raffel et al. 2020, sec. 3.1.4 and fig. 2), `end_id` put after both.

    Noise span i becomes sentinel i in the inputs. The targets hold every sentinel followed by what it stands for,
    and one more sentinel when kept text follows the last span (fig. 2; never after `noise_spans`, which ends with
    noise, as in the released code). Raises ValueError when there are fewer sentinels than that takes.
    """
    first = noise & ~np.r_[False, noise[:-1]]
    spans = int(first.sum())
    closing = len(ids) > 0 and not noise[-1]
    if spans + closing > len(sentinels):
        raise ValueError(f"{spans + closing} sentinels are needed; there are {len(sentinels)}")
    marks, end = np.asarray(sentinels[: spans + closing], dtype=np.int64), [] if end_id is None else [end_id]
    inputs = ids.copy()
    inputs[first] = marks[:spans]
    targets = np.insert(ids[noise], np.flatnonzero(first[noise]), marks[:spans])
    return np.r_[inputs[~noise | first], end].astype(np.int64), np.r_[targets, marks[spans:], end].astype(np.int64)


def span_corruption_lengths(inputs_length: int, density: float = 0.15, mean_span: float = 3.0) -> tuple[int, int]:
    """(raw tokens, targets' length) that give inputs of `inputs_length` tokens or one less, sentinels and the end token
    counted: the released code's `random_spans_helper`. 512 gives (568, 114)."""

    def lengths(raw: int) -> tuple[int, int]:
        noise, spans = span_counts(raw, density, mean_span)
        return raw - noise + spans + 1, noise + spans + 1

    raw = max(2, inputs_length - 1)
    while lengths(raw + 1)[0] <= inputs_length:
        raw += 1
    return raw, lengths(raw)[1]


# ---- BART (Lewis et al. 2020, sec. 2.2)


def delete_tokens(ids: Ints, rng: np.random.Generator, share: float = 0.3) -> Ints:
    """Without round(share · T) tokens: where something is missing is for the model to find out."""
    return np.delete(ids, rng.permutation(len(ids))[: round(share * len(ids))])


def infill(
    ids: Ints, rng: np.random.Generator, *, mask_id: int, share: float = 0.3, mean_span: float = 3.0
) -> Ints:
    """Text infilling: spans of Poisson(mean_span) length, each replaced with one mask, round(share · T) tokens in all.

    A span of length 0 inserts a mask. The last span is cut to the number that is left. The spans are placed among the
    kept tokens in any order with equal probability.
    """
    if mean_span <= 0:
        raise ValueError(f"mean_span is {mean_span}; it is positive")
    count = round(share * len(ids))
    if count == 0:
        return ids.copy()
    lengths = np.empty(0, dtype=np.int64)
    while lengths.sum() < count:
        lengths = np.r_[lengths, rng.poisson(mean_span, size=8 + int(count / mean_span))]
    total = np.cumsum(lengths)
    last = int(np.searchsorted(total, count))
    lengths = lengths[: last + 1]
    lengths[last] -= total[last] - count
    items = len(ids) - count + len(lengths)
    spans = rng.permutation(items)[: len(lengths)]  # in any order, the cut one too
    sizes = np.ones(items, dtype=np.int64)
    sizes[spans] = lengths
    start = np.cumsum(sizes) - sizes
    noised = ids[np.minimum(start, len(ids) - 1)]
    noised[spans] = mask_id
    return noised


def sentence_ends(tokenizer: Any) -> Bools:
    """(V,), True for tokens that end a sentence: with . ! ? … 。 or a newline, spaces after it aside."""
    marks = tuple(mark.encode("utf-8") for mark in (".", "!", "?", "…", "。", "\n"))
    special = tokenizer.special_ids
    texts = (b"" if i in special else tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size))
    return np.array([text.rstrip(b" ").endswith(marks) for text in texts], dtype=bool)


def sentence_starts(ids: Ints, ends: Bools) -> Ints:
    """Where the sentences of a text begin: at 0 and behind each run of tokens that `ends` (V,) calls an end."""
    over = ends[ids]
    return np.r_[0, 1 + np.flatnonzero(over[:-1] & ~over[1:])].astype(np.int64)[: len(ids)]


def permute_sentences(ids: Ints, ends: Bools, rng: np.random.Generator) -> Ints:
    """The sentences in any order; what stands behind the last sentence's end is one too."""
    sentences = np.split(ids, sentence_starts(ids, ends)[1:])
    return np.concatenate([sentences[i] for i in rng.permutation(len(sentences))])


def rotate(ids: Ints, rng: np.random.Generator) -> Ints:
    """Begins with any of its tokens, with equal probability; what stood before follows at the end."""
    return np.roll(ids, -int(rng.integers(max(1, len(ids)))))


def bart_noise(
    ids: Ints,
    rng: np.random.Generator,
    *,
    mask_id: int,
    ends: Bools,
    noises: Sequence[BartNoise] = ("permutation", "infilling"),
    share: float = 0.3,
    mean_span: float = 3.0,
) -> Ints:
    """`noises` one after another; by default those of BART's large model (sec. 5.1).

    share: of the tokens that are masked, deleted or infilled; `ends` (V,) is what `sentence_ends` gives.
    """
    for noise in noises:
        if noise == "masking":
            everywhere, none = np.ones(len(ids), dtype=bool), np.empty(0, dtype=np.int64)
            ids, _ = mask_tokens(
                ids, everywhere, rng, mask_id=mask_id, replacements=none, share=share, as_mask=1, as_random=0
            )
        elif noise == "deletion":
            ids = delete_tokens(ids, rng, share)
        elif noise == "infilling":
            ids = infill(ids, rng, mask_id=mask_id, share=share, mean_span=mean_span)
        elif noise == "permutation":
            ids = permute_sentences(ids, ends, rng)
        elif noise == "rotation":
            ids = rotate(ids, rng)
        else:
            raise ValueError(f"no noise is called {noise}")
    return ids
