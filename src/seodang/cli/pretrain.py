"""`seodang pretrain`: Train a language model on text."""

from __future__ import annotations

from seodang.cli.frame import parse
from seodang.cli.results import finish_run
from seodang.recipes.config import PretrainConfig


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    config = parse(PretrainConfig, argv, "seodang pretrain")
    from seodang.recipes.pretrain import pretrain

    return finish_run(pretrain(config), config.json)
