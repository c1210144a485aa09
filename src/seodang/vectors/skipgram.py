"""Skip-gram with negative sampling (Mikolov et al. 2013b) and fastText's subwords: trained by gensim, measured here.

Shapes: V words, D numbers in a vector, P pairs of a word and one of its context, k noise words for each.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seodang.errors import SeodangError
from seodang.vectors.options import VectorsOptions
from seodang.vectors.subwords import Subwords
from seodang.vectors.word_vectors import WordVectors
from seodang.vectors.words import read_lines

_PAIRS = 20_000


def skipgram_loss(centre: np.ndarray, context: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """−log σ(u_o·v_c) − Σ_k log σ(−u_k·v_c), natural (Mikolov et al. 2013b, eq. 4, negated): (P,) from the input
    vectors v (P, D), the output vectors u of the context (P, D) and of the noise (P, k, D)."""
    positive = np.einsum("pd,pd->p", centre, context)
    negative = np.einsum("pd,pkd->pk", centre, noise)
    return np.logaddexp(0, -positive) + np.logaddexp(0, negative).sum(-1)


def noise_distribution(counts: np.ndarray) -> np.ndarray:
    """What noise words are drawn from (V,): counts to the power 3/4, normalised (Mikolov et al. 2013b, sec. 2.2)."""
    powers = np.asarray(counts, dtype=np.float64) ** 0.75
    return powers / powers.sum()


def keep_probability(counts: np.ndarray, sample: float) -> np.ndarray:
    """The probability (V,) that an occurrence of a word is kept: √(t/f) + t/f, at most 1, f the word's share of the
    text and t = `sample`; all 1 where that is 0.

    This is word2vec's program. The paper (Mikolov et al. 2013b, eq. 5) has √(t/f) alone.
    """
    share = np.asarray(counts, dtype=np.float64) / np.sum(counts)
    return np.minimum(np.sqrt(sample / share) + sample / share, 1) if sample else np.ones_like(share)


def train_skipgram(
    path: Path, vocabulary: Mapping[str, int], options: VectorsOptions, say: Callable[[str], None]
) -> WordVectors:
    """Vectors from a file of words in lines (`write_words`), for the words of `vocabulary` (word → count).

    `about["loss_per_pair"]` is `skipgram_loss` over a sample of the text's own pairs. Raises SeodangError when gensim
    is not installed.
    """
    try:
        from gensim.models import FastText, Word2Vec
        from gensim.models.callbacks import CallbackAny2Vec
    except ImportError:
        raise SeodangError("gensim is not installed", "skip-gram and fastText are trained by it",
                           "pip install gensim, or use --kind glove") from None
    settings = options.resolved()

    class Progress(CallbackAny2Vec):
        def __init__(self) -> None:
            self.epoch = 0

        def on_epoch_end(self, model: Any) -> None:
            self.epoch += 1
            say(f"epoch {self.epoch} of {model.epochs}")

    common: dict[str, Any] = {
        "sg": 1, "hs": 0, "negative": options.negative, "ns_exponent": 0.75, "vector_size": options.dimension,
        "window": int(settings["window"]), "epochs": int(settings["epochs"]), "sample": settings["sample"],
        "alpha": settings["learning_rate"], "min_alpha": 1e-4, "min_count": 1, "sorted_vocab": 0,
        "workers": options.workers, "seed": options.seed,
    }
    fasttext = options.kind == "fasttext"
    if fasttext:
        model = FastText(**common, min_n=options.min_n, max_n=options.max_n, bucket=options.buckets)
    else:
        model = Word2Vec(**common)
    model.build_vocab_from_freq(dict(vocabulary))
    model.train(corpus_file=str(path), total_words=sum(vocabulary.values()), epochs=model.epochs,
                callbacks=[Progress()])
    words = [unicodedata.normalize("NFC", word) for word in model.wv.index_to_key]
    about = {"loss_per_pair": _measure(path, vocabulary, model.wv.vectors, model.syn1neg, options)}
    subwords = _subwords(model, options) if fasttext else None
    return WordVectors(words, model.wv.vectors, subwords=subwords, about=about)


def _subwords(model: Any, options: VectorsOptions) -> Subwords:
    """Only the rows that training touched: the others still hold the random numbers they began with."""
    ids = np.unique(np.concatenate([np.asarray(row, dtype=np.int64) for row in model.wv.buckets_word]))
    vectors = np.ascontiguousarray(model.wv.vectors_ngrams[ids])
    return Subwords(options.min_n, options.max_n, options.buckets, options.jamo, ids, vectors)


def _measure(
    path: Path, vocabulary: Mapping[str, int], inputs: np.ndarray, outputs: np.ndarray, options: VectorsOptions
) -> float:
    """Mean `skipgram_loss` of pairs from the first lines; untrained vectors have (1 + negative)·log 2."""
    rng = np.random.default_rng([options.seed, 1])
    index = {word: row for row, word in enumerate(vocabulary)}
    counts = np.array(list(vocabulary.values()))
    keep = keep_probability(counts, options.resolved()["sample"])
    centres, contexts = [], []
    for line in itertools.islice(read_lines(path), 1000):
        ids = np.array([index[word] for word in line if word in index], dtype=np.int64)
        ids = ids[rng.random(len(ids)) < keep[ids]]
        distance = rng.integers(1, int(options.resolved()["window"]) + 1, len(ids))
        places = np.arange(len(ids)) + distance
        inside = places < len(ids)
        centres.append(ids[inside])
        contexts.append(ids[places[inside]])
        if sum(map(len, centres)) >= _PAIRS:
            break
    centre, context = np.concatenate(centres), np.concatenate(contexts)
    noise = rng.choice(len(counts), size=(len(centre), options.negative), p=noise_distribution(counts))
    parts = [slice(start, start + 1000) for start in range(0, len(centre), 1000)]
    losses = [skipgram_loss(inputs[centre[part]], outputs[context[part]], outputs[noise[part]]) for part in parts]
    return float(np.concatenate(losses).mean()) if losses else 0.0
