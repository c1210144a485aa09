"""`data check --task` and `data stats --task`: labels, lengths, and what would go wrong in fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from seodang.data.check import Findings, bars, describe, places
from seodang.data.labelled import Kind, Labelled, TaskData
from seodang.data.tasks import Columns, read_task

PARTS: dict[Kind, tuple[str, ...]] = {
    "classify": ("text",),
    "entail": ("premise", "hypothesis"),
    "similar": ("first text", "second text"),
    "choice": ("context", "question"),
}


def task_stats(data: TaskData, tokenizer: Any = None, max_length: int | None = None) -> dict[str, Any]:
    """Examples, counts and shares of labels, and quantiles of lengths, as plain values.

    Lengths are in tokens without special ones, or in characters without a tokenizer. An example's is that of all its
    texts; of a choice, with its longest answer.
    """
    measure = len if tokenizer is None else lambda text: len(tokenizer.encode(text))
    parts: dict[str, list[int]] = {name: [] for name in PARTS[data.spec.kind]}
    answers: list[int] = []
    lengths, too_long = [], Findings()
    for example in data.examples:
        own = [measure(text.strip()) for text in example.texts]
        for name, length in zip(parts, own, strict=False):
            parts[name].append(length)
        choices = [measure(answer.strip()) for answer in example.answers]
        answers += choices
        lengths.append(sum(own) + max(choices, default=0))
        if max_length and lengths[-1] > max_length:
            too_long.add(f"{example.where} ({lengths[-1]:,})")
    by_part = {name: describe(values) for name, values in (parts | {"answer": answers}).items() if any(values)}
    counts, scores = data.label_counts(), [e.label for e in data.examples if e.label is not None]
    return {
        "task": data.spec.to_dict(),
        "examples": len(data.examples),
        "notes": data.notes,
        "labels": {name: {"count": n, "share": n / len(data.examples)} for name, n in counts.items()},
        "scores": _range(scores) if data.spec.regression and scores else None,
        "answers": _spread([len(e.answers) for e in data.examples]) if data.spec.kind == "choice" else None,
        "lengths": {"unit": "characters" if tokenizer is None else "tokens", **describe(lengths)},
        "parts": by_part if len(by_part) > 1 else {},
        "too_long": {"max_length": max_length, **too_long.to_dict()},
    }


def check_task(
    task: str,
    files: Iterable[Path | str],
    *,
    columns: Columns | None = None,
    labels: Sequence[str] | None = None,
    tokenizer: Any = None,
    max_length: int | None = None,
    eval_files: Iterable[Path | str] = (),
) -> dict[str, Any]:
    """`task_stats`, with examples that are there twice, equal ones with unlike labels, and those that evaluation files
    share with the training files. Raises what `read_task` does: the first row that cannot be used."""
    data = read_task(task, files, columns=columns, labels=labels)
    result = task_stats(data, tokenizer, max_length)
    seen: dict[tuple[tuple[str, ...], tuple[str, ...]], Labelled] = {}
    duplicates, unlike, shared = Findings(), Findings(), Findings()
    for example in data.examples:
        first = seen.setdefault((example.texts, example.answers), example)
        if first is not example:
            (duplicates if first.label == example.label else unlike).add(f"{example.where} = {first.where}")
    eval_files = list(eval_files)
    held_out: list[Labelled] = []
    if eval_files:
        known = data.spec.labels or labels
        held_out = read_task(task, eval_files, columns=columns, labels=known).examples
    for example in held_out:
        if known_from := seen.get((example.texts, example.answers)):
            shared.add(f"{example.where} = {known_from.where}")
    return {
        **result,
        "duplicates": duplicates.to_dict(),
        "unlike_labels": unlike.to_dict(),
        "evaluation": {"examples": len(held_out), "also_in_training": shared.to_dict()},
    }


def _range(scores: Sequence[float]) -> dict[str, float]:
    return {"min": min(scores), "mean": sum(scores) / len(scores), "max": max(scores)}


def _spread(counts: Sequence[int]) -> dict[str, int]:
    return {str(n): counts.count(n) for n in sorted(set(counts))}


def report_lines(result: dict[str, Any]) -> list[str]:
    """The result of `check_task` or `task_stats` for people."""
    spec, lengths = result["task"], result["lengths"]
    kind = "regression" if spec["regression"] else spec["kind"]
    lines = [f"{spec['name']} ({kind}): {result['examples']:,} examples, scored by {', '.join(spec['metrics'])}"]
    lines += [f"  {note}" for note in result["notes"]]
    what = "right answer" if spec["kind"] == "choice" else "label"
    lines += [f"{what} {name}: {n['count']:,} ({n['share']:.1%})" for name, n in result["labels"].items()]
    if result["scores"]:
        lines.append("scores: " + ", ".join(f"{name} {value:g}" for name, value in result["scores"].items()))
    if result["answers"]:
        lines.append("answers: " + ", ".join(f"{count:,} rows of {n}" for n, count in result["answers"].items()))
    lines.append(f"{lengths['unit']} {lengths['total']:,}: {_quantiles(lengths)}")
    lines += bars(lengths["histogram"])
    lines += [f"  {name}: {_quantiles(part)}" for name, part in result["parts"].items()]
    if limit := result["too_long"]["max_length"]:
        lines += _found(f"longer than {limit:,} {lengths['unit']}", result["too_long"])
    if "duplicates" in result:
        lines += _found("exact duplicates", result["duplicates"])
        lines += _found("equal examples with unlike labels", result["unlike_labels"])
        if result["evaluation"]["examples"]:
            title = f"of {result['evaluation']['examples']:,} evaluation examples also in training"
            lines += _found(title, result["evaluation"]["also_in_training"])
    return lines


def _found(title: str, findings: dict[str, Any]) -> list[str]:
    return places(f"{title}: {findings['count']:,}", findings)


def _quantiles(lengths: dict[str, Any]) -> str:
    return "  ".join(f"{name} {lengths[name]:,}" for name in ("min", "p25", "median", "p75", "p95", "p99", "max"))
