"""Words with their vectors: neighbours, analogies, unseen words; word2vec's text format in and out.

Shapes: V words, D numbers in a vector, Q queries.
"""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from seodang.errors import DataError
from seodang.files import atomic_folder
from seodang.vectors.subwords import Subwords

VECTORS, SETTINGS, SUBWORDS = "vectors.vec", "vectors.json", "subwords.safetensors"


class WordVectors:
    """V words, most frequent first, and a matrix (V, D) float32. `about` says how they were made."""

    def __init__(
        self,
        words: Sequence[str],
        matrix: np.ndarray,
        *,
        subwords: Subwords | None = None,
        about: dict[str, Any] | None = None,
    ) -> None:
        self.words = list(words)
        self.matrix = np.ascontiguousarray(matrix, dtype=np.float32)
        self.subwords = subwords
        self.about = about or {}
        self.index = {word: row for row, word in enumerate(self.words)}

    @cached_property
    def unit(self) -> np.ndarray:
        """(V, D): the vectors divided by their lengths."""
        return _unit(self.matrix)

    def __contains__(self, word: str) -> bool:
        return self.spelling(word) in self.index

    def spelling(self, word: str) -> str:
        """`word` as the vocabulary writes it: composed, and in small letters where training used those."""
        word = unicodedata.normalize("NFC", word)
        return word.lower() if self.about.get("lowercase") else word

    def vector(self, word: str) -> np.ndarray:
        """(D,): the word's row. An unseen word has the mean of its subword vectors, or zeros where there are none."""
        word = self.spelling(word)
        if word in self.index:
            return self.matrix[self.index[word]]
        if self.subwords is not None:
            return self.subwords.vector(word)
        return np.zeros(self.matrix.shape[1], dtype=np.float32)

    def similarity(self, a: str, b: str) -> float:
        """The cosine of two words' vectors; 0 where one is zero."""
        first, second = _unit(np.stack([self.vector(a), self.vector(b)]))
        return float(first @ second)

    def neighbours(self, word: str, n: int = 10) -> list[tuple[str, float]]:
        """The `n` words with the greatest cosine to `word`, itself left out; none where its vector is zero."""
        return self.nearest(self.vector(word)[None], n, [{self.index.get(self.spelling(word), -1)}])[0]

    def analogy(self, a: str, b: str, c: str, n: int = 10) -> list[tuple[str, float]]:
        """a : b :: c : ? by 3CosAdd: the `n` words d, not a, b or c, with the greatest cos(d, b − a + c),
        the three divided by their lengths first (Levy & Goldberg 2014, eq. 3)."""
        return self.analogies([(a, b, c)], n)[0]

    def analogies(self, questions: Sequence[tuple[str, str, str]], n: int = 1) -> list[list[tuple[str, float]]]:
        """`analogy` for many questions at once."""
        triples = _unit(np.stack([self.vector(word) for question in questions for word in question]))
        a, b, c = triples.reshape(len(questions), 3, -1).transpose(1, 0, 2)
        left_out = [{self.index.get(self.spelling(word), -1) for word in question} for question in questions]
        return self.nearest(b - a + c, n, left_out)

    def nearest(
        self, queries: np.ndarray, n: int, left_out: Sequence[set[int]]
    ) -> list[list[tuple[str, float]]]:
        """For each of `queries` (Q, D) the `n` nearest words by cosine, best first, without the rows `left_out`."""
        found = []
        for start in range(0, len(queries), 256):
            part = queries[start : start + 256]
            cosines = _unit(part) @ self.unit.T  # (256, V)
            for query, row, out in zip(part, cosines, left_out[start : start + 256], strict=True):
                row[[place for place in out if place >= 0]] = -np.inf
                room = min(n, len(row) - sum(place >= 0 for place in out)) if query.any() else 0
                best = np.argpartition(-row, room - 1)[:room] if 0 < room < len(row) else np.arange(len(row))[:room]
                best = best[np.lexsort((best, -row[best]))]
                found.append([(self.words[place], float(row[place])) for place in best])
        return found

    def save(self, folder: Path | str) -> None:
        """Write a folder: `vectors.vec` in word2vec's text format, `vectors.json`, and fastText's subwords."""
        with atomic_folder(folder) as path:
            with open(path / VECTORS, "w", encoding="utf-8", newline="\n") as stream:
                self.write_text(stream)
            settings = dict(self.about)
            if self.subwords is not None:
                from safetensors.numpy import save

                subwords = self.subwords
                (path / SUBWORDS).write_bytes(save({"ids": subwords.ids, "vectors": subwords.vectors}))
                settings["subwords"] = {name: getattr(subwords, name) for name in ("min_n", "max_n", "buckets", "jamo")}
            (path / SETTINGS).write_text(json.dumps(settings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def write_text(self, stream: TextIO) -> None:
        """word2vec's text format: a line `V D`, then a word and its D numbers in each line. No digit is lost."""
        n_words, dimension = self.matrix.shape
        stream.write(f"{n_words} {dimension}\n")
        line = "%s" + " %.9g" * dimension + "\n"
        for word, row in zip(self.words, self.matrix, strict=True):
            stream.write(line % (word, *row.tolist()))

    @classmethod
    def load(cls, path: Path | str, limit: int | None = None) -> WordVectors:
        """A folder that `save` wrote, or a file in word2vec's text format (with or without its first line, as GloVe's
        are published); `limit` takes the first words only.

        Raises DataError (file and line) for what is missing or not of the format.
        """
        path = Path(path)
        if not path.is_dir():
            return cls(*_read_text(path, limit))
        words, matrix = _read_text(path / VECTORS, limit)
        settings, subwords = _read_json(path / SETTINGS), None
        shape = settings.pop("subwords", None)
        if shape is not None:
            from safetensors import SafetensorError
            from safetensors.numpy import load_file

            try:
                tensors = load_file(path / SUBWORDS)
                subwords = Subwords(**shape, ids=tensors["ids"], vectors=tensors["vectors"])
            except (OSError, SafetensorError, KeyError, TypeError) as error:
                raise _damaged(path / SUBWORDS, str(error)) from None
        return cls(words, matrix, subwords=subwords, about=settings)


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(settings, dict):
        raise _damaged(path, "it is not a JSON object")
    return settings


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is not what training writes", why, "train again, or name another folder")


def _read_text(path: Path, limit: int | None) -> tuple[list[str], np.ndarray]:
    """Words and their matrix (V, D) float32."""
    words: dict[str, None] = {}
    rows: list[np.ndarray] = []
    try:
        with open(path, encoding="utf-8", newline="\n") as stream:
            first = next(stream, "").split()
            header = len(first) == 2 and all(part.isdecimal() for part in first)
            dimension = int(first[1]) if header else len(first) - 1
            stated = int(first[0]) if header else None
            stream.seek(0)
            lines: Iterable[str] = itertools.islice(stream, int(header), None if limit is None else limit + header)
            for number, line in enumerate(lines, 1 + header):
                word, _, numbers = line.rstrip("\n ").partition(" ")
                try:
                    row = np.array(numbers.split(), dtype=np.float32)
                except ValueError:
                    row = np.empty(0, dtype=np.float32)
                if len(row) != dimension or not dimension:
                    raise DataError(
                        f"{path}:{number} is not a word and {max(dimension, 1)} numbers",
                        "each line of a file of word vectors is a word and as many numbers as the first",
                        "seodang vectors train … --out DIR makes such files",
                    )
                if word not in words:
                    words[word] = None
                    rows.append(row)
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise DataError(f"{path} cannot be read", why, "seodang vectors train … --out DIR makes word vectors") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not text", f"{error.reason} at byte {error.start}", "word2vec's binary format is not read; "
            "save it as text"
        ) from None
    if not rows or (stated is not None and limit is None and number - 1 < stated):
        raise DataError(f"{path} is not whole", f"it has {len(rows)} of {stated or 'some'} words", "copy it again")
    return list(words), np.stack(rows)
