"""`seodang finetune`: Fine-tune a model on labelled examples."""

from __future__ import annotations

from seodang.cli.frame import parse
from seodang.cli.results import finish_run
from seodang.recipes.config import FinetuneConfig


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    config = parse(FinetuneConfig, argv, "seodang finetune")
    from seodang.recipes.finetune import finetune

    return finish_run(finetune(config), config.json)
