"""`seodang report`: a one-file HTML report of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from seodang.cli.frame import parse, print_result


@dataclass(kw_only=True)
class ReportConfig:
    """Write a one-file HTML report of a run folder, or of a demo's folder."""

    folder: Annotated[Path, tyro.conf.Positional]
    """The --out folder of a run."""
    out: Path | None = None
    """Where to write the report; report.html in the folder by default."""
    json: bool = False
    """Print the result as JSON."""


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    config = parse(ReportConfig, argv, "seodang report")
    from seodang.recipes.report import write_report

    path = write_report(config.folder, config.out)
    print_result({"report": str(path)}, config.json, str(path))
    return 0
