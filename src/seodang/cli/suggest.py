"""`seodang suggest`: the most probable continuations, as a search box shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from seodang.cli.answering import ModelOptions
from seodang.cli.frame import parse, print_result


@dataclass(kw_only=True)
class SuggestConfig(ModelOptions):
    """The most probable continuations of a prompt, whole words, with their probabilities."""

    prompt: str
    """Text that has been typed so far."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 5
    """How many continuations."""
    words: int = 1
    """Words in each."""
    max_new_tokens: int = 8
    """Cut a continuation after this many tokens."""
    json: bool = False
    """Print the continuations as JSON."""


def main(argv: list[str]) -> int:
    """Exit code 0; errors are raised."""
    config = parse(SuggestConfig, argv, "seodang suggest")
    model = config.load()
    found = model.suggest(config.prompt, config.n, words=config.words, max_new_tokens=config.max_new_tokens)
    result = {
        "prompt": config.prompt,
        "continuations": [
            {"text": one.text, "probability": one.probability, "tokens": list(one.tokens)} for one in found
        ],
    }
    typed = "" if model.model.kind == "seq2seq" else config.prompt  # whose answer stands by itself
    print_result(result, config.json, [f"{one.probability:8.3%}  {typed}{one.text}" for one in found])
    return 0
