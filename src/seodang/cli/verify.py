"""`seodang verify`: is this model whole, finite, and does it give the logits it should?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from seodang.cli.frame import parse, print_result


@dataclass
class VerifyConfig:
    """Check that a model folder, checkpoint, run folder or GGUF file is whole, finite and gives the right logits."""

    path: tyro.conf.Positional[Path]
    """The folder or file. In a run folder the model and every checkpoint are checked."""
    json: bool = False
    """Print the report as JSON."""


def main(argv: list[str]) -> int:
    """Returns 0 when every check passed and 3 when something is damaged."""
    config = parse(VerifyConfig, argv, "seodang verify")
    from seodang.checkpoints.verify import verify

    reports = verify(config.path)
    passed = all(report.passed for report in reports)
    lines = []
    for report in reports:
        lines.append(f"{report.path}: {'good' if report.passed else 'DAMAGED'}")
        lines += [f"  {'ok ' if check.passed else 'BAD'}  {check.name}: {check.detail}" for check in report.checks]
    result = {"passed": passed, "models": [report.to_dict() for report in reports]}
    print_result(result, config.json, lines)
    return 0 if passed else 3
