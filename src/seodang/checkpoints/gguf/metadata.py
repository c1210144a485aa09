"""What a GGUF file says of itself: keys with values, and tensors by name; opened, or about to be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seodang.errors import DataError, SeodangError

COPY_AGAIN = "copy the file again from where it came"


@dataclass(frozen=True)
class Metadata:
    """The keys of one file and the shapes of its tensors, rows first."""

    origin: object
    """The file, for errors."""
    value: Callable[[str], Any]
    """A key's value, None where there is none."""
    shapes: Mapping[str, tuple[int, ...]]
    data: Callable[[str], np.ndarray]
    """The stored numbers of a tensor; blocks, where it is quantised."""
    tied: bool
    """Whether there is no output matrix, or one that repeats the embedding byte for byte."""

    @property
    def architecture(self) -> str:
        """Its name. Raises DataError where the file does not say it."""
        value = self.value("general.architecture")
        if not isinstance(value, str):
            raise DataError(f"{self.origin} does not say its general.architecture", f"it has {value!r}", COPY_AGAIN)
        return value

    def setting(self, key: str) -> Any:
        """A value that belongs to the architecture, None where there is none."""
        return self.value(f"{self.architecture}.{key}")

    def number(self, key: str, kind: type = int, default: float | None = None) -> Any:
        """A number of the architecture's. Raises DataError when it is absent without a default, or no number."""
        value = self.setting(key)
        value = default if value is None else value
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise DataError(f"{self.origin} does not say {self.architecture}.{key}", f"it has {value!r}", COPY_AGAIN)
        return kind(value)

    def decimal(self, key: str, default: float | None = None) -> float:
        """As `number`: the shortest decimal that is the same in float32, 1e-05 and not 9.999999747378752e-06."""
        return float(f"{self.number(key, float, default):.7g}")

    @property
    def rows(self) -> int:
        """Rows of the embedding. Raises DataError where there is none."""
        if "token_embd.weight" not in self.shapes:
            raise DataError(f"{self.origin} lacks token_embd.weight", "the embedding is needed", COPY_AGAIN)
        return self.shapes["token_embd.weight"][0]


def planned(values: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]], table: np.ndarray | None) -> Metadata:
    """The metadata of a file about to be written; `table` is its rope_freqs.weight."""

    def data(name: str) -> np.ndarray:
        assert table is not None and name == "rope_freqs.weight"
        return table

    return Metadata("the model", values.get, tensors, data, "output.weight" not in tensors)


def library() -> Any:
    """The `gguf` package. Raises SeodangError when it is not installed."""
    try:
        import gguf
        import gguf.quants  # noqa: F401
    except ImportError:
        raise SeodangError(
            "GGUF files cannot be read or written", "the package `gguf` is not installed", "pip install gguf"
        ) from None
    return gguf


def open_file(path: Path) -> tuple[Metadata, dict[str, Any]]:
    """A file's metadata and its tensors as the `gguf` package gives them.

    Raises DataError when it is cut short or damaged, SeodangError when the `gguf` package is not installed.
    """
    reader = _reader(path)
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def value(key: str) -> Any:
        field = reader.fields.get(key)
        try:
            return None if field is None else field.contents()
        except (IndexError, ValueError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: {key} is damaged", str(error), COPY_AGAIN) from None

    shapes = {name: tuple(int(size) for size in reversed(tensor.shape)) for name, tensor in tensors.items()}
    tied = "output.weight" not in tensors
    if not tied and "token_embd.weight" in tensors:
        head, embed = tensors["output.weight"], tensors["token_embd.weight"]
        tied = head.tensor_type == embed.tensor_type and np.array_equal(head.data, embed.data)
    return Metadata(path, value, shapes, lambda name: tensors[name].data, tied), tensors


def _reader(path: Path) -> Any:
    class Reader(library().GGUFReader):  # type: ignore[misc]
        """Slices a plain array: a memmap makes each of 100,000 slices an object, three times as slow."""

        def _get(self, *arguments: Any, **keywords: Any) -> Any:
            if isinstance(self.data, np.memmap):  # type: ignore[has-type]
                self.data = np.asarray(self.data)  # type: ignore[has-type]
            return super()._get(*arguments, **keywords)

    try:
        reader = Reader(path)
        for tensor in reader.tensors:
            if tensor.data.nbytes != tensor.n_bytes:
                raise ValueError(f"{tensor.name} ends early")
        return reader
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, UnicodeDecodeError, MemoryError) as error:
        raise DataError(
            f"{path} is not a whole GGUF file", f"it is cut short or damaged ({error})", COPY_AGAIN
        ) from None
