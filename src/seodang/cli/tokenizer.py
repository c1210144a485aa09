"""`seodang tokenizer`: learn a vocabulary, watch merges being learned, compare vocabularies."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import tyro

from seodang.cli.frame import dispatch, print_result, say
from seodang.errors import SeodangError, UsageError
from seodang.text.styles import STYLES, Kind, StyleName, style_of_family

if TYPE_CHECKING:
    from seodang.text.reference_bpe import Merge

_TOKENIZER_FILES = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocab.json", "merges.txt"}
_HELD_OUT = 10  # every tenth line


@dataclass(kw_only=True)
class TrainConfig:
    """Learn a vocabulary and write it as a folder that transformers reads too."""

    data: tuple[Path, ...]
    """Files, folders or globs: txt, jsonl, json, csv, tsv, parquet, also .gz or .zst."""
    out: Path
    """Folder to write; an older tokenizer in it is replaced."""
    family: Annotated[str | None, tyro.conf.arg(name="for", metavar="FAMILY")] = None
    """The vocabulary that a family of models uses: bert, t5, llama, transformer … names --kind and --style at once."""
    kind: Kind | None = None
    """bpe: bytes, as GPT-2; bpe-word-end: characters with </w>, as GPT-1; wordpiece: as BERT; unigram: as T5, with
    bytes for what it lacks; word; char. Without it the style's own."""
    style: StyleName | None = None
    """Special tokens and what stands around texts: gpt (the default), bert (also ELECTRA), roberta (also BART), albert,
    t5, marian (the original Transformer)."""
    vocab_size: int = 8000
    """Entries at most, special tokens included."""
    min_count: int = 2
    """Pairs (words, for the kind word; pieces, for unigram) that occur less often are not learned."""
    nfc: bool = True
    """Compose characters first, so that a Hangul syllable written as jamo is the syllable."""
    lowercase: bool = False
    """Turn capitals into small letters, as GPT-1 does."""
    max_ram: str = "1.5GB"
    """Memory to keep within; the rarest words are left out of the counts when there are too many."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(kw_only=True)
class TraceConfig:
    """Show byte-pair encoding at work. Name the words by --counts, --text or --data."""

    counts: str | None = None
    """Words with their counts, such as low:5,lower:2,newest:6,widest:3"""
    text: str | None = None
    """A text whose words are counted."""
    data: tuple[Path, ...] = ()
    """Files whose words are counted."""
    merges: int = 10
    """Merges to learn."""
    word: tuple[str, ...] = ()
    """Words to split with what was learned; they need not occur in the text."""
    word_end: bool = False
    """Mark the last character of each word with </w>, as GPT-1 does."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(kw_only=True)
class StatsConfig:
    """Compare vocabularies on the same text: those to be learned see 9 lines of 10, all are measured on the tenth.

    With --tokenizer and no --kinds only the named ones are measured, on all of the text.
    """

    data: tuple[Path, ...]
    """Files, folders or globs."""
    tokenizer: tuple[Path, ...] = ()
    """Tokenizer folders or files to measure."""
    kinds: tuple[Kind, ...] = ()
    """Kinds to learn and measure; all six when no --tokenizer is named."""
    vocab_size: int = 8000
    """Entries of each vocabulary that is learned."""
    json: bool = False
    """Print the result as JSON."""


def main(argv: list[str]) -> int:
    """Run one of the tokenizer verbs; returns the exit code."""
    verbs: dict[str, tuple[str, type, Callable[[Any], int]]] = {
        "train": ("learn a vocabulary from text", TrainConfig, _train),
        "trace": (
            "show each merge of byte-pair encoding with its count, and how words are then split",
            TraceConfig,
            _trace,
        ),
        "stats": (
            "compare vocabularies: unknown rate, bytes per token, tokens per word, per script",
            StatsConfig,
            _stats,
        ),
    }
    return dispatch("tokenizer", "", verbs, argv)


def _train(config: TrainConfig) -> int:
    from seodang.data.readers import read_documents
    from seodang.files import atomic_folder
    from seodang.text.train import train_tokenizer

    _check_out(config.out)
    max_ram = _bytes(config.max_ram)
    of_family = style_of_family(config.family) if config.family else (None, None)
    style: StyleName = config.style or of_family[1] or "gpt"
    kind: Kind = config.kind or of_family[0] or STYLES[style].kind
    n_bytes = 0

    def texts() -> Iterator[str]:
        nonlocal n_bytes
        for document in read_documents(config.data):
            n_bytes += len(document.text.encode("utf-8"))
            yield document.text

    start = time.monotonic()
    tokenizer = train_tokenizer(
        texts(),
        kind=kind,
        style=style,
        vocab_size=config.vocab_size,
        nfc=config.nfc,
        lowercase=config.lowercase,
        min_count=config.min_count,
        max_ram=max_ram,
    )
    with atomic_folder(config.out) as folder:
        tokenizer.save(folder)
    seconds = time.monotonic() - start
    if tokenizer.vocab_size < config.vocab_size:
        say(f"the text gave {tokenizer.vocab_size:,} of {config.vocab_size:,} entries; more text gives more")
    result = {
        "out": str(config.out),
        "kind": kind,
        "style": style,
        "vocab_size": tokenizer.vocab_size,
        "bytes": n_bytes,
        "seconds": round(seconds, 2),
        "special_tokens": {tokenizer.token_of(id): id for id in sorted(tokenizer.special_ids)},
        "fingerprint": tokenizer.fingerprint(),
    }
    shown = [f"{name} {id}" for name, id in result["special_tokens"].items()]  # type: ignore[attr-defined]
    special = ", ".join(shown if len(shown) <= 10 else [*shown[:5], "…", *shown[-2:]])
    lines = [
        f"{config.out}: {kind} in the style {style}, {tokenizer.vocab_size:,} entries",
        f"learned from {n_bytes / 1e6:,.2f} MB in {seconds:.1f} s",
        f"special tokens: {special}",
    ]
    print_result(result, config.json, lines)
    return 0


def _check_out(out: Path) -> None:
    """Refuse to replace a folder that holds anything but a tokenizer."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file", "a tokenizer is a folder", "name another folder")
    others = sorted(file.name for file in out.iterdir() if file.name not in _TOKENIZER_FILES) if out.is_dir() else []
    if others:
        raise SeodangError(
            f"{out} is in the way", f"it holds other things: {', '.join(others[:3])}", "name another folder with --out"
        )


def _bytes(text: str) -> int:
    """`1.5GB`, `800 MB` or a number of bytes."""
    match = re.fullmatch(r"\s*([\d.]+)\s*([kmgt]?)i?b?\s*", text.lower())
    try:
        value = float(match[1]) * 1000 ** " kmgt".index(match[2] or " ") if match else 0.0
    except ValueError:
        value = 0.0
    if value < 1e6:
        raise UsageError(f"--max-ram {text}", "it should be an amount of memory, a megabyte or more", "--max-ram 1.5GB")
    return int(value)


def _trace(config: TraceConfig) -> int:
    from seodang.text.reference_bpe import encode_word, learn_bpe

    if config.merges < 1:
        raise UsageError(f"--merges {config.merges}", "there is nothing to learn", "ask for 1 or more")
    counts = _word_counts(config)
    merges = learn_bpe(counts, config.merges, word_end=config.word_end)
    splits = {word: encode_word(word, merges, word_end=config.word_end) for word in config.word}
    result = {
        "words": len(counts),
        "merges": [
            {"left": merge.left, "right": merge.right, "joined": merge.left + merge.right, "count": merge.count}
            for merge in merges
        ],
        "splits": splits,
    }
    if len(merges) < config.merges:
        say(f"every word is one piece after {len(merges)} merges")
    print_result(result, config.json, _trace_lines(merges, splits))
    return 0


def _trace_lines(merges: list[Merge], splits: dict[str, list[str]]) -> list[str]:
    lines = [f"{'merge':>5}  {'count':>9}  pair"]
    for number, merge in enumerate(merges, 1):
        pair = f"({merge.left}, {merge.right})"
        lines.append(f"{number:>5}  {merge.count:>9,}  {pair:<24} → {merge.left}{merge.right}")
    if splits:
        lines += ["", *(f"{word} = {' + '.join(pieces)}" for word, pieces in splits.items())]
    return lines


def _word_counts(config: TraceConfig) -> dict[str, int]:
    import unicodedata

    from seodang.text.counts import count_words

    if sum((config.counts is not None, config.text is not None, bool(config.data))) != 1:
        raise UsageError(
            "seodang tokenizer trace: name the words once",
            "they come from one of --counts, --text and --data",
            "seodang tokenizer trace --counts low:5,lower:2,newest:6,widest:3 --merges 4 --word lowest",
        )
    if config.counts is not None:
        return _parse_counts(config.counts)
    if config.text is not None:
        words = Counter(unicodedata.normalize("NFC", config.text).split())
    else:
        from seodang.data.readers import read_documents

        words = Counter()
        texts = (document.text for document in read_documents(config.data))
        for word, count in count_words(texts, max_words=1_000_000).items():
            if word.strip():
                words[word.strip()] += count
    if not words:
        raise UsageError("there are no words", "the text is empty", "give it text")
    return words


def _parse_counts(text: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in text.split(","):
        word, colon, count = entry.strip().rpartition(":")
        if not colon or not word.strip() or not count.strip().isdecimal() or int(count) < 1:
            raise UsageError(
                f"--counts: {entry.strip()!r} is not word:count",
                "each word needs a whole number of 1 or more",
                "--counts low:5,lower:2,newest:6,widest:3",
            )
        counts[word.strip()] = counts.get(word.strip(), 0) + int(count)
    return counts


def _stats(config: StatsConfig) -> int:
    from seodang.data.readers import read_documents
    from seodang.text.stats import measure
    from seodang.text.tokenizer import Tokenizer
    from seodang.text.train import train_tokenizer

    kinds = config.kinds or (() if config.tokenizer else get_args(Kind))

    def lines(held_out: bool | None) -> Iterator[str]:
        number = 0
        for document in read_documents(config.data):
            for line in document.text.split("\n"):
                if line.strip():
                    number += 1
                    if held_out is None or (number % _HELD_OUT == 0) == held_out:
                        yield line + "\n"

    measured = True if kinds else None
    if measured and next(lines(True), None) is None:
        raise UsageError(
            "there is too little text to compare on",
            f"every {_HELD_OUT}th line is held out, and there are fewer lines",
            f"give it {_HELD_OUT} lines or more, or measure a learned one with --tokenizer",
        )
    named = {str(path): Tokenizer.load(path) for path in config.tokenizer}
    rows = []
    for name in (*named, *kinds):
        if name not in named:
            say(f"learning {name}")
        tokenizer = named.get(name) or train_tokenizer(lines(False), kind=name, vocab_size=config.vocab_size)
        for usage in measure(tokenizer, lines(measured)).values():
            rows.append({"vocabulary": name, "vocab_size": tokenizer.vocab_size, **usage.as_dict()})
    print_result(rows, config.json, _table(rows))
    return 0


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    width = max(len("vocabulary"), *(len(row["vocabulary"]) for row in rows))
    yield f"{'vocabulary':<{width}}  entries  script    lines  unknown  bytes/token  tokens/word"
    last = None
    for row in rows:
        name, entries = (row["vocabulary"], f"{row['vocab_size']:,}") if row["vocabulary"] != last else ("", "")
        last = row["vocabulary"]
        yield (
            f"{name:<{width}}  {entries:>7}  {row['script']:<6}  {row['lines']:>7,}  {row['unknown_rate']:>7.2%}"
            f"  {row['bytes_per_token']:>11.2f}  {row['tokens_per_word']:>11.2f}"
        )
