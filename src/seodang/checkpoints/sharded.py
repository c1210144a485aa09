"""Tensors that several processes hold parts of ↔ disk, through torch.distributed.checkpoint.

    RUN/checkpoints/step-00000040/sharded/  one safetensors file a process: `model/NAME`, `optimizer/NAME/STATE`

The parts are written as safetensors, never as a pickle, and each says where in the whole tensor it lies. So any number
of processes, one among them, reads a tensor whole or the part of it that it needs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from seodang.errors import DataError

SHARDS = "sharded"
MODEL, OPTIMIZER = "model/", "optimizer/"

Stored = dict[str, tuple[tuple[int, ...], torch.dtype]]


def is_sharded(folder: Path) -> bool:
    """Whether the checkpoint's weights lie there in parts."""
    return (folder / SHARDS).is_dir()


def save_shards(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write this process's parts into `folder`; all processes call it, and it returns when all have written."""
    import torch.distributed.checkpoint as dcp

    writer = dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True)
    dcp.save(dict(tensors), storage_writer=writer)


def load_shards(folder: Path, tensors: dict[str, Tensor], known: Stored | None = None) -> None:
    """Read `tensors`, whole ones or this process's parts of shared ones, in place. Only what is needed is read.

    known: what `stored` has said of `folder`, if it was asked.
    Raises DataError when one is not there or has another shape.
    """
    import torch.distributed.checkpoint as dcp

    known = stored(folder) if known is None else known
    for name, tensor in tensors.items():
        if known.get(name, (None,))[0] != tuple(tensor.shape):
            raise DataError(
                f"{folder} has no {name} of the shape {list(tensor.shape)}",
                "its parts are of another model, or some are missing",
                "resume with the run's own settings",
            )
    alone = not any(hasattr(tensor, "device_mesh") for tensor in tensors.values())
    reader = dcp.HuggingFaceStorageReader(str(folder / SHARDS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it reads alone is what was asked for
        dcp.load(dict(tensors), storage_reader=reader, no_dist=alone)


def stored(folder: Path) -> Stored:
    """Name → shape and dtype of every whole tensor in `folder`, from the headers of its files."""
    from torch.distributed.checkpoint import HuggingFaceStorageReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    metadata = HuggingFaceStorageReader(str(folder / SHARDS)).read_metadata().state_dict_metadata
    return {
        name: (tuple(entry.size), entry.properties.dtype)
        for name, entry in metadata.items()
        if isinstance(entry, TensorStorageMetadata)
    }


class Parts:
    """The weights of a sharded checkpoint as `tensor_files.Tensors` gives those of a published folder.

    `rename` gives the published key of our name, `publish` the published form of a value.
    """

    def __init__(
        self, folder: Path, rename: Callable[[str], str], publish: Callable[[str, Tensor], Tensor]
    ) -> None:
        self.folder, self.publish = folder, publish
        self._stored = stored(folder)
        names = {key.removeprefix(MODEL): entry for key, entry in self._stored.items() if key.startswith(MODEL)}
        self._names = {rename(name): name for name in names}
        self._shapes = {rename(name): shape for name, (shape, _) in names.items()}
        self.files = dict.fromkeys(self._names, folder / SHARDS)

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """(key, shape) of every tensor."""
        for key, shape in self._shapes.items():
            yield key, tuple(self.publish(self._names[key], torch.empty(shape, device="meta")).shape)

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """(key, whole tensor) of every tensor, one after the other."""
        for key, name in self._names.items():
            shape, dtype = self._stored[MODEL + name]
            tensor = torch.empty(shape, dtype=dtype)
            load_shards(self.folder, {MODEL + name: tensor}, self._stored)
            yield key, self.publish(name, tensor)
