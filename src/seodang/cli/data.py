"""`seodang data`: look at data before training on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from seodang.cli.frame import dispatch, print_result, say
from seodang.errors import UsageError


@dataclass(kw_only=True)
class CheckConfig:
    """Check files before training: what is in them, and what would go wrong. Exit code 3 when a row is unusable."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Files, folders or globs: txt, jsonl, json, csv, tsv, parquet, also .gz or .zst."""
    tokenizer: Path | None = None
    """Tokenizer folder or file; lengths are then in tokens."""
    model: str | None = None
    """Model whose tokenizer is used."""
    max_length: int | None = None
    """Count the rows that are longer than this."""
    eval: tuple[Path, ...] = ()
    """Evaluation files, compared with the training files."""
    task: str | None = None
    """Read labelled data: a published set (sst2, klue-nli, kobest-copa …), or classify, entail, similar, choice,
    regress for any table. Shows counts of labels."""
    columns: tuple[str, ...] = ()
    """With --task: which columns to read, such as text=review,label=stars."""
    labels: tuple[str, ...] = ()
    """With --task: the labels that are known, in order, such as neg,pos; others are errors."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(kw_only=True)
class ShowConfig:
    """Show rows as the model will see them. With --mask, what carries loss is green (or between « and »)."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Files, folders or globs."""
    tokenizer: Path | None = None
    """Tokenizer folder or file."""
    model: str | None = None
    """Model whose tokenizer is used."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 3
    """Rows to show."""
    mask: bool = False
    """Mark the tokens that carry loss."""
    train_on: Literal["all", "last", "flags"] = "all"
    """Assistant turns that carry loss: all, the last one, or those flagged in the data."""
    json: bool = False
    """Print the rows as JSON, with ids and mask."""


@dataclass(kw_only=True)
class SplitConfig:
    """Write train and eval files into a new folder. Deterministic; equal rows never stand on both sides."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Files, folders or globs."""
    out: Path
    """Folder to make."""
    eval_fraction: float = 0.1
    """Share of the rows held out."""
    seed: int = 0
    """Another seed holds out other rows."""
    json: bool = False
    """Print the result as JSON."""


@dataclass(kw_only=True)
class StatsConfig:
    """Count rows, bytes, characters, words, scripts and, with a tokenizer, tokens."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Files, folders or globs."""
    tokenizer: Path | None = None
    """Tokenizer folder or file."""
    model: str | None = None
    """Model whose tokenizer is used."""
    task: str | None = None
    """Read labelled data: a published set (sst2, klue-nli, kobest-copa …), or classify, entail, similar, choice,
    regress for any table. Shows counts of labels."""
    columns: tuple[str, ...] = ()
    """With --task: which columns to read, such as text=review,label=stars."""
    labels: tuple[str, ...] = ()
    """With --task: the labels that are known, in order, such as neg,pos; others are errors."""
    json: bool = False
    """Print the result as JSON."""


def main(argv: list[str]) -> int:
    """Run one of the data verbs; returns the exit code."""
    verbs: dict[str, tuple[str, type, Callable[[Any], int]]] = {
        "check": (
            "rows, formats, lengths, truncation, duplicates, overlap with evaluation files, unknown tokens",
            CheckConfig,
            _check,
        ),
        "show": ("rows as the model sees them; --mask marks the tokens that carry loss", ShowConfig, _show),
        "split": ("hold out a part for evaluation", SplitConfig, _split),
        "stats": ("bytes, characters, words, scripts, tokens", StatsConfig, _stats),
    }
    return dispatch("data", "FILE... ", verbs, argv)


def _check(config: CheckConfig) -> int:
    if config.task is not None:
        return _check_task(config, config.task)
    from seodang.data.check import check, report_lines

    _no_task(config)
    result = check(
        config.files,
        tokenizer=_tokenizer(config.tokenizer, config.model),
        max_length=config.max_length,
        eval_files=config.eval,
    )
    print_result(result, config.json, report_lines(result))
    return 0 if result["passed"] else 3


def _check_task(config: CheckConfig, task: str) -> int:
    from seodang.data.task_check import check_task, report_lines
    from seodang.data.tasks.columns import Columns, label_list

    result = check_task(
        task,
        config.files,
        columns=Columns.parse(config.columns),
        labels=label_list(config.labels),
        tokenizer=_tokenizer(config.tokenizer, config.model),
        max_length=config.max_length,
        eval_files=config.eval,
    )
    print_result(result, config.json, report_lines(result))
    return 0


def _no_task(config: CheckConfig | StatsConfig) -> None:
    for name in ("columns", "labels"):
        if getattr(config, name):
            raise UsageError(f"--{name} without --task", "it says how labelled data is read", "add --task classify")


def _show(config: ShowConfig) -> int:
    from seodang.data.show import plain_lines, print_colours, show

    tokenizer = _tokenizer(config.tokenizer, config.model)
    if config.mask and tokenizer is None:
        raise UsageError("--mask needs a tokenizer", "loss is on tokens", "add --tokenizer DIR or --model DIR")
    rows = show(config.files, tokenizer, n=config.n, train=config.train_on)
    if config.json:
        print_result(list(rows), True, "")
        return 0
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for row in rows:
        if colours:
            print_colours(row, config.mask)
        else:
            print("\n".join(plain_lines(row, config.mask)))
    return 0


def _split(config: SplitConfig) -> int:
    from seodang.data.corpus import split

    result = split(config.files, config.out, eval_fraction=config.eval_fraction, seed=config.seed)
    print_result(result, config.json, [f"{part['file']}: {part['rows']:,} rows" for part in result.values()])
    return 0


def _stats(config: StatsConfig) -> int:
    if config.task is not None:
        from seodang.data.task_check import report_lines, task_stats
        from seodang.data.tasks import read_task
        from seodang.data.tasks.columns import Columns, label_list

        columns, labels = Columns.parse(config.columns), label_list(config.labels)
        tokenizer = _tokenizer(config.tokenizer, config.model)
        found = task_stats(read_task(config.task, config.files, columns=columns, labels=labels), tokenizer)
        print_result(found, config.json, report_lines(found))
        return 0
    from seodang.data.corpus import stats

    _no_task(config)

    result = stats(config.files, _tokenizer(config.tokenizer, config.model))
    lines = []
    for entry in result:
        counts = ", ".join(
            f"{name.replace('_', ' ')} {value:,}" if isinstance(value, int) else f"{name.replace('_', ' ')} {value:.3f}"
            for name, value in entry.items()
            if isinstance(value, int | float)
        )
        scripts = ", ".join(f"{name} {share:.1%}" for name, share in entry["scripts"].items())
        lines += [f"{entry['file']}: {counts}", f"  {scripts}"]
    print_result(result, config.json, lines)
    return 0


def _tokenizer(folder: Path | None, model: str | None) -> Any:
    """The tokenizer of --tokenizer or --model, or None."""
    if folder is not None and model is not None:
        raise UsageError("--tokenizer and --model", "both name a tokenizer", "give one of them")
    if folder is None and model is None:
        return None
    name = folder if folder is not None else Path(str(model))
    if folder is not None or (name / "tokenizer.json").is_file():
        from seodang.text.tokenizer import Tokenizer

        return Tokenizer.load(name)
    from seodang.checkpoints.resolve import load_model

    say(f"loading {model} for its tokenizer")
    tokenizer = load_model(str(model)).tokenizer
    if tokenizer is None:
        raise UsageError(f"{model} has no tokenizer", "it holds weights only", "name one with --tokenizer DIR")
    return tokenizer
