"""`seodang score`: the probability of a text, token by token."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seodang.cli.answering import ModelOptions, Paths, Texts, gather
from seodang.cli.frame import parse, print_result
from seodang.errors import UsageError

if TYPE_CHECKING:
    from seodang.inference.scoring import Score

_COLOURS = ((0.5, "green"), (0.1, "yellow"), (0.01, "dark_orange"), (0.0, "red"))
_VISIBLE = {" ": "·", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(kw_only=True)
class ScoreConfig(ModelOptions):
    """P(W) = Π P(w_i | w_1 … w_{i-1}) of a text, token by token, with perplexity and bits per byte."""

    text: Texts = ()
    """Text to score; may be given several times."""
    file: Paths = ()
    """File whose whole text is scored; - is standard input."""
    source: str | None = None
    """What the texts answer; an encoder-decoder needs it."""
    batch_size: int = 16
    """Texts that go through the model together. Never changes a score."""
    rows: int = 200
    """Tokens shown of each text; all are counted."""
    json: bool = False
    """Print tokens, ids, logprobs (natural), perplexity, bits_per_byte; a list when there are several texts."""


def main(argv: list[str]) -> int:
    """Exit code 0; errors are raised."""
    config = parse(ScoreConfig, argv, "seodang score")
    texts = gather(config.text, config.file, "text")
    if config.batch_size < 1:
        raise UsageError(f"batch_size = {config.batch_size}", "it must be 1 or more", "set --batch-size 1 or more")
    scores = config.load().score(texts, source=config.source, batch_size=config.batch_size)
    if config.json:
        shapes = [as_dict(score) for score in scores]
        print_result(shapes[0] if len(shapes) == 1 else shapes, True, "")
    else:
        for score in scores:
            _print_table(score, config.rows)
    return 0


def as_dict(score: Score) -> dict[str, Any]:
    """The JSON shape of one score. Logprobs are natural logarithms; what does not exist is null."""
    return {
        "text": score.text,
        "tokens": score.tokens,
        "ids": score.ids,
        "logprobs": score.logprobs,
        "logprob": score.logprob,
        "perplexity": _finite(score.perplexity),
        "bits_per_byte": _finite(score.bits_per_byte),
        "n_counted": score.n_counted,
        "n_bytes": score.n_bytes,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _print_table(score: Score, rows: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    for heading in ("#", "token", "id", "P", "log P"):
        table.add_column(heading, justify="left" if heading == "token" else "right", no_wrap=heading != "token")
    for place, (token, number, logprob) in enumerate(zip(score.tokens, score.ids, score.logprobs, strict=True)):
        if place == rows:
            break
        shown = Text("".join(_VISIBLE.get(character, character) for character in token))
        if logprob is None:
            table.add_row(str(place + 1), shown, str(number), "", "")
            continue
        probability = math.exp(logprob)
        shown.stylize(next(colour for bound, colour in _COLOURS if probability >= bound))
        table.add_row(str(place + 1), shown, str(number), f"{probability:.4f}", f"{logprob:.3f}")
    console = Console(file=sys.stdout, highlight=False)
    console.print(table)
    if len(score.ids) > rows:
        console.print(f"… and {len(score.ids) - rows:,} more tokens (--rows shows them)")
    bits = f"bits per byte {score.bits_per_byte:.4f}   " if math.isfinite(score.bits_per_byte) else ""  # no bytes
    console.print(
        f"log P {score.logprob:.3f}   perplexity {score.perplexity:.3f}   {bits}"
        f"({score.n_counted:,} tokens, {score.n_bytes:,} bytes)"
    )
