"""Contiguous streams for recurrent models: truncated backpropagation through time (Williams & Peng 1990)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from seodang.data.batch import Batch
from seodang.data.collate import read_windows
from seodang.data.loader import StepLoader, digest, require_tokens
from seodang.data.shards import TokenShards
from seodang.errors import DataError


class StreamLoader(StepLoader):
    """The token stream cut into as many equal streams as a step has rows; step k gives window k of each.

    Row b goes on where row b of the step before ended: its positions say so, as they count on from window to window,
    and a model carries the state of that row on. With
    `document_mask` positions restart at each document, else only where an epoch begins. Every token but the first of
    the text is predicted once per epoch; the seed changes nothing, as a stream has one order. `batch.stream` counts
    this process's rows: rank r has streams r, r + R, ….
    """

    def __init__(
        self,
        shards: TokenShards,
        *,
        tokens_per_step: int,
        context_length: int,
        micro_batch_size: int = 8,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        document_mask: bool = True,
    ) -> None:
        super().__init__(
            tokens_per_step=tokens_per_step,
            context_length=context_length,
            micro_batch_size=micro_batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        require_tokens(shards)
        self.shards, self.document_mask = shards, document_mask
        if shards.n_tokens - 1 < self.rows_per_step:
            raise DataError(
                f"{shards.folder} has {shards.n_tokens} tokens",
                f"a step reads {self.rows_per_step} places of it at once",
                "give more text, or a smaller --batch-tokens",
            )
        self.bounds = np.arange(self.rows_per_step + 1) * (shards.n_tokens - 1) // self.rows_per_step
        self.n_windows = -(-int(np.diff(self.bounds).max()) // context_length)

    @property
    def fingerprint(self) -> str:
        return digest(
            "streams", self.shards.fingerprint, self.context_length, self.rows_per_step, self.seed, self.document_mask
        )

    def rows_in_epoch(self, epoch: int) -> int:
        return self.n_windows * self.rows_per_step

    def make_batch(self, rows: Sequence[tuple[int, int]]) -> Batch:
        epoch, first = rows[0]
        window = first // self.rows_per_step
        streams = [row % self.rows_per_step for _, row in rows]
        spans = []
        for stream in streams:
            begin, end = int(self.bounds[stream]), int(self.bounds[stream + 1])
            start = min(begin + window * self.context_length, end)
            spans.append((begin, start, min(start + self.context_length, end)))
        batch = read_windows(self.shards, spans, self.context_length, self.document_mask)
        return replace(batch, stream=(streams[0] // self.world_size, epoch * self.n_windows + window))


def stream_batches(
    shards: TokenShards,
    context_length: int,
    n_streams: int = 8,
    *,
    document_mask: bool = True,
    max_tokens: int | None = None,
) -> Iterator[Batch]:
    """Every token predicted once, for evaluation with the state carried on: batches of all streams, in order. A text of
    fewer tokens than that has as many streams. `max_tokens` takes the first windows of each, about so many tokens.
    """
    require_tokens(shards)
    n_streams = min(n_streams, shards.n_tokens - 1)
    loader = StreamLoader(
        shards,
        tokens_per_step=n_streams * context_length,
        context_length=context_length,
        micro_batch_size=n_streams,
        document_mask=document_mask,
    )
    most = loader.n_windows if max_tokens is None else max(1, max_tokens // loader.tokens_per_step)
    for (batch,) in islice(loader, min(most, loader.n_windows)):
        yield batch
