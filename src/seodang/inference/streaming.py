"""Text out of ids, token by token: never half a character, never the beginning of a stop string.

A token of a byte-level vocabulary may end in the middle of a character (각 is three bytes, an emoji four). Its
bytes wait here until the rest has come. Text that may turn into a stop string waits the same way.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import Protocol

from seodang.inference.decode import Decoding, Generation
from seodang.text.tokenizer import Tokenizer

BROKEN = "\N{REPLACEMENT CHARACTER}"
_WINDOW = 8
"""Tokens decoded before the new ones, so that a decoder that joins words sees the same neighbours."""


class _Pieces(Protocol):
    def push(self, token: int) -> str: ...

    def finish(self) -> str: ...


class _BytePieces:
    """For vocabularies whose tokens are bytes: an incremental UTF-8 decoder. Constant work per token."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], exact: bool = False) -> None:
        self.tokenizer = tokenizer
        self.skipped = tokenizer.special_ids
        self.utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        # a SentencePiece decoder drops the space that begins a text, but not one after a prompt
        self.at_start = not exact and all(token in self.skipped for token in prompt)

    def push(self, token: int) -> str:
        if token in self.skipped:
            return ""
        data = self.tokenizer.token_bytes(token)
        if self.at_start:
            self.at_start = False
            if data.startswith(b" ") and not self.tokenizer.decode([token]).startswith(" "):
                data = data[1:]
        return self.utf8.decode(data)

    def finish(self) -> str:
        self.utf8.reset()  # bytes of a character that was never completed are not text
        return ""


class _DecodedPieces:
    """For vocabularies whose tokens are pieces of words (WordPiece, `</w>`): what decoding more tokens adds."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.skipped = tokenizer.special_ids  # which would push the words out of the window
        self.ids = [token for token in prompt if token not in self.skipped][-_WINDOW:]
        self.shown = len(self.ids)  # ids[:shown] are on the screen
        self.start = 0  # ids[start:] are decoded

    def _new(self) -> str:
        before = self.tokenizer.decode(self.ids[self.start : self.shown], skip_special=True)
        after = self.tokenizer.decode(self.ids[self.start :], skip_special=True)
        return after[len(before) :]

    def push(self, token: int) -> str:
        if token in self.skipped:
            return ""
        self.ids.append(token)
        text = self._new()
        if text.endswith(BROKEN):
            return ""
        self.start = max(self.start, self.shown - _WINDOW)
        self.shown = len(self.ids)
        return text

    def finish(self) -> str:
        return self._new().rstrip(BROKEN)


class TextStream:
    """Text of a growing list of ids. The joined pieces are `decode(prompt + ids)` without `decode(prompt)`,
    special tokens skipped, up to the first stop string; bytes of an unfinished last character are dropped.

    exact: the pieces are the tokens' own bytes, joined; what a text that keeps to a grammar was checked by.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, stop: Sequence[str] = (), prompt: Sequence[int] = (), exact: bool = False
    ) -> None:
        by_bytes = exact or tokenizer.has_bytes
        self._pieces: _Pieces = (
            _BytePieces(tokenizer, prompt, exact) if by_bytes else _DecodedPieces(tokenizer, prompt)
        )
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False
        """A stop string has come; nothing more will be shown."""

    def push(self, token: int) -> str:
        """The text that can be shown now that `token` has come; often "", while something is held back."""
        return self._show(self._pieces.push(token))

    def finish(self) -> str:
        """The text still held back, when no more tokens will come."""
        text = self._show(self._pieces.finish()) + self._held
        self._held = ""
        return text

    def _show(self, text: str) -> str:
        if self.stopped:
            return ""
        self._held += text
        found = [(place + len(stop), place) for stop in self._stop if (place := self._held.find(stop)) >= 0]
        if found:  # the one that is complete first, whatever came in one piece
            self.stopped = True
            shown, self._held = self._held[: min(found)[1]], ""
            return shown
        keep = max((overlap(self._held, stop) for stop in self._stop), default=0)
        split = len(self._held) - keep
        shown, self._held = self._held[:split], self._held[split:]
        return shown


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop` without being all of it."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


class Stream(Iterator[str]):
    """Pieces of text as they come. Afterwards, or after `close()`, `generation` holds the whole."""

    def __init__(self, decoding: Decoding, text: TextStream) -> None:
        self.decoding, self._text, self._shown, self._closed = decoding, text, list[str](), False

    def __next__(self) -> str:
        while not self._closed:
            if self.decoding.done:
                self._closed = True
                piece = self._text.finish()
            else:
                (_, token), *_ = self.decoding.step()
                piece = "" if token in self.decoding.stop_ids else self._text.push(token)
                if self._text.stopped:
                    self.decoding.stop(0)
            if piece:
                self._shown.append(piece)
                return piece
        raise StopIteration

    def close(self) -> None:
        """Stop here, as somebody asked: no more pieces come."""
        if not self._closed:
            self.decoding.stop(0)
        self._closed = True

    @property
    def generation(self) -> Generation:
        """What has been generated so far."""
        return self.decoding.generation(0, "".join(self._shown))
