"""Time until Tiny Shakespeare's validation part costs 2.71 bits per byte (1.88 nats a character): ours ÷ nanoGPT's.

    git clone https://github.com/karpathy/nanoGPT ../nanoGPT
    python benchmarks/time_to_loss.py ../nanoGPT input.txt

nanoGPT's side is its own train.py with the command its README gives for a computer without a GPU: 4 layers, 4 heads,
128 wide, blocks of 64, 12 rows, 2,000 steps, no dropout, no compile. Its time is that of the first estimate (20
batches, every 250 steps) at or below the target, or of the whole run when none is: that run is the published result.
Ours has the same number of parameters within 2 %, the same 90 % of the characters to learn from, and is measured on
the whole of the other 10 % every --eval-every steps; how long it trains, and on what batches, is in the options.
Neither time contains evaluation or reading the data; compiling, where asked for, is in ours. Smaller is better.
"""

from __future__ import annotations

import math
import pickle
import re
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

from side_by_side import alone, arguments, our_trainer, report, settle, summary

TARGET = 2.71
NANOGPT_PARAMETERS = 804_096
"""Of that run's model, positions included."""

COMMAND = (
    "train.py config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --log_interval=1 "
    "--block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 "
    "--dropout=0.0"
)


def nanogpt(folder: str, corpus: str, target: float) -> dict[str, float]:
    """nanoGPT's run in a folder of its own: seconds without evaluation, and the estimate reached, in bits per byte."""
    import numpy as np

    text = Path(corpus).read_text("utf-8")
    letters = sorted(set(text))
    ids = np.array([letters.index(letter) for letter in text], dtype=np.uint16)
    cut = int(0.9 * len(text))
    with tempfile.TemporaryDirectory() as place:
        for item in Path(folder).resolve().iterdir():
            if item.name not in ("data", ".git"):
                (Path(place) / item.name).symlink_to(item)
        data = Path(place) / "data" / "shakespeare_char"
        data.mkdir(parents=True)
        ids[:cut].tofile(data / "train.bin")
        ids[cut:].tofile(data / "val.bin")
        (data / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": len(letters)}))  # train.py reads the size here
        to_bits = len(text) / len(text.encode("utf-8")) / math.log(2)
        return _watch([sys.executable, "-u", *COMMAND.split()], place, target, to_bits)


def _watch(command: list[str], place: str, target: float, to_bits: float) -> dict[str, float]:
    """Follow train.py's output. An iteration's line ends its work; the estimate's line that follows ends evaluation."""
    process = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
    assert process.stdout is not None
    seconds, last, best = 0.0, None, math.inf
    for line in process.stdout:
        now = time.perf_counter()
        if match := re.match(r"step \d+: train loss [\d.]+, val loss ([\d.]+)", line):
            best = min(best, float(match[1]) * to_bits)
            last = now
            if best <= target:
                process.terminate()
                break
        elif line.startswith("iter ") and last is not None:
            seconds += now - last
            last = now
    process.wait()
    if best == math.inf:
        raise SystemExit("nanoGPT's train.py ended before its first estimate")
    return {"seconds": seconds, "bits_per_byte": best}


def our_run(corpus: str, options: Namespace) -> dict[str, float]:
    """Our run: seconds without evaluation, the first step's start-up and any compiling included; bits per byte."""
    settle()
    import torch

    from seodang.data.loader import PretrainLoader, evaluation_batches
    from seodang.data.shards import build_shards
    from seodang.models.config import ModelConfig
    from seodang.models.cost import n_parameters
    from seodang.models.families import build_model
    from seodang.objectives.language import LanguageModelling
    from seodang.text.train import train_tokenizer
    from seodang.training.machine import choose_dtype
    from seodang.training.schedule import Schedule
    from seodang.training.step import StepResult, autocast

    text = Path(corpus).read_text("utf-8")
    cut = int(0.9 * len(text))
    with tempfile.TemporaryDirectory() as place:
        parts = []
        for name, part in (("train", text[:cut]), ("validation", text[cut:])):
            (Path(place) / f"{name}.txt").write_text(part, "utf-8")
            parts.append(Path(place) / f"{name}.txt")
        tokenizer = train_tokenizer(iter([text[:cut]]), options.vocabulary, options.vocab_size, nfc=False, min_count=1)
        train, held_out = (build_shards(part, tokenizer, Path(place) / f"{part.stem}-shards") for part in parts)
        config = ModelConfig(
            family=options.family, vocab_size=tokenizer.vocab_size, context_length=options.length,
            d_model=options.width, n_layers=options.layers, n_heads=options.heads, d_ff=options.d_ff,
        )  # fmt: skip
        model = build_model(config)
        model.init_weights(torch.Generator().manual_seed(options.seed), zero_residual=options.zero_init)
        dtype = choose_dtype(options.dtype, torch.device("cpu"))
        schedule = Schedule(kind=options.schedule, peak=options.lr, warmup=options.warm, min_ratio=options.min_ratio)
        train_on = our_trainer(
            model, options.rows, options.length, options.compile, lr=options.lr, weight_decay=options.weight_decay,
            betas=(0.9, options.beta2), dtype=options.dtype, kind=options.optimizer, muon_lr=options.muon_lr,
        )  # fmt: skip
        loader = PretrainLoader(
            train, tokens_per_step=options.rows * options.length, context_length=options.length,
            micro_batch_size=options.rows, seed=options.seed,
        )  # fmt: skip
        batches = list(evaluation_batches(held_out, options.length, 32))

        def bits_per_byte() -> float:
            seen, objective = StepResult(), LanguageModelling()
            model.eval()
            with torch.no_grad(), autocast(torch.device("cpu"), dtype):
                for batch in batches:
                    seen.add(objective(model, batch), batch)
            model.train()
            return seen.bits_per_byte

        print(f"ours: {n_parameters(config):,} parameters, vocabulary {config.vocab_size}", file=sys.stderr)
        if abs(n_parameters(config) / NANOGPT_PARAMETERS - 1) > 0.02:
            print(f"ours: not the same size, nanoGPT has {NANOGPT_PARAMETERS:,}", file=sys.stderr)
        seconds, step, bits = 0.0, 0, math.inf
        while step < options.steps and bits > options.target:
            start = time.perf_counter()
            for _ in range(min(options.eval_every, options.steps - step)):
                step += 1
                train_on(loader.next_step(), schedule.learning_rate(step / options.steps))
            seconds += time.perf_counter() - start
            bits = bits_per_byte()
            print(f"ours: step {step}, {seconds:.1f} s, {bits:.3f} bits per byte", file=sys.stderr)
    return {"seconds": seconds, "bits_per_byte": bits}


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("folder", metavar="NANOGPT_PATH", help="a clone of nanoGPT")
    parser.add_argument("corpus", metavar="CORPUS", help="Tiny Shakespeare, input.txt")
    parser.add_argument("--target", type=float, default=TARGET, help="bits per byte (default 2.71)")
    add = parser.add_argument_group("our run").add_argument
    add("--family", default="gpt2")
    add("--layers", type=int, default=4)
    add("--width", type=int, default=128)
    add("--heads", type=int, default=4)
    add("--d-ff", type=int, default=0, help="0: 4 times the width")
    add("--vocabulary", choices=("char", "bpe"), default="char")
    add("--vocab-size", type=int, default=512, help="at most so many entries")
    add("--length", type=int, default=64, help="context in tokens")
    add("--rows", type=int, default=24, help="of a step")
    add("--steps", type=int, default=300, help="the schedule's length")
    add("--eval-every", type=int, default=25)
    add("--optimizer", choices=("adamw", "muon"), default="muon")
    add("--lr", type=float, default=2e-2)
    add("--muon-lr", type=float, help="of the matrices, --lr by default")
    add("--zero-init", action="store_true", help="output projections begin at zero")
    add("--schedule", choices=("cosine", "linear", "constant", "wsd"), default="linear")
    add("--warm", type=float, default=0.05, help="share of the run")
    add("--min-ratio", type=float, default=0.0)
    add("--weight-decay", type=float, default=0.1)
    add("--beta2", type=float, default=0.99)
    add("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    add("--seed", type=int, default=0)
    add("--only-ours", action="store_true", help="to try settings")
    options = parser.parse_args()
    times: dict[str, list[float]] = {"ours": []} | ({} if options.only_ours else {"nanoGPT": []})
    reached = []
    for number in range(options.rounds):
        ours = alone(our_run, options.corpus, options)
        if ours["bits_per_byte"] > options.target:
            raise SystemExit(f"ours did not reach {options.target} bits per byte in {options.steps} steps")
        times["ours"].append(ours["seconds"])
        if not options.only_ours:
            theirs = nanogpt(options.folder, options.corpus, options.target)
            times["nanoGPT"].append(theirs["seconds"])
            reached.append(theirs["bits_per_byte"])
        print(f"round {number + 1}: {', '.join(f'{n} {t[-1]:.1f} s' for n, t in times.items())}", file=sys.stderr)
    result = summary(times, "s") | {"nanogpt_bits_per_byte": reached}
    report(f"time to {options.target} bits per byte, Tiny Shakespeare", result, options.json)


if __name__ == "__main__":
    main()
