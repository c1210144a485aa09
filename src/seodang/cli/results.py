"""The last words of a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seodang.cli.frame import print_result, say

if TYPE_CHECKING:
    from seodang.recipes.run import RunResult

INTERRUPTED = 130


def finish_run(result: RunResult, as_json: bool) -> int:
    """Print how a run ended; returns the exit code: 0, or 130 when it was interrupted and saved."""
    summary = result.summary
    if not result.speaks:
        return INTERRUPTED if summary.interrupted else 0
    if result.dry_run:
        print_result(result.to_dict(), as_json, "nothing was trained (--dry-run)")
        return 0
    lines = [f"{result.out}: {summary.steps:,} steps, {summary.tokens:,} tokens, {summary.seconds:.0f} s"]
    for name, row in (("before", summary.first_evaluation), ("after", summary.evaluation)):
        if row:
            bits = row["bits_per_byte"]
            shown = f", {bits:.3f} bits per byte" if bits == bits else ""  # nan: the bytes are unknown
            others = {key: value for key, value in row.items() if key not in ("loss_per_token", "bits_per_byte")}
            shown += "".join(f", {key.replace('_', ' ')} {value:.3f}" for key, value in others.items())
            lines.append(f"held-out loss {name:<6} {row['loss_per_token']:.4f} per token{shown}")
    if summary.skipped:
        lines.append(f"{summary.skipped} bad steps were skipped")
    print_result(result.to_dict(), as_json, lines)
    if summary.interrupted:
        say(f"interrupted and saved; continue with: seodang resume {result.out}")
        return INTERRUPTED
    return 0
