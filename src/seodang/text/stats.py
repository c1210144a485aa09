"""What a vocabulary does to a text: unknown rate, bytes per token, tokens per word, for each language apart.

Languages are told by script: a line with Hangul is Korean, another with Latin letters is Latin, the rest is other.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from seodang.text.tokenizer import Tokenizer

HANGUL, LATIN, OTHER, ALL = "hangul", "latin", "other", "all"

_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff]")
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]")
_BATCH = 1000


@dataclass
class Usage:
    """Sums over the lines of one script."""

    script: str
    lines: int = 0
    n_bytes: int = 0
    words: int = 0
    tokens: int = 0
    unknown: int = 0

    @property
    def unknown_rate(self) -> float:
        """Share of the tokens that are the unknown token."""
        return self.unknown / self.tokens if self.tokens else 0.0

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of the text for each token; more is shorter sequences."""
        return self.n_bytes / self.tokens if self.tokens else 0.0

    @property
    def tokens_per_word(self) -> float:
        """Fertility: tokens for each word between spaces."""
        return self.tokens / self.words if self.words else 0.0

    def as_dict(self) -> dict[str, float | int | str]:
        """The sums and the three rates."""
        return {
            "script": self.script,
            "lines": self.lines,
            "bytes": self.n_bytes,
            "words": self.words,
            "tokens": self.tokens,
            "unknown_tokens": self.unknown,
            "unknown_rate": self.unknown_rate,
            "bytes_per_token": self.bytes_per_token,
            "tokens_per_word": self.tokens_per_word,
        }


def script_of(line: str) -> str:
    """hangul, latin or other."""
    if _HANGUL.search(line):
        return HANGUL
    return LATIN if _LATIN.search(line) else OTHER


def measure(tokenizer: Tokenizer, texts: Iterable[str]) -> dict[str, Usage]:
    """Usage of each script that occurs in `texts`, and of "all" of them. Streams: memory does not grow with the text.

    A vocabulary whose unknown token is its end of text (GPT-2) has no unknown token: everything has bytes.
    """
    usage: dict[str, Usage] = {}
    unknown = tokenizer.unk_id if tokenizer.unk_id != tokenizer.end_of_text_id else None
    batch: list[str] = []

    def flush() -> None:
        for line, ids in zip(batch, tokenizer.encode_batch(batch), strict=True):
            composed = unicodedata.normalize("NFC", line)
            for script in (script_of(composed), ALL):
                entry = usage.setdefault(script, Usage(script))
                entry.lines += 1
                entry.n_bytes += len(composed.encode("utf-8"))
                entry.words += len(composed.split())
                entry.tokens += len(ids)
                entry.unknown += ids.count(unknown) if unknown is not None else 0
        batch.clear()

    for text in texts:
        for line in text.split("\n"):
            if line.strip():
                batch.append(line)
                if len(batch) >= _BATCH:
                    flush()
    flush()
    order = (HANGUL, LATIN, OTHER, ALL)
    return {script: usage[script] for script in order if script in usage}
