"""One study: a grid to make, and what its rows are shown as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seodang.recipes.plan import say
from seodang.studies.config import StudyConfig
from seodang.studies.grid import Grid
from seodang.studies.tables import Summary, flatten, write_tables


@dataclass(frozen=True)
class Study:
    """report: rows of the cells → places of the table, and the table as Markdown. draw: places → the figure's path,
    None without matplotlib. paper: what goes into table.json beside ours."""

    grid: Grid
    report: Callable[[list[dict[str, Any]]], tuple[list[Summary], list[str]]]
    draw: Callable[[list[Summary]], Path | None]
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyResult:
    """What a study has come to so far."""

    out: Path
    finished: bool
    interrupted: bool
    lines: list[str]
    places: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"out": str(self.out), "finished": self.finished, "places": self.places}


def run_study(study: Study, config: StudyConfig) -> StudyResult:
    """Make the cells that are missing, and write tables and figure of all that are finished.

    Raises UsageError and DataError for what the user can mend, as the recipes do.
    """
    grid = study.grid
    if config.dry_run:
        return StudyResult(grid.out, grid.finished, False, grid.plan(), [])
    rows, interrupted = grid.run(say=(lambda line: None) if config.quiet else say)
    finished = grid.finished
    if not rows:
        return StudyResult(grid.out, finished, interrupted, ["no cell is finished"], [])
    summaries, text = study.report(rows)
    if not finished:
        text = [*text, "", "Not all cells are finished."]
    write_tables(grid.out, text, summaries, rows, **study.more)
    if study.draw(summaries) is None:
        say('note: no figure, as matplotlib is not installed: pip install "seodang[pictures]"')
    return StudyResult(grid.out, finished, interrupted, text, [flatten(entry) for entry in summaries])
