"""Cutting long documents into pieces whose ids, one after another, are the ids of the whole.

The rule: cut between a letter or digit and a following space or newline. Byte-level pre-tokenisers (GPT-2's,
GPT-4's, Llama 3's and ours) and those that split at white space never form a token across that point, and what they
do after it does not depend on what stood before. Whether a tokenizer keeps the rule is tried out on samples first;
one that does not (SentencePiece's, which mark the start of a text) gets its documents whole.
Text without such a point for a long stretch is cut where encoding a window around the cut shows that it is harmless.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from seodang.data.readers import Document

PIECE = 1 << 16
"""Characters of a piece."""

_SAMPLES = (
    "The cat sat{0}on 12{0}{0}mats, didn't it?{0}Yes{0}{0}{0}it did.{0}\"Ha{0}ha!\"",
    "서당개{0}삼 년이면{0}{0}풍월을 읊는다.{0}2024년{0}{0}{0}봄에도{0}café{0}été",
)


class BatchEncoder(Protocol):
    """Encodes texts."""

    def encode_batch(self, texts: list[str]) -> list[list[int]]: ...


class Cutter:
    """Cuts documents for one tokenizer. `characters` are the ones a piece may begin with ("" if none may)."""

    def __init__(self, tokenizer: BatchEncoder, piece: int = PIECE) -> None:
        self.tokenizer, self.piece = tokenizer, piece
        self.characters = "".join(char for char in "\n " if self._is_safe(char))
        self._point = re.compile(f"(?<=[^\\W_])(?=[{self.characters}])") if self.characters else None

    def _is_safe(self, char: str) -> bool:
        for sample in _SAMPLES:
            text = sample.format(char)
            points = [match.start() for match in re.finditer(f"(?<=[^\\W_])(?={char})", text)]
            if not all(self._keeps(text[:point], text[point:]) for point in points):
                return False
        return True

    def _keeps(self, left: str, right: str) -> bool:
        """Whether `left` and `right` encoded apart give the ids of both together."""
        together, first, second = self.tokenizer.encode_batch([left + right, left, right])
        return together == first + second

    def cut(self, documents: Iterator[Document]) -> Iterator[tuple[str, bool]]:
        """(text, whether a document ends with it), for documents and pieces of documents in order."""
        held = ""
        for document in documents:
            held += document.text
            if not self._point:
                if document.continues:
                    continue
            else:
                start = 0
                while len(held) - start > 2 * self.piece:
                    point = self._last_point(held, start)
                    if point is None:
                        break
                    yield held[start:point], False
                    start = point
                held = held[start:]
            if not document.continues:
                yield held, True
                held = ""

    def _last_point(self, text: str, start: int) -> int | None:
        """The last point at or before `start + piece` where `text` may be cut, or None to wait for more text."""
        assert self._point is not None
        goal = start + self.piece
        for reach in (256, 4096, self.piece - 1):
            points = [match.start() for match in self._point.finditer(text, max(start + 1, goal - reach), goal + 1)]
            if points:
                return points[-1]
        for point in range(goal, max(start, goal - 256), -1):
            if self._keeps(text[max(start, point - 512) : point], text[point : point + 512]):
                return point
        return None
