"""`seodang vectors`: static word vectors, trained and questioned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from seodang.cli.frame import dispatch, print_result, say
from seodang.errors import SeodangError, UsageError
from seodang.vectors.options import VectorsOptions

if TYPE_CHECKING:
    from seodang.vectors.word_vectors import WordVectors

_FILES = {"vectors.vec", "vectors.json", "subwords.safetensors"}


@dataclass(kw_only=True, frozen=True)
class TrainConfig(VectorsOptions):
    """Train word vectors on text and write them as a folder; its vectors.vec is in word2vec's text format."""

    data: tuple[Path, ...]
    """Files, folders or globs: txt, jsonl, json, csv, tsv, parquet, also .gz or .zst."""
    out: Path
    """Folder to write; older word vectors in it are replaced."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(kw_only=True)
class NeighboursConfig:
    """The words whose vectors have the greatest cosine to a word's."""

    vectors: Path
    """A folder of `seodang vectors train`, or a file in word2vec's text format."""
    word: tuple[str, ...]
    """Words to look up; with fastText they need not have occurred."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 10
    """How many neighbours of each."""
    limit: int | None = None
    """Read only the first words of the file, the most frequent."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(kw_only=True)
class AnalogyConfig:
    """a is to b as c is to ? by 3CosAdd; or the share of a file of questions that is answered rightly."""

    vectors: Path
    """A folder of `seodang vectors train`, or a file in word2vec's text format."""
    a: str | None = None
    """man"""
    b: str | None = None
    """king"""
    c: str | None = None
    """woman"""
    questions: Path | None = None
    """A file of lines `: section` and lines of four words."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 5
    """How many answers to a, b, c."""
    limit: int | None = None
    """Read only the first words of the file, the most frequent."""
    json: bool = False
    """Print the result as JSON."""


def main(argv: list[str]) -> int:
    """Run one of the verbs; returns the exit code."""
    verbs: dict[str, tuple[str, type, Callable[[Any], int]]] = {
        "train": ("learn word vectors from text", TrainConfig, _train),
        "neighbours": ("the nearest words of a word, seen in training or not", NeighboursConfig, _neighbours),
        "analogy": ("a is to b as c is to ?, or the score over a file of questions", AnalogyConfig, _analogy),
    }
    return dispatch("vectors", "", verbs, argv)


def _train(config: TrainConfig) -> int:
    from seodang.data.readers import read_documents
    from seodang.vectors.train import train_vectors

    options = VectorsOptions(**{field.name: getattr(config, field.name) for field in fields(VectorsOptions)})
    options.check()
    _check_out(config.out)
    vectors = train_vectors((document.text for document in read_documents(config.data)), options, say)
    vectors.about["data"] = [str(path) for path in config.data]
    vectors.save(config.out)
    about = vectors.about
    loss = next((f"{name.replace('_', ' ')} {about[name]:.4f}" for name in about if name.startswith("loss")), "")
    lines = [
        f"{config.out}: {config.kind}, {about['vocabulary']:,} words, {config.dimension} numbers each",
        f"learned from {about['words']:,} words in {about['seconds']:.1f} s "
        f"({about['words_per_second']:,} words a second, every reading counted); {loss}",
    ]
    print_result({"out": str(config.out), **about}, config.json, lines)
    return 0


def _check_out(out: Path) -> None:
    """Refuse to replace a folder that holds anything but word vectors."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file", "word vectors are a folder", "name another folder")
    others = sorted(file.name for file in out.iterdir() if file.name not in _FILES) if out.is_dir() else []
    if others:
        raise SeodangError(
            f"{out} is in the way", f"it holds other things: {', '.join(others[:3])}", "name another folder with --out"
        )


def _load(path: Path, limit: int | None, n: int) -> WordVectors:
    from seodang.vectors.word_vectors import WordVectors

    for flag, value in (("-n", n), ("--limit", limit)):
        if value is not None and value < 1:
            raise UsageError(f"{flag} {value}", "it should be 1 or more", f"{flag} 10")
    return WordVectors.load(path, limit)


def _say_unseen(vectors: WordVectors, word: str) -> bool:
    """Whether `word` is not in the vocabulary; if so, say what stands for it."""
    if word in vectors:
        return False
    if vectors.vector(word).any():
        say(f"{word} is not among the {len(vectors.words):,} words; its vector is the mean of its subwords'")
    else:
        say(f"{word} is not among the {len(vectors.words):,} words; its vector is zero")
    return True


def _neighbours(config: NeighboursConfig) -> int:
    if not config.word:
        raise UsageError("seodang vectors neighbours: no words", "there is nothing to look up", "--word king queen")
    vectors = _load(config.vectors, config.limit, config.n)
    results, lines = [], []
    for word in config.word:
        unseen, found = _say_unseen(vectors, word), vectors.neighbours(word, config.n)
        results.append({"word": word, "unseen": unseen, "zero": not vectors.vector(word).any(),
                        "neighbours": _listed(found)})
        lines += [word, *(f"  {cosine:7.4f}  {other}" for other, cosine in found)]
    print_result(results, config.json, lines)
    return 0


def _listed(found: list[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"word": word, "cosine": round(cosine, 6)} for word, cosine in found]


def _analogy(config: AnalogyConfig) -> int:
    words = [word for word in (config.a, config.b, config.c) if word is not None]
    if len(words) != (0 if config.questions else 3):
        raise UsageError(
            "seodang vectors analogy: ask once",
            "it takes --a, --b and --c, or --questions",
            "seodang vectors analogy --vectors DIR --a man --b king --c woman",
        )
    vectors = _load(config.vectors, config.limit, config.n)
    if config.questions:
        return _score(config, vectors, config.questions)
    a, b, c = words
    unseen = [word for word in words if _say_unseen(vectors, word)]
    found = vectors.analogy(a, b, c, config.n)
    result = {"a": a, "b": b, "c": c, "unseen": unseen, "answers": _listed(found)}
    print_result(result, config.json, [f"{a} : {b} :: {c} : ?", *(f"  {cosine:7.4f}  {d}" for d, cosine in found)])
    return 0


def _score(config: AnalogyConfig, vectors: WordVectors, questions: Path) -> int:
    from seodang.vectors.analogies import SectionScore, read_questions, score

    scores = score(vectors, read_questions(questions))
    totals = [sum(getattr(one, name) for one in scores) for name in ("questions", "asked", "correct")]
    scores.append(SectionScore("total", *totals))
    result = [{"section": one.section, "questions": one.questions, "asked": one.asked, "correct": one.correct,
               "accuracy": one.accuracy} for one in scores]
    print_result(result, config.json, _table(scores))
    return 0


def _table(scores: list[Any]) -> Iterator[str]:
    width = max(len("section"), *(len(one.section) for one in scores))
    yield f"{'section':<{width}}  questions  asked  correct  accuracy"
    for one in scores:
        share = "      —" if one.accuracy is None else f"{one.accuracy:8.1%}"
        yield f"{one.section:<{width}}  {one.questions:>9,}  {one.asked:>5,}  {one.correct:>7,}  {share:>8}"
