"""A tiny model, batches of it, and one step over them."""

from __future__ import annotations

import torch

from seodang.data.batch import Batch
from seodang.models.base import Model
from seodang.models.families import build_model
from seodang.models.sizes import SIZES, published
from seodang.objectives.language import LanguageModelling
from seodang.training.optimizer import build_optimizer
from seodang.training.parallel import Ranks
from seodang.training.step import StepResult, train_step

CPU = torch.device("cpu")


def mini_of(family: str) -> str:
    """The name of a family's smallest size."""
    return next(name for name, config in SIZES.items() if name.endswith("-mini") and config.family == family)


def tiny(name: str = "gpt2-mini", seed: int = 0, **changes: object) -> Model:
    """A 16-wide model of two layers."""
    sizes = {"vocab_size": 40, "context_length": 16, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_head": 8}
    usual = published(name)
    if usual.n_kv_heads < usual.n_heads:
        sizes |= {"n_kv_heads": 1, "d_ff": 24}
    else:
        sizes |= {"n_kv_heads": 2, "d_ff": 32}
    if usual.window:
        sizes["window"] = 5
    if usual.d_embed:
        sizes["d_embed"] = 12
    if name == "textgenrnn":  # d_model = d_embed + 2 · d_ff
        sizes |= {"d_embed": 4, "d_ff": 6}
    model = build_model(published(name, **{**sizes, **changes}))
    model.init_weights(torch.Generator().manual_seed(seed))
    return model


def ragged_batch(rows: int = 8, length: int = 12, seed: int = 0) -> Batch:
    """Rows with different numbers of targets."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 40, (rows, length), generator=generator)
    targets = ids.roll(-1, dims=1)
    for row in range(rows):
        targets[row, 1 + row % length :] = -100
    return Batch(ids, targets)


def cut(batch: Batch, rows: int) -> list[Batch]:
    """The batch as micro-batches of `rows` rows."""
    return [
        Batch(batch.ids[i : i + rows], batch.targets[i : i + rows]) for i in range(0, batch.ids.shape[0], rows)
    ]


def one_step(
    model: Model, micro_batches: list[Batch], dtype: torch.dtype = torch.float32, ranks: Ranks | None = None
) -> StepResult:
    """One AdamW step, unclipped, at a rate of 0.01; gradients stay in place to be looked at."""
    optimizer = build_optimizer(model, lr=0.01, weight_decay=0.1)
    return train_step(
        model, LanguageModelling(), micro_batches, optimizer, lr=0.01, grad_clip=0, device=CPU, dtype=dtype, ranks=ranks
    )
