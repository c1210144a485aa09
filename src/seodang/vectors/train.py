"""Text → word vectors: one function for the three kinds."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from seodang.errors import DataError
from seodang.vectors.options import VectorsOptions
from seodang.vectors.word_vectors import WordVectors
from seodang.vectors.words import read_lines, vocabulary_of, write_words


def train_vectors(
    texts: Iterable[str], options: VectorsOptions, say: Callable[[str], None] = lambda message: None
) -> WordVectors:
    """Train word vectors on `texts`. `about` has the options, the figures and the seconds.

    The words go through a temporary file, so memory is that of the vocabulary, the vectors and a part of the counts.
    Raises UsageError for options that mean nothing and DataError for a text with fewer than two words to learn.
    """
    options.check()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="seodang-vectors-") as name:
        path = Path(name) / "words.txt"
        jamo = options.jamo and options.kind == "fasttext"
        counts = write_words(texts, path, lowercase=options.lowercase, jamo=jamo)
        vocabulary = vocabulary_of(counts, options.min_count)
        if len(vocabulary) < 2:
            raise DataError(
                f"the text has {len(vocabulary)} words to learn",
                f"of its {len(counts):,} different words the others occur fewer than {options.min_count} times",
                "give it more text, or --min-count 1",
            )
        n_words, kept = counts.total(), sum(vocabulary.values())
        say(f"{n_words:,} words, {len(vocabulary):,} different ones to learn ({kept / n_words:.1%} of the text)")
        vectors = _train_glove(path, vocabulary, options, say) if options.kind == "glove" else None
        if vectors is None:
            from seodang.vectors.skipgram import train_skipgram

            vectors = train_skipgram(path, vocabulary, options, say)
    seconds = time.monotonic() - start
    settings = dataclasses.asdict(options) | options.resolved()
    figures = {"vocabulary": len(vocabulary), "words": n_words, "seconds": round(seconds, 1)}
    passes = 1 if options.kind == "glove" else int(options.resolved()["epochs"])  # GloVe reads the text once
    figures["words_per_second"] = round(kept * passes / seconds)
    fields = {field.name for field in dataclasses.fields(VectorsOptions)}
    vectors.about = {name: settings[name] for name in settings if name in fields} | figures | vectors.about
    return vectors


def _train_glove(
    path: Path, vocabulary: dict[str, int], options: VectorsOptions, say: Callable[[str], None]
) -> WordVectors:
    from seodang.vectors.cooccurrence import count_cooccurrences
    from seodang.vectors.glove import train_glove

    settings = options.resolved()
    counts = count_cooccurrences(read_lines(path), vocabulary, int(settings["window"]), path.parent)
    say(f"{len(counts.keys):,} pairs of words occur together")
    matrix, losses = train_glove(
        counts,
        dimension=options.dimension,
        epochs=int(settings["epochs"]),
        learning_rate=settings["learning_rate"],
        seed=options.seed,
        progress=lambda epoch, loss: say(f"epoch {epoch} of {int(settings['epochs'])}: J is {loss:.5f} a cell"),
    )
    about = {"pairs": len(counts.keys), "loss_per_cell": losses[-1]}
    return WordVectors(list(vocabulary), matrix, about=about)
