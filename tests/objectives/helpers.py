"""Small models with the interfaces that the objectives ask for, and batches for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from seodang.data.batch import Batch

V, D = 23, 8


class Bag(nn.Module):
    """An encoder: each state is a token's vector and the mean of its row's real tokens."""

    def __init__(self, seed: int = 0, vocab_size: int = V) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.config = SimpleNamespace(logit_softcap=None)
        self.embed, self.segments = nn.Embedding(vocab_size, D), nn.Embedding(2, D)
        self.transform, self.sentence, self.detect = nn.Linear(D, D), nn.Linear(D, 2), nn.Linear(D, 1)
        self.output_bias = nn.Parameter(torch.randn(vocab_size) / 4)

    @property
    def output_weight(self) -> Tensor:
        return self.embed.weight

    def forward(self, ids: Tensor, *, segments: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
        x = self.embed(ids) + (0 if segments is None else self.segments(segments))
        real = torch.ones_like(ids) if documents is None else (documents >= 0).long()
        mean = (x * real[..., None]).sum(dim=1) / real.sum(dim=1)[:, None]
        return torch.tanh(x + mean[:, None])

    def to_output(self, hidden: Tensor) -> Tensor:
        return torch.tanh(self.transform(hidden))

    def logits(self, hidden: Tensor) -> Tensor:
        """All of them, for the plain formulas."""
        return self.to_output(hidden) @ self.output_weight.T + self.output_bias

    def sentence_logits(self, hidden: Tensor) -> Tensor:
        return self.sentence(hidden[:, 0])

    def replaced_logits(self, hidden: Tensor) -> Tensor:
        return self.detect(hidden)[..., 0]


class Electra(Bag):
    """A discriminator that owns its generator."""

    def __init__(self) -> None:
        super().__init__(seed=1)
        self.generator = Bag(seed=2)

    def generator_states(self, ids: Tensor, **context: Tensor | None) -> Tensor:
        return self.generator(ids, **context)


class Pair(Bag):
    """An encoder-decoder: a target's state is the source's mean and the mean of the tokens so far."""

    def encode(self, ids: Tensor, *, documents: Tensor | None = None) -> Tensor:
        return super().forward(ids, documents=documents)[:, 0]

    def forward(self, ids: Tensor, *, memory: Any = None, **_: Any) -> Tensor:  # type: ignore[override]
        x = self.embed(ids)
        so_far = x.cumsum(dim=1) / torch.arange(1, ids.shape[1] + 1)[:, None]
        return torch.tanh(x + so_far + memory[:, None])


def _rows(n: int, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
    """Ids and documents of rows of different lengths."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, V, (n, length), generator=generator)
    documents = torch.where(torch.arange(length) < torch.arange(3, 3 + n)[:, None], 0, -1)
    return ids.masked_fill(documents < 0, 0), documents, generator


def batch_of_masks(n: int = 6, length: int = 9) -> Batch:
    """Rows of different lengths, about a third of their tokens masked (id 3)."""
    ids, documents, generator = _rows(n, length)
    chosen = (torch.rand(n, length, generator=generator) < 0.35) & (documents >= 0)
    draws = torch.rand(n, length, generator=generator, dtype=torch.float64)
    targets = torch.where(chosen, ids, -100)
    return Batch(ids.masked_fill(chosen, 3), targets, documents, n_bytes=11, draws=draws)


def batch_of_pairs(n: int = 6, length: int = 9) -> Batch:
    """The same with segments and labels."""
    batch = batch_of_masks(n, length)
    segments = (torch.arange(length) > 2).long().expand(n, length)
    return Batch(
        batch.ids, batch.targets, batch.documents, segments=segments, labels=torch.arange(n) % 2, n_bytes=11
    )


def batch_of_targets(n: int = 6, length: int = 7) -> Batch:
    """Sources and targets of different lengths."""
    ids, documents, _ = _rows(n, length)
    wanted = ids.flip(0)
    targets = wanted.masked_fill(wanted == 0, -100)
    decoder_ids = torch.cat([torch.ones(n, 1, dtype=torch.long), wanted[:, :-1]], dim=1)
    return Batch(ids, targets, documents, decoder_ids=decoder_ids, n_bytes=11)
