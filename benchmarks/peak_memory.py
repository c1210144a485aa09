"""Peak memory of full fine-tuning, SmolLM2-135M: ours ÷ `transformers`.

    python benchmarks/peak_memory.py
    python benchmarks/peak_memory.py --bf16        # transformers under bf16 autocast
    python benchmarks/peak_memory.py --checkpoint-activations selective --optimizer-state bfloat16

The most memory a fresh process ever held (VmHWM of Linux, nothing subtracted) from its start through --steps training
steps of --rows × --length random tokens; the sides by turns. AdamW on both, transformers with its Trainer's step.
"""

from __future__ import annotations

import sys

from against_transformers import trainer_step
from side_by_side import Side, Work, alone, arguments, our_trainer, random_rows, report, settle, summary
from smollm2 import smollm2_folder

VOCABULARY = 49152


def transformers_tuning(folder: str, rows: int, length: int, bf16: bool) -> Work:
    """transformers' training step."""
    import torch
    from transformers import AutoModelForCausalLM

    step = trainer_step(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), bf16)
    batches = iter(random_rows(VOCABULARY, rows, length, 64))

    def work() -> int:
        ids = next(batches)[:, :-1].contiguous()
        step({"input_ids": ids, "labels": ids})
        return ids.numel()

    return work


def our_tuning(folder: str, rows: int, length: int, compile: bool, activations: str, states: str) -> Work:
    """Our training step, with a run's --checkpoint-activations and --optimizer-state."""
    settle()
    from seodang.checkpoints.resolve import load_model
    from seodang.data.batch import Batch
    from seodang.training.activations import checkpoint_activations

    model = load_model(folder).model
    checkpoint_activations(model, activations)  # type: ignore[arg-type]
    step = our_trainer(model, rows, length, compile, states=states)
    batches = iter(random_rows(VOCABULARY, rows, length, 64))

    def work() -> int:
        ids = next(batches)
        return step([Batch(ids[:, :-1], ids[:, 1:])]).n_tokens

    return work


def peak_of(side: Side, steps: int) -> int:
    """Bytes that this process held at most when it has made the side ready and taken `steps` steps."""
    work = side.make(*side.arguments)
    for _ in range(steps):
        work()
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="transformers under bf16 autocast")
    parser.add_argument("--checkpoint-activations", choices=("none", "selective", "blocks"), default="none")
    parser.add_argument("--optimizer-state", choices=("float32", "bfloat16", "8bit"), default="float32")
    options = parser.parse_args()
    peaks: dict[str, list[float]] = {}
    with smollm2_folder() as folder:
        size = (folder, options.rows, options.length)
        theirs = "transformers, bf16" if options.bf16 else "transformers"
        kept = (options.checkpoint_activations, options.optimizer_state)
        ours = Side("ours", our_tuning, (*size, options.compile, *kept))
        sides = [ours, Side(theirs, transformers_tuning, (*size, options.bf16))]
        for number in range(options.rounds):
            for side in sides:
                peaks.setdefault(side.name, []).append(alone(peak_of, side, options.steps) / 1e9)
            print(f"round {number + 1}: {', '.join(f'{n} {p[-1]:.2f} GB' for n, p in peaks.items())}", file=sys.stderr)
    report(f"peak memory, SmolLM2-135M, {options.rows} x {options.length}", summary(peaks, "GB"), options.json)


if __name__ == "__main__":
    main()
