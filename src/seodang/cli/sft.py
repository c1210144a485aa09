"""`seodang sft`: Instruction-tune a model on questions and answers or dialogues."""

from __future__ import annotations

from seodang.cli.frame import parse
from seodang.cli.results import finish_run
from seodang.recipes.config import SFTConfig


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    config = parse(SFTConfig, argv, "seodang sft")
    from seodang.recipes.sft import sft

    return finish_run(sft(config), config.json)
