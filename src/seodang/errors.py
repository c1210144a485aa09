"""Errors a user can act on. Each prints as three lines (what, why, what to do) and carries an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["DataError", "DivergedError", "FitError", "SeodangError", "UsageError", "suggest"]


class SeodangError(Exception):
    """Something failed. `what` names the thing and where it is (file:row), `why` the cause, `fix` what mends it."""

    exit_code = 1

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what, f"  why: {self.why}" if self.why else "", f"  fix: {self.fix}" if self.fix else ""]
        return "\n".join(line for line in lines if line)


class UsageError(SeodangError):
    """The command or call is wrong: unknown name, key or option, contradictory settings."""

    exit_code = 2


class DataError(SeodangError):
    """A file does not hold what it should: text, rows, weights, tokenizer."""

    exit_code = 3


class FitError(SeodangError):
    """It will not fit: memory, disk, context."""

    exit_code = 4


class DivergedError(SeodangError):
    """Training diverged; the last good model is kept."""

    exit_code = 5


def suggest(word: str, choices: Iterable[str], limit: int = 3) -> str:
    """`did you mean 'x'?` for the nearest of `choices`, or a list of all of them when none is near."""
    choices = sorted(choices)
    near = difflib.get_close_matches(word, choices, n=limit, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(name) for name in near) + "?"
    return "choose from " + ", ".join(choices)
