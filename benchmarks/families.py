"""Every family, pre-trained on one text for the same processor time: what has it learned?

    python benchmarks/families.py --data bronte.txt --out runs/families-en gpt2-mini lstm-mini bert-mini t5-mini

Each model is trained by `seodang pretrain`'s own recipe with its defaults: the family's objective, its vocabulary
learned from the text, hyper-parameters. `--minutes` are of processor time on one thread, so that other work on the
machine does not shorten a run. A folder stands for its sizes and its vocabulary, with fresh weights. A finished model
in --out is not trained again. Prints one JSON row a model: held-out figures, those of a guesser who knows only how
often each token occurs (`baseline`), tokens seen.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from seodang.checkpoints.huggingface import read_config, read_tokenizer
from seodang.data.readers import read_documents
from seodang.models.cost import n_parameters
from seodang.recipes.config import PretrainConfig
from seodang.recipes.pretrain import pretrain
from seodang.training import trainer

RESULT = "learned.json"


def learn(
    model: str,
    data: list[Path],
    out: Path,
    minutes: float,
    seed: int = 0,
    batch_tokens: int | None = None,
    tokenizer: str | None = None,
    vocab_size: int | None = None,
    max_length: int = 256,
) -> dict[str, Any]:
    """Train one model and say what it knows."""
    folder = out / Path(model).name
    if (folder / RESULT).is_file():
        return json.loads((folder / RESULT).read_text(encoding="utf-8"))
    before = time.process_time()
    result = pretrain(
        PretrainConfig(
            model=model, data=tuple(data), out=folder, minutes=minutes, seed=seed, batch_tokens=batch_tokens,
            tokenizer=tokenizer, vocab_size=vocab_size, from_scratch=Path(model).is_dir(), max_length=max_length,
            quiet=True, compile="off", eval_every=10**9, resume=folder.exists(),
        )  # fmt: skip
    )
    used = read_tokenizer(folder)
    assert used is not None
    row = {
        "model": model,
        "parameters": n_parameters(read_config(folder)),
        "vocabulary": used.vocab_size,
        "processor_seconds": round(time.process_time() - before, 1),
        "steps": result.summary.steps,
        "tokens": result.summary.tokens,
        "evaluation": result.to_dict()["evaluation"],
        "baseline": baseline(used, data),
    }
    (folder / RESULT).write_text(json.dumps(row) + "\n", encoding="utf-8")
    return row


def baseline(tokenizer: Any, data: list[Path]) -> dict[str, float]:
    """Of a guesser who knows how often each token occurs in the text: bits a byte, the share of the most frequent."""
    counts: Counter[int] = Counter()
    n_bytes = 0
    for document in read_documents(data):
        counts.update(tokenizer.encode(document.text))
        n_bytes += len(document.text.encode("utf-8"))
    total = counts.total()
    bits = -sum(count * math.log2(count / total) for count in counts.values())
    nats = bits * math.log(2) / total
    return {"bits_per_byte": bits / n_bytes, "nats_per_token": nats, "accuracy": max(counts.values()) / total}


def main() -> None:
    """Train what the command line names, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", nargs="+", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--tokenizer", help="a folder; learned from the text when not given")
    parser.add_argument("--vocab-size", type=int)
    parser.add_argument("--max-length", type=int, default=256, help="tokens of a row; 32 for encoders")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    trainer.time = SimpleNamespace(monotonic=time.process_time)  # type: ignore[attr-defined]
    for model in options.models:
        row = learn(
            model, options.data, options.out, options.minutes, options.seed, options.batch_tokens, options.tokenizer,
            options.vocab_size, options.max_length,
        )
        print(json.dumps(row), flush=True)
        print(f"{model}: done", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
