"""The last words of a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seodang.cli.frame import print_result, say

if TYPE_CHECKING:
    from seodang.recipes.run import RunResult

INTERRUPTED = 130


def finish_run(result: RunResult, as_json: bool) -> int:
    """Print how a run ended; returns the exit code: 0, or 130 when it was interrupted and saved."""
    from seodang.training.log import in_words

    summary = result.summary
    if not result.speaks:
        return INTERRUPTED if summary.interrupted else 0
    if result.dry_run:
        print_result(result.to_dict(), as_json, "nothing was trained (--dry-run)")
        return 0
    lines = [f"{result.out}: {summary.steps:,} steps, {summary.tokens:,} tokens, {summary.seconds:.0f} s"]
    last = summary.evaluated_step  # an interrupted run ends without an evaluation
    after = "after" if last == summary.steps else f"at step {last:,}"
    for name, row in (("before", summary.first_evaluation), (after, summary.evaluation)):
        if row and (last or name == "before"):
            lines.append(f"held-out loss {name:<6} {in_words(row)}")
    lines += result.lines
    if summary.skipped:
        lines.append(f"{summary.skipped} bad steps were skipped")
    print_result(result.to_dict(), as_json, lines)
    if summary.interrupted:
        say(f"interrupted and saved; continue with: seodang resume {result.out}")
        return INTERRUPTED
    return 0
