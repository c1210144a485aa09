"""`seodang fill`: the most probable tokens in the blanks of a text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

from seodang.cli.answering import ModelOptions
from seodang.cli.frame import parse, print_result


@dataclass(kw_only=True)
class FillConfig(ModelOptions):
    """What stands in a blank: the most probable tokens at each [MASK] of a text, seen from both sides."""

    text: str
    """Text with [MASK] where something is to be filled in."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 5
    """How many tokens for each blank."""
    json: bool = False
    """Print the tokens as JSON, a list for each blank."""


def main(argv: list[str]) -> int:
    """Exit code 0; errors are raised."""
    config = parse(FillConfig, argv, "seodang fill")
    blanks = config.load().fill(config.text, config.n)
    result = {"text": config.text, "blanks": [[asdict(guess) for guess in blank] for blank in blanks]}
    lines = []
    for number, blank in enumerate(blanks, start=1):
        lines += [f"blank {number}"] if len(blanks) > 1 else []
        lines += [f"{guess.probability:8.3%}  {guess.token}" for guess in blank]
    print_result(result, config.json, lines)
    return 0
