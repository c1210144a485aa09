"""`seodang embed`: texts as vectors, and how alike they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seodang.cli.answering import ModelOptions, Texts, read_text
from seodang.cli.frame import parse, print_result
from seodang.errors import UsageError

_SHOWN_NUMBERS, _SHOWN_TEXTS, _SHOWN_CHARACTERS = 6, 12, 60


@dataclass(kw_only=True)
class EmbedConfig(ModelOptions):
    """One vector for each text; of several texts also the cosine of each pair."""

    text: Texts = ()
    """Text to embed; may be given several times."""
    data: Path | None = None
    """File with one text a line; - is standard input."""
    pooling: Literal["mean", "cls", "pooler", "last", "max"] | None = None
    """How the tokens' vectors become one: what the model's folder says, or else mean."""
    normalize: bool | None = None
    """Bring each vector to the length 1: what the model's folder says, or else not."""
    truncate: bool = False
    """Cut off texts that are too long for the model."""
    batch_size: int = 16
    """Texts that go through the model together. Never changes a vector."""
    json: bool = False
    """Print texts, whole vectors and similarities as JSON."""


def main(argv: list[str]) -> int:
    """Exit code 0; errors are raised."""
    config = parse(EmbedConfig, argv, "seodang embed")
    lines = [] if config.data is None else read_text(config.data).split("\n")
    texts = [*config.text, *(line.removesuffix("\r") for line in lines if line.strip())]
    if not texts:
        raise UsageError("no text was given", "neither --text nor --data names one", 'add --text "…"')
    if config.batch_size < 1:
        raise UsageError(f"batch_size = {config.batch_size}", "it must be 1 or more", "set --batch-size 1 or more")
    model = config.load()
    vectors = model.embed(
        texts,
        pooling=config.pooling,
        normalize=config.normalize,
        truncate=config.truncate,
        batch_size=config.batch_size,
    )
    units = vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    similarities = (units @ units.T).tolist()
    result = {"texts": texts, "dimensions": vectors.shape[1], "vectors": vectors.tolist(), "similarities": similarities}
    print_result(result, config.json, _table(texts, vectors.tolist(), similarities))
    return 0


def _table(texts: list[str], vectors: list[list[float]], similarities: list[list[float]]) -> list[str]:
    width = len(vectors[0])
    dots = f" … ({width} numbers; --json prints them all)" if width > _SHOWN_NUMBERS else ""
    lines = []
    for number, (text, vector) in enumerate(zip(texts, vectors, strict=True), start=1):
        shown = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
        lines.append(f"{number:3}  {shown}")
        lines.append("     " + " ".join(f"{value:9.6f}" for value in vector[:_SHOWN_NUMBERS]) + dots)
    if 1 < len(texts) <= _SHOWN_TEXTS:
        lines += ["", "cosine", "     " + " ".join(f"{number:7}" for number in range(1, len(texts) + 1))]
        lines += [
            f"{number:3}  " + " ".join(f"{value:7.4f}" for value in row)
            for number, row in enumerate(similarities, start=1)
        ]
    return lines
