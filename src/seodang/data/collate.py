"""Token ids → one rectangular batch: windows of a stream, and packed examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
    last = shards.n_tokens - 1
    batch = read_windows(shards, [(start, start, min(start + length, last)) for start in starts], length, document_mask)
    return batch if batch.documents is not None else replace(batch, positions=None)


def read_windows(
    shards: TokenShards, spans: Sequence[tuple[int, int, int]], length: int, document_mask: bool
) -> Batch:
    """What `window_batch` describes, of spans (begin, start, stop): a row reads the tokens start … stop - 1, and a text
    that goes on from before `begin` counts its positions from there. `documents` is None where every row is full and of
    one document, the fast path of attention.
    """
    shape = (len(spans), length)
    ids, positions = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    targets, documents = np.full(shape, IGNORE, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    for row, (begin, start, stop) in enumerate(spans):
        n = stop - start
        if n == 0:
            continue
        window, at = shards.read(start, stop + 1), np.arange(start, stop)
        number = shards.document_at(at + 1) if document_mask else np.zeros(n, dtype=np.int64)
        ids[row, :n], targets[row, :n], documents[row, :n] = window[:-1], window[1:], number - number[0]
        positions[row, :n] = at - np.maximum(shards.starts[number] - 1 if document_mask else 0, begin)
    n_bytes = int(shards.token_bytes[targets[targets != IGNORE]].sum())
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(targets),
        torch.from_numpy(documents) if documents.any() else None,
        torch.from_numpy(positions),
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
