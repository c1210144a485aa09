"""Noise against values worked out by hand, and its statistics on 100,000 tokens."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seodang.data.noising import (
    BartNoise,
    Ints,
    bart_noise,
    choose_ngrams,
    corrupt_spans,
    delete_tokens,
    infill,
    mask_tokens,
    noise_spans,
    permute_sentences,
    rotate,
    sentence_ends,
    sentence_starts,
    span_corruption_lengths,
    span_counts,
)
from tests.data.conftest import ByteTokenizer

MASK, N = 3, 100_000
ORDINARY = np.arange(10, 1000)


def generator(*seed: int) -> np.random.Generator:
    return np.random.default_rng(list(seed))


class Scripted:
    """A source of chance that gives what it was told to."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = answers

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: np.asarray(self.answers[name].pop(0))


def test_masking_by_hand() -> None:
    ids = np.array([1, 50, 51, 52, 53, 54, 55, 56, 57, 2])
    rng: Any = Scripted(permutation=[[5, 2, 8, 1, 3, 4, 6, 7]], random=[[0.79, 0.85, 0.95]], integers=[[7]])
    noised, targets = mask_tokens(ids, ids >= 10, rng, mask_id=MASK, replacements=ORDINARY, share=0.4)
    # 8 candidates, round(3.2) = 3 chosen: place 5 is masked, place 2 becomes the eighth ordinary id, place 8 stays
    assert noised.tolist() == [1, 50, 17, 52, 53, MASK, 55, 56, 57, 2]
    assert targets.tolist() == [-100, -100, 51, -100, -100, 54, -100, -100, 57, -100]


@pytest.mark.parametrize("longest", [1, 3])
def test_masking_statistics(longest: int) -> None:
    rng = generator(0)
    ids = rng.integers(10, 1000, size=N)
    ids[rng.random(N) < 0.1] = 2  # special tokens
    noised, targets = mask_tokens(
        ids, ids >= 10, rng, mask_id=MASK, replacements=ORDINARY, longest_ngram=longest
    )
    chosen = targets != -100
    n = int(chosen.sum())
    assert n == round(0.15 * int((ids >= 10).sum()))
    assert (ids[chosen] >= 10).all() and (targets[chosen] == ids[chosen]).all()
    assert (noised[~chosen] == ids[~chosen]).all()
    masked, kept = noised[chosen] == MASK, noised[chosen] == ids[chosen]
    random = ~masked & ~kept
    bound = 4 * math.sqrt(0.8 * 0.2 / n)  # four standard deviations of a share
    assert abs(masked.mean() - 0.8) < bound and abs(random.mean() - 0.1) < bound and abs(kept.mean() - 0.1) < bound
    replaced = noised[chosen][random]
    assert replaced.min() >= 10 and len(set(replaced.tolist())) > 600  # of 990, any of them
    places = np.flatnonzero(chosen)
    assert abs(places.mean() / N - 0.5) < 0.02  # all over the text


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(0, 5), st.sampled_from([1, 2, 3]))
def test_exactly_the_rounded_share_is_chosen(n: int, seed: int, longest: int) -> None:
    ids = np.r_[1, np.arange(10, 10 + n), 2]
    noised, targets = mask_tokens(
        ids, ids >= 10, generator(seed), mask_id=MASK, replacements=ORDINARY, longest_ngram=longest, as_mask=1
    )
    assert (targets != -100).sum() == (noised == MASK).sum() == max(1, round(0.15 * n))


def test_nothing_to_mask() -> None:
    noised, targets = mask_tokens(
        np.array([1, 2]), np.zeros(2, dtype=bool), generator(0), mask_id=MASK, replacements=ORDINARY
    )
    assert noised.tolist() == [1, 2] and targets.tolist() == [-100, -100]


def test_ngrams_are_inversely_likely_to_their_length() -> None:
    """Few among many tokens, so that runs hardly ever touch: p(1), p(2), p(3) = 6/11, 3/11, 2/11."""
    lengths: Counter[int] = Counter()
    candidates = np.ones(N, dtype=bool)
    for seed in range(20):
        chosen = choose_ngrams(candidates, 500, generator(seed), 3)
        assert chosen.sum() == 500
        edges = np.flatnonzero(np.diff(np.r_[False, chosen, False].astype(int)))
        lengths.update((edges[1::2] - edges[::2]).tolist())
    total = sum(lengths.values())
    for n, share in {1: 6 / 11, 2: 3 / 11, 3: 2 / 11}.items():
        assert abs(lengths[n] / total - share) < 4 * math.sqrt(share * (1 - share) / total) + 0.005


def test_ngrams_keep_out_of_what_is_no_candidate() -> None:
    candidates = np.array([False, True, False, True, True, False, True, False])
    for seed in range(30):
        chosen = choose_ngrams(candidates, 4, generator(seed), 3)
        assert chosen.tolist() == candidates.tolist()  # all of them, though no run of three fits


def test_the_papers_span_corruption() -> None:
    """Figure 2: Thank you [for inviting] me to your party [last] week."""
    ids, noise = np.arange(1, 11), np.isin(np.arange(1, 11), [3, 4, 9])
    inputs, targets = corrupt_spans(ids, noise, [99, 98, 97, 96])
    assert inputs.tolist() == [1, 2, 99, 5, 6, 7, 8, 98, 10]
    assert targets.tolist() == [99, 3, 4, 98, 9, 97]
    inputs, targets = corrupt_spans(ids[:9], noise[:9], [99, 98], end_id=0)  # ends with noise: no closing sentinel
    assert inputs.tolist() == [1, 2, 99, 5, 6, 7, 8, 98, 0] and targets.tolist() == [99, 3, 4, 98, 9, 0]
    with pytest.raises(ValueError, match="3 sentinels are needed; there are 2"):
        corrupt_spans(ids, noise, [99, 98])


def test_noise_spans_by_hand() -> None:
    # 12 tokens: round(1.8) = 2 noisy, one span; the scripted cuts of 20 tokens, 10 noisy in 3 spans: 3 4 3 | 2 7 1
    assert span_counts(12) == (2, 1) and noise_spans(12, generator(0)).tolist() == [False] * 10 + [True] * 2
    rng: Any = Scripted(permutation=[[6, 2, 0, 1, 3, 4, 5, 7, 8], [8, 1, 0, 2, 3, 4, 5, 6, 7]])
    kept, noisy = [3, 4, 3], [2, 7, 1]
    expected = [flag for k, n in zip(kept, noisy, strict=True) for flag in [False] * k + [True] * n]
    assert noise_spans(20, rng, 0.5, 3.3).tolist() == expected
    assert noise_spans(1, generator(0)).tolist() == [False] and noise_spans(2, generator(0)).tolist() == [False, True]


def test_span_statistics() -> None:
    noise = noise_spans(N, generator(0))
    edges = np.flatnonzero(np.diff(np.r_[False, noise, False].astype(int)))
    lengths, gaps = edges[1::2] - edges[::2], edges[::2] - np.r_[0, edges[1:-1:2]]
    assert noise.sum() == 15_000 and len(lengths) == 5_000 and lengths.mean() == 3
    assert not noise[0] and noise[-1]
    # a uniform way to cut 15,000 into 5,000 parts is all but geometric: P(1) = 1/3, P(2) = 2/9
    assert abs((lengths == 1).mean() - 1 / 3) < 0.03 and abs((lengths == 2).mean() - 2 / 9) < 0.03
    assert abs(gaps.mean() - 17) < 1e-9 and gaps.min() >= 1


def rebuilt(inputs: Ints, targets: Ints, sentinels: list[int]) -> list[int]:
    """The text again: what stands behind a sentinel in the targets, put in its place in the inputs."""
    spans: dict[int, list[int]] = {}
    current: list[int] = []
    for token in targets.tolist():
        if token in sentinels:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    return [t for token in inputs.tolist() for t in (spans[token] if token in spans else [token])]


def test_inputs_and_targets_hold_the_whole_text() -> None:
    sentinels = list(range(10**6, 10**6 + 6000))
    ids = generator(1).integers(10, 1000, size=N)
    inputs, targets = corrupt_spans(ids, noise_spans(N, generator(0)), sentinels)
    assert len(inputs) == 85_000 + 5_000 and len(targets) == 15_000 + 5_000
    assert rebuilt(inputs, targets, sentinels) == ids.tolist()
    assert [t for t in inputs.tolist() if t >= 10**6] == sentinels[:5000]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_any_noise_can_be_undone(flags: list[bool]) -> None:
    ids, sentinels = np.arange(len(flags)) + 10, list(range(500, 520))
    inputs, targets = corrupt_spans(ids, np.array(flags), sentinels)
    assert rebuilt(inputs, targets, sentinels) == ids.tolist()
    assert (targets[-1] in sentinels) == (not flags[-1])


def test_raw_lengths_are_the_released_codes() -> None:
    """512 → 568 raw, 114 targets are T5's; 0.25 and 5: round(.25·166) = 42 noisy in round(42/5) = 8 spans."""
    assert span_corruption_lengths(512) == (568, 114)
    raw, targets = span_corruption_lengths(134, 0.25, 5)
    assert (raw, targets) == (167, 42 + 8 + 1) and raw - 42 + 8 + 1 == 134
    for length in range(8, 300):
        raw, targets = span_corruption_lengths(length)
        inputs, made = corrupt_spans(np.arange(raw), noise_spans(raw, generator(length)), range(900, 999), end_id=0)
        assert length - 1 <= len(inputs) <= length and len(made) == targets


ENDS = np.zeros(1000, dtype=bool)
ENDS[[20, 21]] = True
TEXT = np.array([30, 31, 20, 32, 33, 21, 20, 34, 35])  # a b . | c d ! . | e f


def test_sentences_by_hand() -> None:
    assert sentence_starts(TEXT, ENDS).tolist() == [0, 3, 7]
    assert sentence_starts(TEXT[:7], ENDS).tolist() == [0, 3]
    assert sentence_starts(TEXT[:0], ENDS).tolist() == []
    rng: Any = Scripted(permutation=[[2, 0, 1]])
    assert permute_sentences(TEXT, ENDS, rng).tolist() == [34, 35, 30, 31, 20, 32, 33, 21, 20]
    rng = Scripted(integers=[4])
    assert rotate(TEXT, rng).tolist() == [33, 21, 20, 34, 35, 30, 31, 20, 32]
    assert len(rotate(TEXT[:0], generator(0))) == len(permute_sentences(TEXT[:0], ENDS, generator(0))) == 0


def test_infilling_by_hand() -> None:
    """10 tokens, 4 of them in spans of 0, 3 and 2, cut to 1: 9 items, of which the 2nd, 5th and 6th are spans."""
    ids = np.arange(50, 60)
    rng: Any = Scripted(poisson=[[0, 3, 2, 8]], permutation=[[1, 4, 5, 0, 2, 3, 6, 7, 8]])
    found = infill(ids, rng, mask_id=MASK, share=0.4)
    # 50 _ 51 52 _(53 54 55) _(56) 57 58 59
    assert found.tolist() == [50, MASK, 51, 52, MASK, MASK, 57, 58, 59]
    assert infill(ids[:1], generator(0), mask_id=MASK).tolist() == [50]
    with pytest.raises(ValueError, match="mean_span"):
        infill(ids, generator(0), mask_id=MASK, mean_span=0)


def test_infilling_statistics() -> None:
    found = infill(np.arange(N), generator(0), mask_id=-1)
    kept = found[found >= 0]
    assert len(kept) == 70_000 and (np.diff(kept) > 0).all()
    masks = int((found == -1).sum())
    assert abs(30_000 / masks - 3) < 4 * math.sqrt(3 / masks)  # the mean of Poisson(3), four standard errors
    alone = (found[1:-1] == -1) & (found[:-2] != -1) & (found[2:] != -1)
    removed = (found[2:] - found[:-2] - 1)[alone]  # tokens that stood where a single mask is now
    for length in range(7):
        share = math.exp(-3) * 3**length / math.factorial(length)
        assert abs((removed == length).mean() - share) < 4 * math.sqrt(share * (1 - share) / len(removed)), length


def test_deletion_and_bart_masking_take_their_share() -> None:
    left = delete_tokens(np.arange(N), generator(0), 0.15)
    assert len(left) == 85_000 and (np.diff(left) > 0).all()
    noised = bart_noise(np.arange(10, 10 + N), generator(0), mask_id=MASK, ends=ENDS, noises=["masking"])
    assert (noised == MASK).sum() == 30_000 and len(noised) == N


def sentences(ids: Ints) -> Counter[tuple[int, ...]]:
    return Counter(tuple(part.tolist()) for part in np.split(ids, sentence_starts(ids, ENDS)[1:]))


def test_permutation_keeps_the_sentences_and_rotation_the_circle() -> None:
    ids = generator(0).integers(10, 60, size=N)
    ids[-1] = 20  # else the last, open sentence may be joined to another
    mixed = permute_sentences(ids, ENDS, generator(1))
    assert sentences(mixed) == sentences(ids) and (mixed != ids).mean() > 0.9
    turned = rotate(np.arange(N), generator(2))
    assert turned[0] != 0 and turned.tolist() == [*range(turned[0], N), *range(turned[0])]
    assert {int(rotate(np.arange(4), generator(seed))[0]) for seed in range(40)} == {0, 1, 2, 3}


def test_barts_own_mixture() -> None:
    ids = generator(0).integers(10, 60, size=3000)
    found = bart_noise(ids, generator(5), mask_id=MASK, ends=ENDS)
    rng = generator(5)
    assert found.tolist() == infill(permute_sentences(ids, ENDS, rng), rng, mask_id=MASK).tolist()
    every: list[BartNoise] = ["masking", "deletion", "infilling", "permutation", "rotation"]
    assert len(bart_noise(ids, generator(5), mask_id=MASK, ends=ENDS, noises=every)) < 2100
    with pytest.raises(ValueError, match="no noise is called shaking"):
        bart_noise(ids, generator(5), mask_id=MASK, ends=ENDS, noises=["shaking"])  # type: ignore[list-item]


def test_sentence_ends_of_a_vocabulary(tokenizer: ByteTokenizer) -> None:
    ends = sentence_ends(tokenizer)
    assert len(ends) == tokenizer.vocab_size
    assert {tokenizer.token_bytes(i) for i in np.flatnonzero(ends)} == {b".", b"!", b"?", b"\n", b"\n\n"}


class Words(ByteTokenizer):
    """A vocabulary with a space before or after its words, and marks of more than one byte."""

    def __init__(self) -> None:
        self.special_ids, self.vocab_size = {0}, 7

    def token_bytes(self, id: int) -> bytes:
        return ["</s>.", "end. ", " 다.", "。", " wait…", "no", " "][id].encode()


def test_spaces_behind_an_end_do_not_matter() -> None:
    assert sentence_ends(Words()).tolist() == [False, True, True, True, True, False, False]
