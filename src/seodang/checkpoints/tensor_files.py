"""Safetensors files of a Hugging Face folder: one, or shards with an index; read lazily, written in bounded shards."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from seodang.errors import DataError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAPPED_BYTES = 2**27

_FIX = "copy the model again from where it came"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises DataError when it is not there or is not one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing", "the folder is not a whole model", _FIX) from None
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON", str(error), _FIX) from None
    if not isinstance(value, dict):
        raise DataError(f"{path} is not a JSON object", f"it is a {type(value).__name__}", _FIX)
    return value


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a model folder, all of them there.

    Raises DataError for a missing shard, for no weights, and for pickled ones, which are never opened.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        table = read_json(folder / INDEX).get("weight_map")
        if not isinstance(table, dict) or not table or not all(isinstance(name, str) for name in table.values()):
            raise DataError(f"{folder / INDEX} is damaged", "it has no weight_map", _FIX)
        files = [folder / Path(name).name for name in sorted(set(table.values()))]
        for file in files:
            if not file.is_file():
                raise DataError(f"{folder} is not whole", f"the shard {file.name} is missing", _FIX)
        present = {key for file in files for key in _keys(file)}
        lost = sorted(set(table) - present)
        if lost:
            raise DataError(f"{folder} is not whole", f"no shard holds {lost[0]}, which {INDEX} lists", _FIX)
        return files
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        raise DataError(
            f"{folder} has its weights only as a pickle (.bin, .pt)",
            "opening a pickle can run any program hidden in it, so this package never does",
            "convert it to safetensors where you trust it: "
            "AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(OUT)",
        )
    raise DataError(f"{folder} has no weights", f"neither {SINGLE} nor {INDEX} is there", _FIX)


def stored_keys(folder: Path) -> list[str]:
    """The names of all tensors in a folder's weight files; none where it has no such files."""
    if not (folder / SINGLE).is_file() and not (folder / INDEX).is_file():
        return []
    return list(Tensors(weight_files(folder)).files)


class Tensors:
    """The tensors of several safetensors files by name, each read when asked for.

    inner: further files by what is put in front of their tensors' names.
    """

    def __init__(self, files: list[Path], inner: Mapping[str, list[Path]] | None = None) -> None:
        self._starts = dict.fromkeys(files, "") | {file: key for key, more in (inner or {}).items() for file in more}
        self.files = {start + key: file for file, start in self._starts.items() for key in _keys(file)}

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """(name, shape) of every tensor, from the headers."""
        for file in sorted(set(self.files.values())):
            with _open(file) as stream:
                for key in stream.keys():
                    yield self._starts[file] + key, tuple(stream.get_slice(key).get_shape())

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of every tensor, file by file. What was read of a mapped file counts as this process's
        memory until it is closed, so it is opened anew every `MAPPED_BYTES`."""
        for file in sorted(set(self.files.values())):
            keys = _keys(file)
            while keys:
                n_bytes = 0
                with _open(file) as stream:
                    while keys and n_bytes < MAPPED_BYTES:
                        key = keys.pop(0)
                        tensor = stream.get_tensor(key)
                        n_bytes += tensor.nbytes
                        yield self._starts[file] + key, tensor


def write_tensors(folder: Path, tensors: Mapping[str, Tensor], max_shard_bytes: int) -> None:
    """Write `tensors` as one file, or as shards of at most `max_shard_bytes` (a larger tensor gets its own).

    Raises OSError when the disk does not take it.
    """
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and filled + size > max_shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += size
    if len(shards) == 1:
        write_file(shards[0], folder / SINGLE)
        return
    table: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_file(shard, folder / name)
        table |= dict.fromkeys(shard, name)
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    parameters = sum(tensor.numel() for tensor in tensors.values())
    index = {"metadata": {"total_parameters": parameters, "total_size": total}, "weight_map": table}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def write_file(tensors: dict[str, Tensor], file: Path) -> None:
    """Write one safetensors file. Raises OSError when the disk does not take it."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, file, metadata={"format": "pt"})
    except SafetensorError as error:  # its own name for an OSError
        full = "No space left" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


def _open(file: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(
            f"{file} is damaged", f"it is cut short or its header is not safetensors' ({error})", _FIX
        ) from None


def _keys(file: Path) -> list[str]:
    with _open(file) as stream:
        return list(stream.keys())
