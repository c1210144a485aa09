"""What `families.py` found, as the tables of docs/families.md.

    python benchmarks/families_table.py --first runs/en runs/en-short --second runs/ko runs/ko-short

Each folder holds models with their learned.json; those of --first are of one text, those of --second of another.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]

RECURRENT = ["rnn", "lstm", "gru"]
DECODERS = ["gpt1", "gpt2", "gpt3", "neox", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"]
SEQ2SEQ = ["transformer", "bart", "t5", "seq2seq", "seq2seq-bahdanau", "seq2seq-luong"]
MASKED = ["bert-tiny", "roberta-mini", "albert-mini", "electra-mini"]


def read(folders: list[Path]) -> dict[str, Row]:
    """Model → what it learned; of a model in several folders the last."""
    files = [path for folder in folders for path in sorted(folder.glob("*/learned.json"))]
    return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in files}


def causal(row: Row | None) -> str:
    """Held-out bits per byte, tokens read."""
    return "–" if row is None else f"{row['evaluation']['bits_per_byte']:.3f} ({row['tokens'] / 1e6:.1f} M)"


def seq2seq(row: Row | None) -> str:
    """Nats a target token and the share guessed, each with that of frequencies alone; tokens read."""
    if row is None:
        return "–"
    found, base = row["evaluation"], row["baseline"]
    nats = f"{found['loss_per_token']:.2f} ({base['nats_per_token']:.2f})"
    return f"{nats}, {found['token_accuracy']:.1%} ({base['accuracy']:.1%}); {row['tokens'] / 1e6:.1f} M"


def masked(row: Row | None) -> str:
    """The same of masked tokens; the other objective of a family's pre-training beside it."""
    if row is None:
        return "–"
    found, base = row["evaluation"], row["baseline"]
    nats = found.get("masked_loss", found.get("generator_loss", found["loss_per_token"]))
    parts = [f"{nats:.2f} ({base['nats_per_token']:.2f}), {found['masked_accuracy']:.1%} ({base['accuracy']:.1%})"]
    for name, what in (("next_sentence", "next sentence"), ("sentence_order", "order")):
        if f"{name}_accuracy" in found:
            parts.append(f"{what} {found[f'{name}_accuracy']:.1%} (50 %)")
    if "replaced_accuracy" in found:
        right, same = found["replaced_accuracy"], 1 - found["replaced_share"]
        parts.append(f"replaced or not {right:.1%} ({same:.1%}), {found['replaced_recall']:.0%} found")
    return "; ".join([*parts, f"{row['tokens'] / 1e6:.1f} M"])


def table(names: list[str], first: dict[str, Row], second: dict[str, Row], said: Any) -> list[str]:
    """Rows of the models that were run."""
    lines = []
    for name in names:
        one, other = first.get(name), second.get(name)
        if one or other:
            some = one or other
            assert some is not None
            size = f"{some['parameters'] / 1e6:.2f} M"
            lines.append(f"| {name} | {size} | {said(one)} | {said(other)} |".replace("%", " %").replace("  %", " %"))
    return lines


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", nargs="+", type=Path, required=True)
    parser.add_argument("--second", nargs="+", type=Path, required=True)
    options = parser.parse_args()
    first, second = read(options.first), read(options.second)
    for names, said in (
        ([f"{name}-mini" for name in RECURRENT + DECODERS], causal),
        ([f"{name}-mini" for name in SEQ2SEQ], seq2seq),
        (MASKED, masked),
    ):
        print("\n".join([*table(names, first, second, said), ""]))


if __name__ == "__main__":
    main()
