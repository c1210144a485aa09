"""`seodang doctor`: what this machine has, what is missing, and the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seodang.cli.frame import parse, print_result, say

if TYPE_CHECKING:
    from seodang.planning.doctor import Diagnosis


@dataclass(kw_only=True)
class DoctorConfig:
    """Look at Python, torch, processor, memory, disk and extras; train for seconds to measure and to check."""

    out: Path = Path("runs")
    """Folder where runs would be written: its disk is looked at."""
    measure: bool = True
    """Also measure training speed and run the self-test (about ten seconds)."""
    json: bool = False
    """Print the findings as JSON."""


def main(argv: list[str]) -> int:
    """Exit code 0 when nothing that Seodang needs is absent or broken, 1 otherwise."""
    config = parse(DoctorConfig, argv, "seodang doctor")
    from seodang.planning.doctor import examine

    if config.measure:
        say("examining this machine, about ten seconds …")
    diagnosis = examine(config.out, measure=config.measure)
    print_result(diagnosis.to_dict(), config.json, _lines(diagnosis))
    return 0 if diagnosis.ok else 1


def _lines(diagnosis: Diagnosis) -> list[str]:
    marks = {"ok": " ", "note": "·", "missing": "-", "bad": "!"}
    lines = []
    for section, findings in diagnosis.sections.items():
        lines.append(section)
        lines += [f"  {marks[row.status]} {row.name:<20} {row.text}" for row in findings]
    advice = diagnosis.advice()
    lines += ["", "advice", *(f"  {line}" for line in advice)] if advice else []
    return [*lines, "", "ready" if diagnosis.ok else "not ready: see the lines marked with !"]
