"""Six steps of two processes, three of them again from a checkpoint: `torchrun … -m tests.training.two_ranks OUT`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch

from seodang.training.parallel import Ranks, join_ranks
from tests.training.helpers import CPU
from tests.training.run_for_kill import CountingLoader, build


class HalfLoader(CountingLoader):
    """Each rank takes every second micro-batch; the first one has one more, so the ranks draw unlike often."""

    rank = 0

    def __iter__(self):  # type: ignore[no-untyped-def]
        for micro_batches in super().__iter__():
            yield micro_batches[:3] if self.rank == 0 else micro_batches[3:]


def fit(out: Path, ranks: Ranks) -> None:
    """Six steps, or what is left of them."""
    loader = HalfLoader()
    loader.rank = ranks.rank
    build(out, 6, save_every=3, loader=loader, ranks=ranks).fit()
    ranks.barrier()


if __name__ == "__main__":
    torch.set_num_threads(1)
    ranks, whole, broken = join_ranks(CPU), Path(sys.argv[1]) / "whole", Path(sys.argv[1]) / "broken"
    fit(whole, ranks)
    if ranks.speaks:
        shutil.copytree(whole, broken)
        shutil.rmtree(broken / "checkpoints" / "step-00000006")
    ranks.barrier()
    fit(broken, ranks)
    torch.distributed.destroy_process_group()
