"""A small training run in a process of its own, to be killed: `python -m tests.training.run_for_kill OUT STEPS HOLD`.

Prints one line a step, so that the killer knows how far it is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from seodang.checkpoints.training import newest_checkpoint
from seodang.data.batch import Batch
from seodang.objectives.language import LanguageModelling
from seodang.training.optimizer import build_optimizer
from seodang.training.parallel import Ranks
from seodang.training.schedule import Schedule
from seodang.training.trainer import Plan, Trainer
from tests.training.helpers import CPU, cut, ragged_batch, tiny


class CountingLoader:
    """Step n is a function of n: 4 micro-batches of 2 rows. At step `hold` it waits to be killed."""

    def __init__(self, hold: int = 0) -> None:
        self.step, self.hold, self.micro_batch_size = 0, hold, 2

    def __iter__(self) -> Iterator[list[Batch]]:
        while True:
            self.step += 1
            print("step", self.step, flush=True)
            if self.step == self.hold:
                time.sleep(600)
            yield cut(ragged_batch(seed=self.step), self.micro_batch_size)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]


def build(
    out: Path,
    steps: int,
    save_every: int,
    loader: Any = None,
    ranks: Ranks | None = None,
    model: str = "gpt2-mini",
    objective: Any = None,
    **changes: Any,
) -> Trainer:
    """A trainer of a tiny model with dropout, whose random state matters."""
    network = tiny(model, attention_dropout=0.1, residual_dropout=0.1, embedding_dropout=0.1)
    checkpoint = newest_checkpoint(out)
    if checkpoint is not None:
        network.load_state_dict(load_file(checkpoint / "model.safetensors"))

    def write(folder: Path) -> None:
        save_file(network.state_dict(), folder / "model.safetensors")

    trainer = Trainer(
        model=network,
        objective=objective or LanguageModelling(),
        loader=loader or CountingLoader(),
        optimizer=build_optimizer(network, lr=1e-2, weight_decay=0.1),
        plan=Plan(Schedule(peak=1e-2, warmup=0.1), steps=steps, save_every=save_every, **changes),
        out=out,
        write_model=write,
        device=CPU,
        evaluation=cut(ragged_batch(seed=999), 4),
        ranks=ranks,
        quiet=True,
    )
    torch.manual_seed(7 + (ranks.rank if ranks else 0))
    if checkpoint is not None:
        trainer.resume(checkpoint)
    return trainer


if __name__ == "__main__":
    torch.set_num_threads(1)
    loader = CountingLoader(hold=int(sys.argv[3]))
    summary = build(Path(sys.argv[1]), int(sys.argv[2]), save_every=1, loader=loader).fit()
    print("interrupted" if summary.interrupted else "done", flush=True)
