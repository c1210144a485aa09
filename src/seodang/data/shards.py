"""Corpus → token shards: one flat file of ids, memory-mapped, with the bounds of its documents and its origin.

A shard folder holds `tokens.bin` (uint16 for vocabularies up to 65,536, else uint32), `documents.npy` (where each
document begins, and the end), `document_bytes.npy` (UTF-8 bytes of each document), `token_bytes.npy` (bytes each id
stands for) and `meta.json`. Every document ends with the tokenizer's `document_end_id`.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seodang.data.cuts import Cutter
from seodang.data.readers import Document, read_documents
from seodang.data.sources import expand
from seodang.errors import DataError, SeodangError
from seodang.files import atomic_folder, require_free_space, sha256_file
from seodang.text.bulk import BulkEncoder, Disagreement, PlainEncoder, gigatoken_encoder

FORMAT = 1
BATCH_CHARACTERS = 1 << 21
"""Characters encoded at a time, on all processors: bounds the memory."""


class Encoder(Protocol):
    """What is needed of a tokenizer (`seodang.text.tokenizer.Tokenizer` is one)."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def special_ids(self) -> set[int]: ...
    @property
    def document_end_id(self) -> int | None: ...
    def encode_batch(self, texts: list[str]) -> list[list[int]]: ...
    def token_bytes(self, id: int) -> bytes: ...
    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class TokenShards:
    """A token stream, or the part of one that `split` gave: documents one after another.

    tokens       the memory-mapped ids of the whole folder
    spans        (S, 2) int64: the parts [start, end) of `tokens` that this stream consists of, in order
    starts       (N + 1,) int64: where each document begins in this stream, and its end
    token_bytes  (V,) int32: bytes each id stands for; 0 for special tokens
    n_bytes      UTF-8 bytes of the text of this stream
    """

    folder: Path
    tokens: NDArray[np.unsignedinteger[Any]]
    spans: NDArray[np.int64]
    starts: NDArray[np.int64]
    document_bytes: NDArray[np.int64]
    token_bytes: NDArray[np.int32]
    n_bytes: int
    fingerprint: str
    meta: dict[str, Any]

    @staticmethod
    def open(folder: Path | str) -> TokenShards:
        """Open a shard folder. Raises DataError when it is not whole."""
        folder = Path(folder)
        fix = "delete the folder; it is made again from the text"
        try:
            meta = json.loads((folder / "meta.json").read_text("utf-8"))
            starts = np.load(folder / "documents.npy")
            document_bytes = np.load(folder / "document_bytes.npy")
            token_bytes = np.load(folder / "token_bytes.npy")
            tokens = np.memmap(folder / "tokens.bin", dtype=meta["dtype"], mode="r")
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise DataError(f"{folder} is no token shard folder", str(error), fix) from None
        if meta.get("format") != FORMAT or len(tokens) != meta["n_tokens"] or starts[-1] != len(tokens):
            raise DataError(f"{folder} is not whole", "its files do not fit together", fix)
        return TokenShards(
            folder,
            tokens,
            np.array([[0, len(tokens)]], dtype=np.int64),
            starts,
            document_bytes,
            token_bytes,
            meta["n_bytes"],
            meta["fingerprint"],
            meta,
        )

    @property
    def n_tokens(self) -> int:
        """Tokens in this stream, ends of text included."""
        return int(self.starts[-1])

    @property
    def n_documents(self) -> int:
        """Documents (or parts of documents) in this stream."""
        return len(self.starts) - 1

    def __len__(self) -> int:
        return self.n_tokens

    def __getitem__(self, part: slice) -> NDArray[np.int64]:
        """Ids of a part `[a:b]` of this stream, as int64."""
        start, stop, step = part.indices(self.n_tokens)
        return self.read(start, stop)[::step]

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Ids at [start, stop) of this stream, as int64."""
        ends = self._span_ends
        pieces = []
        index = int(np.searchsorted(ends, start, side="right"))
        while start < stop:
            first, last = self.spans[index]
            at = int(last - (ends[index] - start))
            piece = self.tokens[at : min(int(last), at + stop - start)]
            pieces.append(piece)
            start += len(piece)
            index += 1
        return np.concatenate(pieces).astype(np.int64) if pieces else np.empty(0, dtype=np.int64)

    def documents(self, index: int) -> NDArray[np.int64]:
        """Ids of one document, with its end of text."""
        return self.read(int(self.starts[index]), int(self.starts[index + 1]))

    def document_at(self, position: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of the document that each position of this stream belongs to."""
        return np.searchsorted(self.starts, position, side="right") - 1

    @property
    def bytes_ratio(self) -> float:
        """Text bytes per byte that `token_bytes` accounts for: exactly 1 for byte-level tokenizers."""
        return float(self.meta["bytes_ratio"])

    @cached_property
    def _span_ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.spans[:, 1] - self.spans[:, 0])

    def split(self, eval_fraction: float, seed: int = 0) -> tuple[TokenShards, TokenShards]:
        """(train, held out): whole documents drawn by `seed` until `eval_fraction` of the tokens is held out.

        When the documents are too few or too long for that (the share would be off by more than half), the end of
        the stream is held out instead, in one span. Deterministic; the two parts never overlap.
        Raises DataError when there is too little text to hold anything out.
        """
        if not 0 < eval_fraction < 1:
            raise ValueError(f"eval_fraction is {eval_fraction}; it lies between 0 and 1")
        target = round(eval_fraction * self.n_tokens)
        if target < 2 or self.n_tokens - target < 2:
            files = ", ".join(self.meta.get("files", [])[:3]) or self.folder
            raise DataError(
                f"{files}: too small to hold out {eval_fraction:.1%} of it",
                f"it has {self.n_tokens} tokens",
                "give more text, name evaluation files with --eval, or hold nothing out with --eval-fraction 0",
            )
        name = f"{eval_fraction}:{seed}"
        lengths = np.diff(self.starts)
        order = np.argsort(np.random.PCG64(seed).random_raw(self.n_documents), kind="stable")
        total = np.cumsum(lengths[order])
        count = int(np.searchsorted(total, target)) + 1
        if count >= self.n_documents or not 0.5 * target <= total[count - 1] <= 1.5 * target:
            cut = self.n_tokens - target
            return self._part(0, cut, f"{name}:head"), self._part(cut, self.n_tokens, f"{name}:tail")
        held = np.zeros(self.n_documents, dtype=bool)
        held[order[:count]] = True
        return self._select(~held, f"{name}:train"), self._select(held, f"{name}:held-out")

    def _select(self, chosen: NDArray[np.bool_], name: str) -> TokenShards:
        """The stream of the chosen documents, neighbours joined into one span."""
        begins, ends = self.starts[:-1][chosen], self.starts[1:][chosen]
        joined = begins[1:] == ends[:-1]
        spans = np.stack([begins[np.r_[True, ~joined]], ends[np.r_[~joined, True]]], axis=1)
        if len(self.spans) != 1:
            raise ValueError("a split of a split is not supported")
        sizes = self.document_bytes[chosen]
        return replace(
            self,
            spans=spans + self.spans[0, 0],
            starts=np.r_[0, np.cumsum(ends - begins)].astype(np.int64),
            document_bytes=sizes,
            n_bytes=int(sizes.sum()),
            fingerprint=_digest([self.fingerprint, name]),
        )

    def _part(self, start: int, stop: int, name: str) -> TokenShards:
        """The stream's positions [start, stop); documents at the edges are cut, their bytes counted by token."""
        inside = self.starts[(self.starts > start) & (self.starts < stop)]
        starts = np.r_[start, inside, stop].astype(np.int64)
        sizes = np.array([self._count_bytes(a, b) for a, b in zip(starts[:-1], starts[1:], strict=True)])
        return replace(
            self,
            spans=np.array([[start, stop]], dtype=np.int64) + self.spans[0, 0],
            starts=starts - start,
            document_bytes=sizes,
            n_bytes=int(sizes.sum()),
            fingerprint=_digest([self.fingerprint, name]),
        )

    def _count_bytes(self, start: int, stop: int, block: int = 1 << 22) -> int:
        total = sum(
            int(self.token_bytes[self.read(a, min(a + block, stop))].sum()) for a in range(start, stop, block)
        )
        return round(total * self.bytes_ratio)


def build_shards(
    files: Iterable[Path | str] | Path | str,
    tokenizer: Encoder,
    out: Path | str,
    *,
    encoder: BulkEncoder | None = None,
    progress: Callable[[int], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> TokenShards:
    """Encode the documents of `files` into the shard folder `out`, or open it when it already holds just that.

    The folder is reused when its fingerprint (contents of the files, tokenizer, format) is equal; otherwise it is
    replaced, whole or not at all. Memory stays bounded whatever the size of files and documents; see
    `seodang.data.cuts` for how long documents are cut without changing their ids, and `seodang.text.bulk` for what
    encodes them where `encoder` is None. `progress` is called with the number of UTF-8 bytes done, `note` with remarks.
    Raises DataError for what `read_documents` refuses and for a tokenizer that has nothing to put between documents.
    """
    paths, out = expand(files), Path(out)
    fingerprint = _fingerprint(paths, tokenizer)
    if _holds(out, fingerprint):
        return TokenShards.open(out)
    if tokenizer.document_end_id is None:
        raise DataError(
            "the tokenizer has no token that ends a document",
            "documents could not be told apart: it has no end of text, no eos and no sep",
            "name its eos_token in tokenizer_config.json, or train one with: seodang tokenizer train",
        )
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 65_536 else np.uint32)
    # a guess from below (compressed files grow); a disk that fills up later still leaves nothing half-written
    require_free_space(out, sum(path.stat().st_size for path in paths) * dtype.itemsize // 3)
    encoder = encoder or gigatoken_encoder(tokenizer) or PlainEncoder(tokenizer)
    try:
        _build(paths, tokenizer, encoder, out, dtype, fingerprint, progress)
    except Disagreement as text:
        if note:
            note(f"note: gigatoken and tokenizers differ ({str(text)[:40]!r} …); encoding anew with tokenizers")
        _build(paths, tokenizer, PlainEncoder(tokenizer), out, dtype, fingerprint, progress)
    return TokenShards.open(out)


def _build(
    paths: list[Path],
    tokenizer: Encoder,
    encoder: BulkEncoder,
    out: Path,
    dtype: np.dtype[Any],
    fingerprint: str,
    progress: Callable[[int], None] | None,
) -> None:
    table = _byte_table(tokenizer)
    assert tokenizer.document_end_id is not None
    with atomic_folder(out) as folder:
        writer = _Writer(folder / "tokens.bin", dtype, tokenizer.document_end_id, table)
        with writer:
            for texts, ends in _batches(read_documents(paths), Cutter(tokenizer)):
                writer.add(*encoder.encode(texts), texts, ends)
                if progress:
                    progress(writer.n_bytes)
        np.save(folder / "documents.npy", np.frombuffer(writer.starts, dtype=np.int64))
        np.save(folder / "document_bytes.npy", np.frombuffer(writer.sizes, dtype=np.int64))
        np.save(folder / "token_bytes.npy", table)
        meta = {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "dtype": dtype.name,
            "n_tokens": writer.n_tokens,
            "n_documents": len(writer.sizes),
            "n_bytes": writer.n_bytes,
            "bytes_ratio": writer.n_bytes / writer.table_bytes if writer.table_bytes else 1.0,
            "vocab_size": tokenizer.vocab_size,
            "document_end_id": tokenizer.document_end_id,
            "tokenizer": tokenizer.fingerprint(),
            "encoded_by": encoder.name,
            "files": [str(path) for path in paths],
        }
        (folder / "meta.json").write_text(json.dumps(meta, ensure_ascii=False, indent=1) + "\n", "utf-8")


class _Writer:
    """Appends encoded pieces to the token file and keeps the bounds and sizes of the documents."""

    def __init__(self, path: Path, dtype: np.dtype[Any], document_end: int, table: NDArray[np.int32]) -> None:
        self.stream = open(path, "wb")  # noqa: SIM115  (closed by __exit__)
        self.dtype, self.document_end, self.table = dtype, document_end, table
        self.starts, self.sizes = array("q", [0]), array("q")
        self.n_tokens = self.n_bytes = self.table_bytes = self.open_bytes = 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def add(
        self, ids: NDArray[np.uint32], counts: NDArray[np.int64], texts: list[str], ends: list[bool]
    ) -> None:
        """Write texts: their ids one after another, how many each has, and whether a document ends with it."""
        self.table_bytes += int(self.table[ids].sum(dtype=np.int64))
        last = np.array(ends)
        after = np.cumsum(counts)
        ids = np.insert(ids.astype(self.dtype), after[last], self.document_end)
        self.stream.write(ids.tobytes())
        self.starts.frombytes((self.n_tokens + after[last] + np.arange(1, 1 + last.sum())).tobytes())
        self.n_tokens += len(ids)
        for text, end in zip(texts, ends, strict=True):
            n_bytes = len(text) if text.isascii() else len(text.encode("utf-8"))
            self.n_bytes += n_bytes
            self.open_bytes += n_bytes
            if end:
                self.sizes.append(self.open_bytes)
                self.open_bytes = 0


def _batches(documents: Iterator[Document], cutter: Cutter) -> Iterator[tuple[list[str], list[bool]]]:
    """Texts, and whether a document ends with each, in lists of about BATCH_CHARACTERS characters."""
    texts: list[str] = []
    ends: list[bool] = []
    size = 0
    for text, end in cutter.cut(documents):
        texts.append(text)
        ends.append(end)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield texts, ends
            texts, ends, size = [], [], 0
    if texts:
        yield texts, ends


def _byte_table(tokenizer: Encoder) -> NDArray[np.int32]:
    special = tokenizer.special_ids | {tokenizer.document_end_id}
    sizes = [0 if i in special else len(tokenizer.token_bytes(i)) for i in range(tokenizer.vocab_size)]
    return np.array(sizes, dtype=np.int32)


def _fingerprint(paths: list[Path], tokenizer: Encoder) -> str:
    return _digest([str(FORMAT), tokenizer.fingerprint(), *(f"{path.name}:{sha256_file(path)}" for path in paths)])


def _holds(folder: Path, fingerprint: str) -> bool:
    if not (folder / "meta.json").is_file():
        if folder.exists() and any(folder.iterdir()):
            raise SeodangError(
                f"{folder} is in the way", "it is not empty and holds no token shards", "choose another folder"
            )
        return False
    try:
        return TokenShards.open(folder).fingerprint == fingerprint
    except DataError:
        return False


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8")).hexdigest()
