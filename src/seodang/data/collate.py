"""Token ids → one rectangular batch: windows of a stream, and packed examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from seodang.data.batch import IGNORE, Batch
from seodang.data.examples import Example
from seodang.data.shards import TokenShards


def window_batch(shards: TokenShards, starts: Sequence[int], length: int, document_mask: bool) -> Batch:
    """The windows of `length` positions that begin at `starts` in the stream, as one batch (B, length).

    With `document_mask` a position belongs to the document of the token it predicts. So the end-of-text token, which
    the document before predicts as its end, stands at position 0 of the next as its start, just as it does in front
    of a text that is scored or generated; no position is without a target and none sees another document's text.
    """
    ids = np.zeros((len(starts), length), dtype=np.int64)
    targets = np.full((len(starts), length), IGNORE, dtype=np.int64)
    documents = np.full((len(starts), length), -1, dtype=np.int64)
    positions = np.zeros((len(starts), length), dtype=np.int64)
    for row, start in enumerate(starts):
        window = shards.read(start, min(start + length + 1, shards.n_tokens))
        n = len(window) - 1
        ids[row, :n], targets[row, :n] = window[:-1], window[1:]
        at = np.arange(start, start + n)
        number = shards.document_at(at + 1) if document_mask else np.zeros(n, dtype=np.int64)
        documents[row, :n] = number - number[0]
        positions[row, :n] = at - np.maximum(shards.starts[number] - 1 if document_mask else start, start)
    n_bytes = int(shards.token_bytes[targets[targets != IGNORE]].sum())
    masked = bool(documents.any())  # all 0: every row is one document, the fast path of attention
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(targets),
        torch.from_numpy(documents) if masked else None,
        torch.from_numpy(positions) if masked else None,
        round(n_bytes * shards.bytes_ratio),
    )


def packed_batch(rows: Sequence[Sequence[Example]], context_length: int, pad_id: int = 0) -> Batch:
    """Rows of examples as one batch (B, T), T the longest row rounded up to 64 and at most `context_length`."""
    longest = max(sum(len(example.ids) - 1 for example in row) for row in rows)
    length = min(context_length, -(-longest // 64) * 64)
    ids = np.full((len(rows), length), pad_id, dtype=np.int64)
    targets = np.full((len(rows), length), IGNORE, dtype=np.int64)
    documents = np.full((len(rows), length), -1, dtype=np.int64)
    positions = np.zeros((len(rows), length), dtype=np.int64)
    for b, row in enumerate(rows):
        start = 0
        for number, example in enumerate(row):
            stop = start + len(example.ids) - 1
            ids[b, start:stop] = example.ids[:-1]
            targets[b, start:stop] = np.where(example.mask[1:], example.ids[1:], IGNORE)
            documents[b, start:stop] = number
            positions[b, start:stop] = np.arange(stop - start)
            start = stop
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(targets),
        torch.from_numpy(documents),
        torch.from_numpy(positions),
        sum(example.n_bytes for row in rows for example in row),
    )
