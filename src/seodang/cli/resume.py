"""`seodang resume`: continue an interrupted run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from seodang.cli.frame import parse
from seodang.cli.results import finish_run


@dataclass(kw_only=True)
class ResumeConfig:
    """Continue the run in a folder from its newest whole checkpoint, with the options it was started with."""

    folder: tyro.conf.Positional[Path]
    """The --out folder of the run."""
    json: bool = False
    """Print the result as JSON."""
    quiet: bool = False
    """No live progress."""


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    config = parse(ResumeConfig, argv, "seodang resume")
    from seodang.recipes.resume import resume

    return finish_run(resume(config.folder, quiet=config.quiet), config.json)
