"""A tiny model trained in every arrangement of processes: `torchrun … -m tests.training.many_ranks OUT SCENARIO…`.

Each scenario is a run in OUT/NAME of a grid of ranks, from its beginning or from a copy of another run's checkpoint.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from seodang.checkpoints.huggingface import load_folder, model_tensors, write_model
from seodang.checkpoints.sharded import is_sharded
from seodang.checkpoints.training import newest_checkpoint
from seodang.checkpoints.weights import fill
from seodang.models.families import build_model
from seodang.objectives.language import LanguageModelling
from seodang.recipes.compiling import compiled
from seodang.recipes.plan import Machine
from seodang.training.optimizer import build_optimizer
from seodang.training.parallel import Ranks, Shard, join_ranks
from seodang.training.schedule import Schedule
from seodang.training.sharding import load_model_shards, shard_model
from seodang.training.trainer import Plan, Trainer
from tests.training.helpers import CPU, cut, ragged_batch, tiny
from tests.training.run_for_kill import CountingLoader

STEPS, HALF = 20, 10


@dataclass(frozen=True)
class Scenario:
    """One run."""

    name: str
    model: str = "gpt2-mini"
    tied: bool = True
    shard: Shard = "none"
    shard_size: int | None = None
    tensor_parallel: int = 1
    optimizer: str = "adamw"
    states: str = "float32"
    compiled: bool = False
    """The forward pass that tries the compiler out precedes training; nothing is compiled."""
    begun_by: str = ""
    """The run whose checkpoint of step HALF is taken up."""


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("ddp"),
        Scenario("full", shard="full"),
        Scenario("full-untied", shard="full", tied=False),
        Scenario("tensor", "llama-mini", tensor_parallel=2),
        Scenario("tensor-untied", "llama-mini", tensor_parallel=2, tied=False),
        Scenario("tensor-biases", "gpt3-mini", tensor_parallel=2),
        Scenario("muon", shard="full", optimizer="muon", states="8bit"),
        Scenario("compiled", shard="full", compiled=True),
        Scenario("hybrid", shard="hybrid", shard_size=2),
        Scenario("tensor-full", "llama-mini", tensor_parallel=2, shard="full"),
        Scenario("full-then-ddp", begun_by="full"),
        Scenario("ddp-then-full", shard="full", begun_by="ddp"),
        Scenario("full-then-hybrid", shard="hybrid", shard_size=2, begun_by="full"),
        Scenario("tensor-then-full", "llama-mini", shard="full", begun_by="tensor"),
        Scenario("muon-then-ddp", optimizer="muon", states="8bit", begun_by="muon"),
        Scenario("one-then-full", shard="full", begun_by="one"),
    )
}


class SharedLoader(CountingLoader):
    """Step n is 5 rows, one a micro-batch, dealt to the ranks: of two, one has three and the other two."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    def __iter__(self):  # type: ignore[no-untyped-def]
        while True:
            self.step += 1
            yield cut(ragged_batch(rows=5, seed=self.step), 1)[self.ranks.data_rank :: self.ranks.data_size]


def build(out: Path, scenario: Scenario, ranks: Ranks) -> Trainer:
    """The trainer of a scenario, at its beginning or at its newest checkpoint."""
    start = tiny(scenario.model, tied=scenario.tied, **({"n_kv_heads": 2} if "llama" in scenario.model else {}))
    checkpoint = newest_checkpoint(out)
    if ranks.shards:
        model = build_model(start.config, "meta")
        shard_model(model, ranks)
        model.to_empty(device=CPU)
        if checkpoint is not None and is_sharded(checkpoint):
            load_model_shards(checkpoint, model)
        else:
            weights = model_tensors(checkpoint)[1] if checkpoint is not None else start.state_dict().items()
            fill(model, weights, origin="the test")
    else:
        model = start if checkpoint is None else load_folder(checkpoint)[0]
    if scenario.compiled:
        model.compile = lambda **options: None  # type: ignore[method-assign]
        model = compiled(model, (2, 8), Machine(CPU, torch.float32, ranks))
    optimizer = build_optimizer(
        model, lr=1e-2, weight_decay=0.1, kind=scenario.optimizer, states=scenario.states, ranks=ranks,  # type: ignore[arg-type]
        dtype=torch.float32,
    )  # fmt: skip
    trainer = Trainer(
        model=model,
        objective=LanguageModelling(),
        loader=SharedLoader(ranks),
        optimizer=optimizer,
        plan=Plan(Schedule(peak=1e-2, warmup=0.1), steps=STEPS, save_every=HALF, eval_every=HALF, grad_clip=0.5),
        out=out,
        write_model=lambda folder: write_model(folder, model, None),
        device=CPU,
        evaluation=cut(ragged_batch(rows=5, seed=999), 2),
        ranks=ranks,
        quiet=True,
    )
    if checkpoint is not None:
        trainer.resume(checkpoint)
    return trainer


def run(out: Path, scenario: Scenario, ranks: Ranks) -> None:
    """Train to the end."""
    if scenario.begun_by and ranks.speaks:
        half = f"step-{HALF:08d}"
        shutil.copytree(out / scenario.begun_by / "checkpoints" / half, out / scenario.name / "checkpoints" / half)
    ranks.barrier()
    build(out / scenario.name, scenario, ranks).fit()
    ranks.barrier()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[2:]:
        chosen = SCENARIOS[name]
        run(Path(sys.argv[1]), chosen, join_ranks(CPU, chosen.shard, chosen.shard_size, chosen.tensor_parallel))
    torch.distributed.destroy_process_group()
