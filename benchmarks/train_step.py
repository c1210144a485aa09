"""Tokens a second of one training step, and how far that is from this machine's matrix products.

    python benchmarks/train_step.py gpt2-primer --rows 4
    python benchmarks/train_step.py gpt2 --rows 2 --length 512 --accumulate 4
    python benchmarks/train_step.py gpt2-mini --rows 16 --give-memory-back     # without keep_freed_memory
    GOMP_SPINCOUNT=300000 python benchmarks/train_step.py gpt2-primer --rows 4

Random tokens, AdamW, the chunked loss; medians of --steps steps after two that are not counted. The matrix products
(2,048 squared) are timed before and after every step, so that a machine that slows down does so for both.
Compare runs made one after the other on a quiet machine, as ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from seodang.data.batch import Batch
from seodang.models.cost import n_parameters, training_flops_per_token
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.objectives.language import LanguageModelling
from seodang.training.machine import choose_dtype, keep_freed_memory, matmul_flops_per_second
from seodang.training.optimizer import build_optimizer
from seodang.training.step import train_step


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a published size, or one of ours")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=256, help="tokens of a row")
    parser.add_argument("--document", type=int, default=0, help="cut rows into documents of so many tokens")
    parser.add_argument("--accumulate", type=int, default=1, help="micro-batches of a step")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--give-memory-back", action="store_true")
    options = parser.parse_args()
    if not options.give_memory_back:
        keep_freed_memory()
    device = torch.device("cpu")
    dtype = choose_dtype(options.dtype, device)
    config = published(options.model).with_dropout(options.dropout)
    model = build_model(config)
    model.init_weights(torch.Generator().manual_seed(0))
    optimizer = build_optimizer(model, lr=1e-3, weight_decay=0.1)
    ids = torch.randint(0, config.vocab_size, (options.rows, options.length + 1))
    documents = None
    if options.document:
        documents = (torch.arange(options.length) // options.document).expand(options.rows, -1).contiguous()
    batch = Batch(ids[:, :-1], ids[:, 1:], documents=documents)
    batches = [batch] * options.accumulate
    tokens = batch.ids.numel() * options.accumulate
    work = training_flops_per_token(config, options.length) * tokens
    rates, peaks, shares = [], [], []
    for turn in range(options.steps + 2):
        before = matmul_flops_per_second(device, dtype)
        start = time.perf_counter()
        train_step(model, LanguageModelling(), batches, optimizer, lr=1e-3, grad_clip=1.0, device=device, dtype=dtype)
        seconds = time.perf_counter() - start
        if turn >= 2:
            peaks.append((before + matmul_flops_per_second(device, dtype)) / 2)
            rates.append(tokens / seconds)
            shares.append(work / seconds / peaks[-1])
    print(
        f"{options.model} ({n_parameters(config):,} parameters), {options.accumulate} x {options.rows} x "
        f"{options.length}, {dtype}, {torch.get_num_threads()} threads: {statistics.median(rates):,.0f} tokens/s "
        f"(best {max(rates):,.0f}), {statistics.median(shares):.0%} of {statistics.median(peaks) / 1e9:.0f} GFLOP/s "
        f"(best {max(shares):.0%})"
    )


if __name__ == "__main__":
    main()
