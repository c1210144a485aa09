"""`seodang chat`: talk with a model in the terminal, or line by line through a pipe."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from seodang.cli.answering import SamplingOptions
from seodang.cli.conversation import Chat
from seodang.cli.frame import parse, say


@dataclass(kw_only=True)
class ChatConfig(SamplingOptions):
    """Talk with a model. In a pipe each line of stdin is a message and each answer goes to stdout."""

    system: str | None = None
    """System prompt."""
    max_new_tokens: int = 256
    """Longest answer in tokens."""
    json: bool = False
    """Print each answer as one line of JSON."""


def main(argv: list[str]) -> int:
    """Exit code 0; errors are raised."""
    config = parse(ChatConfig, argv, "seodang chat")
    options = {**config.sampling(), "max_new_tokens": config.max_new_tokens}
    model = config.load()
    model.settings(**options)  # wrong numbers are said before the first message
    model.require_template()
    interactive = sys.stdin.isatty() and not config.json
    if interactive:
        say(f"{config.model}: {model.context_length:,} tokens of context. /help lists the commands.")
    chat = Chat(
        model, options, config.system, as_json=config.json, interactive=interactive, constrained=config.constrained
    )
    chat.run()
    return 0
