"""`seodang demo`: the whole ladder on embedded data, then a chat."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seodang.cli.frame import parse, print_result, say

if TYPE_CHECKING:
    from seodang.recipes.demo import DemoResult

TRY = ("What is the capital of Peru?", "Tom put the key in the boat. Where is the key?", "What is 6 + 7?",
       "이야기를 들려 주세요.", "개는 영어로 무엇입니까?")  # fmt: skip


@dataclass(kw_only=True)
class DemoConfig:
    """The whole ladder on embedded data: a GPT learns to read, to answer and to chat, in about five minutes."""

    out: Path | None = None
    """Folder for everything the demo makes; by default the first free one of runs/demo, runs/demo-2 …"""
    minutes: float = 5.0
    """Training time; writing, examining and reporting add about a quarter of a minute."""
    seed: int = 0
    """Seed of the primer, the weights and the order of the data."""
    chat: bool = True
    """Open a chat at the end when the terminal is interactive."""
    json: bool = False
    """Print the result as JSON."""
    quiet: bool = False
    """No live progress."""


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    config = parse(DemoConfig, argv, "seodang demo")
    from seodang.recipes.demo import run_demo

    result = run_demo(config.out or free_folder(Path("runs/demo")), config.minutes, config.seed, quiet=config.quiet)
    print_result(result.to_dict(), config.json, summary(result))
    if config.chat and not config.json and sys.stdin.isatty() and sys.stdout.isatty():
        talk(result)
    return 0


def free_folder(first: Path) -> Path:
    """`first`, or the first of its numbered neighbours that does not exist."""
    folder, number = first, 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


def summary(result: DemoResult) -> list[str]:
    """What a terminal shows of it."""
    details = result.details
    lines = ["", f"{'held-out questions':<22}{'asked':>7}{'before':>9}{'after':>8}"]
    for kind in details["accuracy"]["kinds"]:
        name = f"{kind['kind']} ({kind['language']})"
        lines.append(f"  {name:<20}{kind['total']:>7}{kind['before']:>9}{kind['after']:>8}")
    before, after = result.before, result.after
    shares = [f"{row['right'] / max(row['total'], 1):.1%}" for row in (before, after)]
    lines.append(f"{'exact answers':<22}{after['total']:>7}{shares[0]:>9}{shares[1]:>8}")
    about = details["about"]
    return [
        *lines, "",
        f"time    {about['wall time']} ({about['processor time']} of processor time)",
        f"report  {result.report}",
        f"model   {result.out / 'chat'}   (seodang chat --model {result.out / 'chat'})",
    ]  # fmt: skip


def talk(result: DemoResult) -> None:
    """A chat with the model that has just been raised."""
    from seodang.cli.conversation import Chat
    from seodang.inference.language_model import load

    say("\nTalk to it: it knows what the primer says, and no more. /help lists the commands, /exit leaves.")
    say("Try: " + "   ".join(TRY))
    model = load(result.out / "chat", device="cpu")
    Chat(model, {"temperature": 0.0, "max_new_tokens": 100}, None, interactive=True).run()
