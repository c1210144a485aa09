"""Measurements of a grid → one number for each place of a table, and the files it is written to."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from seodang.files import atomic_write

Row = Mapping[str, Any]
"""A measurement: the cell's labels, "task", "measure", "score", "low", "high", "n", "baseline"."""


@dataclass(frozen=True)
class Summary:
    """The seeds of one place of the grid together."""

    labels: dict[str, Any]
    task: str
    measure: str
    score: float
    """Mean over the seeds."""
    lowest: float
    highest: float
    n_seeds: int
    low: float
    """With one seed: the interval over the evaluated rows; with more, its mean over the seeds."""
    high: float
    baseline: float | None
    """Of always saying the most frequent class."""
    n_rows: int

    @property
    def spread(self) -> tuple[float, float]:
        """From the lowest to the highest seed; of one seed, the interval over the rows."""
        return (self.lowest, self.highest) if self.n_seeds > 1 else (self.low, self.high)


def summarise(rows: Sequence[Row], by: Sequence[str]) -> list[Summary]:
    """The rows that agree in the columns `by`, in their task and measure, as one; in the order of their first ones."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((*(row[name] for name in by), row["task"], row["measure"]), []).append(row)
    found = []
    for key, group in groups.items():
        scores = [row["score"] for row in group]
        found.append(
            Summary(
                labels=dict(zip(by, key, strict=False)),
                task=group[0]["task"],
                measure=group[0]["measure"],
                score=fmean(scores),
                lowest=min(scores),
                highest=max(scores),
                n_seeds=len(group),
                low=fmean(row["low"] for row in group),
                high=fmean(row["high"] for row in group),
                baseline=group[0].get("baseline"),
                n_rows=group[0]["n"],
            )
        )
    return found


def in_words(summary: Summary | None) -> str:
    """A place of a table, in hundredths: the mean and the seeds' range, or one seed's interval over the rows."""
    if summary is None:
        return "–"
    low, high = summary.spread
    return f"{100 * summary.score:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def seeds_in_words(summaries: Sequence[Summary]) -> str:
    """What the brackets in a table mean."""
    n = max((entry.n_seeds for entry in summaries), default=0)
    if n > 1:
        return f"Scores × 100: the mean of up to {n} seeds (and the lowest to the highest)."
    return "Scores × 100, of one seed (and the 95 % interval over the evaluated rows)."


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, its columns made equally wide."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return [line(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)]


def across(
    summaries: Sequence[Summary], by: str, name_of: Callable[[Any], str] = str
) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table with the values of the label `by` down, and the tasks across."""
    tasks = list(dict.fromkeys((s.task, s.measure) for s in summaries))
    values = list(dict.fromkeys(s.labels[by] for s in summaries))
    found = {(s.labels[by], s.task, s.measure): s for s in summaries}
    rows = [[name_of(value), *(in_words(found.get((value, *task))) for task in tasks)] for value in values]
    majority = {(s.task, s.measure): s.baseline for s in summaries}
    if any(value is not None for value in majority.values()):
        said = ["–" if majority[task] is None else f"{100 * majority[task]:.1f}" for task in tasks]  # type: ignore[operator]
        rows.append(["most frequent class", *said])
    return [by, *(f"{task} ({measure})" for task, measure in tasks)], rows


def write_tables(
    out: Path, text: Sequence[str], summaries: Sequence[Summary], rows: Sequence[Row], **more: Any
) -> None:
    """table.md, table.csv (one line for each place) and table.json (places, and the cells' own rows)."""
    atomic_write(out / "table.md", "\n".join(text) + "\n")
    flat = [flatten(summary) for summary in summaries]
    lines = io.StringIO()
    writer = csv.DictWriter(lines, fieldnames=list(dict.fromkeys(key for entry in flat for key in entry)))
    writer.writeheader()
    writer.writerows(flat)
    atomic_write(out / "table.csv", lines.getvalue())
    document = {"places": flat, "cells": [dict(row) for row in rows], **more}
    atomic_write(out / "table.json", json.dumps(document, ensure_ascii=False, indent=1) + "\n")


def flatten(summary: Summary) -> dict[str, Any]:
    """A summary's numbers, its labels among them."""
    values = asdict(summary)
    return {**values.pop("labels"), **values}
