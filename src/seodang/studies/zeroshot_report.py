"""The zero-shot study's tables and figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seodang.studies.figures import Line, draw_lines
from seodang.studies.published import FIGURE_2_RIGHT, Scale, normalised
from seodang.studies.tables import Summary, across, markdown, seeds_in_words, summarise


def report(rows: list[dict[str, Any]], scales: Mapping[str, Scale]) -> tuple[list[Summary], list[str]]:
    """A table for each model along its checkpoints, and one of where they ended."""
    summaries = sorted(summarise(rows, ["model", "step"]), key=_order)
    lines = ["# Zero-shot heuristics along pre-training", ""]
    for model in dict.fromkeys(entry.labels["model"] for entry in summaries):
        of = [entry for entry in summaries if entry.labels["model"] == model]
        head, body = across(of, "step", lambda step: f"{step:,}")
        lines += [f"## {model}", "", *markdown(["updates", *head[1:]], body), ""]
    lines += [seeds_in_words(summaries), "", "## At the end, normalised", "", *markdown(*_ends(summaries, scales)), ""]
    lines += ["(score − random guess) / (ceiling − random guess); ceilings:", ""]
    lines += [f"- {task}: {scale.source}" for task, scale in scales.items()]
    return summaries, [*lines, "", f"The paper's own: {FIGURE_2_RIGHT}"]


def _order(entry: Summary) -> tuple[bool, int]:
    return entry.labels["model"] != "transformer", entry.labels["step"]


def _ends(summaries: Sequence[Summary], scales: Mapping[str, Scale]) -> tuple[list[str], list[list[str]]]:
    models = list(dict.fromkeys(entry.labels["model"] for entry in summaries))
    last = {(entry.labels["model"], entry.task): entry for entry in summaries}  # the latest step comes last
    rows = []
    for task, scale in scales.items():
        found = [last.get((model, task)) for model in models]
        values = ["–" if entry is None else f"{normalised(entry.score, scale):.2f}" for entry in found]
        rows.append([task, f"{100 * scale.random:.1f}", f"{100 * scale.ceiling:.1f}", *values])
    return ["task", "random guess", "ceiling", *models], rows


def draw(path: Path, summaries: Sequence[Summary], scales: Mapping[str, Scale]) -> Path | None:
    """Normalised scores over updates: a colour for each task, the LSTM dashed, as in the paper."""
    lines = []
    for colour, (task, scale) in enumerate(scales.items()):
        for model in dict.fromkeys(entry.labels["model"] for entry in summaries):
            found = [entry for entry in summaries if entry.labels["model"] == model and entry.task == task]
            lines.append(
                Line(
                    f"{task}, {model}",
                    [entry.labels["step"] for entry in found],
                    [normalised(entry.score, scale) for entry in found],
                    [normalised(entry.lowest, scale) for entry in found],
                    [normalised(entry.highest, scale) for entry in found],
                    solid=model == "transformer",
                    colour=colour,
                )
            )
    return draw_lines(path, lines, "pre-training updates", "score (0: random guess, 1: ceiling)", whole_x=True)
