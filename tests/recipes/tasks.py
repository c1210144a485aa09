"""Toy tasks of every kind, which a tiny model learns in seconds, and the models that learn them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from seodang.checkpoints.huggingface import save_folder
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.text.train import train_tokenizer

ANIMALS, FRUITS = ("cat", "dog", "cow", "hen"), ("fig", "pear", "plum", "lime")
THINGS = {**dict.fromkeys(ANIMALS, "animal"), **dict.fromkeys(FRUITS, "fruit")}
KINDS = ("classify", "entail", "similar", "choice", "regress")
MODELS = {"decoder": "gpt2-mini", "encoder": "bert-tiny", "lstm": "lstm-mini"}


def row(kind: str, draw: random.Random) -> dict[str, Any]:
    """One example: its kind of thing; whether it is a fruit and somebody is hungry; whether both are fruits; which of
    three is one; how many of three are. A pair's answer is in neither text alone, and half of all pairs are right."""
    a, b = draw.choice(list(THINGS)), draw.choice(list(THINGS))
    if kind == "classify":
        return {"text": f"look, a {a} is there", "label": THINGS[a]}
    if kind == "entail":
        hungry = draw.choice([True, True, False]) if a in FRUITS else draw.choice([True, False])
        premise = f"somebody is {'hungry' if hungry else 'full'}"
        return {"premise": premise, "hypothesis": f"here is a {a}", "label": str(hungry and a in FRUITS)}
    if kind == "similar":
        if draw.random() < 1 / 3:
            a, b = draw.choice(FRUITS), draw.choice(FRUITS)
        return {"text1": f"a {a}", "text2": f"a {b}", "label": "yes" if {a, b} <= set(FRUITS) else "no"}
    if kind == "choice":
        answers = [*draw.sample(ANIMALS, 2), draw.choice(FRUITS)]
        draw.shuffle(answers)
        right = next(place for place, answer in enumerate(answers) if answer in FRUITS)
        return {"context": "somebody is hungry", "question": "what to eat?", "answers": answers, "label": right}
    words = [draw.choice(list(THINGS)) for _ in range(3)]
    return {"text": " and ".join(words), "label": float(sum(word in FRUITS for word in words))}


def rows(kind: str, n: int, seed: int) -> list[dict[str, Any]]:
    """`n` examples, always the same."""
    draw = random.Random(f"{kind} {seed}")
    return [row(kind, draw) for _ in range(n)]


def write(path: Path, examples: list[dict[str, Any]]) -> Path:
    """Examples as a jsonl file."""
    path.write_text("".join(json.dumps(example) + "\n" for example in examples), encoding="utf-8")
    return path


def texts() -> Iterator[str]:
    """All words that the tasks use, often."""
    for kind in KINDS:
        for example in rows(kind, 60, 9):
            parts = [part for value in example.values() for part in (value if isinstance(value, list) else [value])]
            yield " ".join(part for part in parts if isinstance(part, str))


def base_model(folder: Path, which: str, **changes: Any) -> Path:
    """A folder of a small model with fresh weights and a vocabulary of the tasks' words."""
    name = MODELS[which]
    tokenizer = train_tokenizer(texts(), vocab_size=420, style="bert" if which == "encoder" else "gpt")
    config = replace(published(name), vocab_size=tokenizer.vocab_size, context_length=32, **changes)
    if which != "lstm":
        config = replace(config, d_model=64, n_layers=2, n_heads=4, n_kv_heads=4, d_head=16, d_ff=256)
    model = build_model(config.with_dropout(0))
    model.init_weights(torch.Generator().manual_seed(0))
    save_folder(folder, model, tokenizer)
    return folder
