"""Two spans of text and what the second is to the first: next sentence (BERT) and sentence order (ALBERT)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seodang.data.noising import Bools, Ints, sentence_starts

Pair = tuple[Ints, Ints, int]
"""The first span, the second, and their label."""


def split_text(ids: Ints, ends: Bools, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """A text (T ≥ 2) cut in two at the beginning of a sentence, or anywhere when it has one sentence only."""
    cuts = sentence_starts(ids, ends)[1:]
    cut = int(rng.choice(cuts)) if len(cuts) else int(rng.integers(1, len(ids)))
    return ids[:cut], ids[cut:]


def next_sentence(ids: Ints, ends: Bools, elsewhere: Callable[[int], Ints], rng: np.random.Generator) -> Pair:
    """(A, B, label) of a text (T ≥ 2), for next-sentence prediction (Devlin et al. 2019, sec. 3.1, task 2).

    Half of the time B is what follows A (0), else a text from `elsewhere(length)`, as long as what follows (1): the
    labels of transformers' BertForPreTraining. In the paper's code the random B of a short document is longer than
    what follows would be, which gives the answer away.
    """
    first, second = split_text(ids, ends, rng)
    if rng.random() < 0.5:
        return first, second, 0
    return first, elsewhere(len(second)), 1


def sentence_order(ids: Ints, ends: Bools, rng: np.random.Generator) -> Pair:
    """(A, B, label) of a text (T ≥ 2): its two halves, in order (0) or swapped half of the time (1), as in Lan et al.
    2020 (ALBERT), sec. 3.1, with the labels of transformers' AlbertForPreTraining."""
    first, second = split_text(ids, ends, rng)
    return (first, second, 0) if rng.random() < 0.5 else (second, first, 1)


def truncate_pair(first: Ints, second: Ints, length: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Both together at most `length` tokens: one after another leaves the longer span (the second if equal), from its
    front or back with equal probability (`truncate_seq_pair` of Devlin et al. 2019's released code)."""
    bounds = [[0, len(first)], [0, len(second)]]
    for at_front in (rng.random(max(0, len(first) + len(second) - length)) < 0.5).tolist():
        sizes = [stop - start for start, stop in bounds]
        longer = bounds[0 if sizes[0] > sizes[1] else 1]
        longer[0 if at_front else 1] += 1 if at_front else -1
    (a, b), (c, d) = bounds
    return first[a:b], second[c:d]


def join_pair(first: Ints, second: Ints, cls_id: int, sep_id: int) -> tuple[Ints, NDArray[np.int64]]:
    """(ids, segments) of [CLS] A [SEP] B [SEP]: segment 0 to the first [SEP], 1 behind it."""
    ids = np.r_[cls_id, first, sep_id, second, sep_id].astype(np.int64)
    return ids, np.repeat([0, 1], [len(first) + 2, len(second) + 1]).astype(np.int64)
