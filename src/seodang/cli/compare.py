"""`seodang compare`: the same rows through several models, side by side, with a paired test of the difference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from seodang.cli.frame import parse, print_result, say
from seodang.errors import UsageError

if TYPE_CHECKING:
    from seodang.evaluation.compare import Comparison


@dataclass(kw_only=True)
class CompareConfig:
    """Results of several models side by side, with a paired test of each against the first.

    Refuses results of unlike settings, prompts or rows, and names each difference.
    """

    what: tyro.conf.Positional[tuple[str, ...]]
    """Files that `seodang evaluate` wrote."""
    json: bool = False
    """Print measurements, differences and p as JSON."""


def main(argv: list[str]) -> int:
    """Exit code 0; errors are raised."""
    config = parse(CompareConfig, argv, "seodang compare")
    if len(config.what) < 2:
        raise UsageError("nothing to compare with", "one alone has no difference", "name two or more")
    from seodang.evaluation.compare import compare_results
    from seodang.evaluation.results import load_results

    found = compare_results([load_results(Path(name)) for name in config.what], config.what)
    for note in found.notes:
        say(f"note: {note}")
    print_result(found.to_dict(), config.json, as_text(found))
    return 0


def as_text(found: Comparison) -> list[str]:
    """A block for each measurement: a line for each model, with its difference from the first."""
    several = sum(len(row.differences) for row in found.rows) > 1
    width = max(map(len, (*found.models, "majority")))
    lines = []
    for row in found.rows:
        lines.append(f"{row.task}: {row.measurement} of {row.values[0].n:,} rows")
        for place, name in enumerate(found.models):
            value = row.values[place]
            shown = f"  {name:<{width}}  {value.value:8.4f}  [{value.low:.4f}, {value.high:.4f}]"
            if place:
                difference = row.differences[place - 1]
                shown += f"  {difference.difference:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
                shown += f"  p {difference.p:.4f}" + (f" ({row.corrected[place - 1]:.4f})" if several else "")
                shown += f"  {difference.test}"
                if difference.better or difference.worse:
                    shown += f", {difference.better} rows better, {difference.worse} worse"
            lines.append(shown)
        if row.values[0].baseline is not None:
            lines.append(f"  {'majority':<{width}}  {row.values[0].baseline:8.4f}")
    lines.append(f"differences are from {found.models[0]}, with 95 % intervals")
    if several:
        lines.append("p in brackets: corrected for all tests shown (Holm)")
    return lines
