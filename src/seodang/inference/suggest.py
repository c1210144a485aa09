"""The most probable continuations of a prompt, as a search box shows them.

A continuation runs to the end of a word: to where the model would more probably begin another word (or end the
text) than go on with this one. Its probability is the product of its tokens' probabilities. The search is
best-first over tokens: a longer text is never more probable than its beginning, so what is found first is best.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seodang.errors import UsageError
from seodang.inference.beginning import begin
from seodang.inference.decode import prefill
from seodang.inference.sampling import Settings
from seodang.inference.scoring import pad_right
from seodang.inference.streaming import BROKEN
from seodang.models.base import Model
from seodang.text.tokenizer import Tokenizer

_BRANCHES = 256
"""Next tokens looked at after each beginning; what lies behind them is far too improbable to be shown."""
_BATCH = 16
"""Beginnings that go through the model together."""
_TAIL = 8
"""Prompt tokens decoded with a continuation, for decoders that join words."""


@dataclass(frozen=True)
class Suggestion:
    """One continuation."""

    text: str
    """What follows the prompt, its leading space included."""
    probability: float
    """Product of the probabilities of its tokens."""
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class _Beginning:
    """A continuation that may still grow."""

    tokens: tuple[int, ...]
    text: str
    logprob: float
    words: int

    @property
    def whole(self) -> bool:
        """It can be shown: there is something in it, and no half character."""
        return bool(self.text.strip()) and not self.text.endswith(BROKEN)


_NOTHING = _Beginning((), "", 0.0, 1)


def begins_word(text: str, addition: str) -> bool:
    """Whether `addition` behind `text` is the beginning of another word, and not more of the same one."""
    if not text.strip() or not addition or addition.startswith(BROKEN):
        return False
    last, first = text[-1], addition[0]
    if first.isspace():
        return True
    return not (first in "'’-" and last.isalnum()) and first.isalnum() != (last.isalnum() or last in "'’-")


class Suggester:
    """Best-first search behind one prompt, whose keys and values are computed once."""

    @torch.inference_mode()
    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        prompt: Sequence[int],
        ends: frozenset[int],
        max_new_tokens: int,
        start_id: int | None = None,
    ) -> None:
        beginning = begin(model, [prompt], Settings(start_id=start_id))
        self.model, self.tokenizer, self.prompt = model, tokenizer, beginning.prompts[0]
        self.hidden = ends | tokenizer.special_ids  # never shown; a text that goes on with one is over
        (self.limit,) = beginning.limits(max_new_tokens)
        self.cache = beginning.new_cache(len(self.prompt) + self.limit)
        self.ids = torch.tensor([self.prompt], device=model.output_weight.device)
        self.first = prefill(model, self.ids, None, self.cache).float().log_softmax(-1)
        self.tail = self.prompt[-_TAIL:]
        self.before = len(tokenizer.decode(self.tail, skip_special=True))

    @torch.inference_mode()
    def search(self, n: int, words: int) -> list[Suggestion]:
        """The `n` most probable continuations of `words` words, distinct, most probable first."""
        found: dict[str, Suggestion] = {}
        heap: list[tuple[float, tuple[int, ...], _Beginning]] = [(0.0, (), _NOTHING)]
        for _ in range(4 * n + 16):  # a bound for models that spread thin; most need two or three rounds
            if not heap or self._settled(found, heap[0][2], n):
                break
            batch = [heapq.heappop(heap)[2] for _ in range(min(_BATCH, len(heap)))]
            growing = []
            for beginning in batch:
                if len(beginning.tokens) >= self.limit:
                    self._add(found, beginning)
                else:
                    growing.append(beginning)
            for beginning, logprobs in zip(growing, self._next(growing), strict=True):
                children, at_end = self._grow(beginning, logprobs, words)
                if at_end:
                    self._add(found, beginning)
                for child in children:
                    heapq.heappush(heap, (-child.logprob, child.tokens, child))
        return sorted(found.values(), key=lambda suggestion: (-suggestion.probability, suggestion.tokens))[:n]

    @staticmethod
    def _settled(found: dict[str, Suggestion], best: _Beginning, n: int) -> bool:
        """Nothing that can still grow can get among the `n` best."""
        chances = sorted((suggestion.probability for suggestion in found.values()), reverse=True)
        return len(chances) >= n and chances[n - 1] >= math.exp(best.logprob)

    @staticmethod
    def _add(found: dict[str, Suggestion], beginning: _Beginning) -> None:
        """Keep a finished text; of several ways to spell it in tokens, the most probable one."""
        if not beginning.whole:
            return
        probability = math.exp(beginning.logprob)
        known = found.get(beginning.text)
        if known is None or known.probability < probability:
            found[beginning.text] = Suggestion(beginning.text, probability, beginning.tokens)

    def _next(self, beginnings: list[_Beginning]) -> Tensor:
        """log P of the next token (B, V) behind each beginning."""
        if not beginnings:
            return self.first[:0]
        if beginnings == [_NOTHING]:
            return self.first
        ids = pad_right([beginning.tokens for beginning in beginnings], self.first.device)
        self.cache.select(torch.zeros(len(beginnings), dtype=torch.long, device=self.first.device))
        if self.cache.truncate(len(self.prompt)) < len(self.prompt):  # a memory that cannot be taken back
            prefill(self.model, self.ids.expand(len(beginnings), -1), None, self.cache)
        hidden = self.model(ids, cache=self.cache)
        last = torch.tensor([len(beginning.tokens) - 1 for beginning in beginnings], device=self.first.device)
        states = hidden[torch.arange(len(beginnings), device=self.first.device), last]
        return self.model.logits(states).float().log_softmax(-1)

    def _grow(self, beginning: _Beginning, logprobs: Tensor, words: int) -> tuple[list[_Beginning], bool]:
        """The beginnings one token longer, and whether this one is more probably at its end than not."""
        usable = self.tokenizer.vocab_size
        values, ids = logprobs[:usable].topk(min(_BRANCHES, usable))
        children: list[_Beginning] = []
        over = inside = 0.0
        for value, token in zip(values.tolist(), ids.tolist(), strict=True):
            if token in self.hidden:
                over += math.exp(value) if beginning.text.strip() else 0.0
                continue
            tokens = (*beginning.tokens, token)
            text = self._text(tokens)
            addition = text[len(beginning.text) :] if text.startswith(beginning.text) else ""
            new_word = begins_word(beginning.text, addition)
            if new_word and beginning.words == words:
                over += math.exp(value)
                continue
            if not new_word and beginning.words == words:
                inside += math.exp(value)
            children.append(_Beginning(tokens, text, beginning.logprob + value, beginning.words + new_word))
        return children, beginning.words == words and beginning.whole and over >= inside

    def _text(self, tokens: tuple[int, ...]) -> str:
        return self.tokenizer.decode([*self.tail, *tokens], skip_special=True)[self.before :]



def suggest(
    model: Model,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    n: int,
    *,
    ends: frozenset[int] = frozenset(),
    words: int = 1,
    max_new_tokens: int = 8,
    start_id: int | None = None,
) -> list[Suggestion]:
    """The `n` most probable continuations of `prompt` (ids), or beginnings of an encoder-decoder's answer to it, each
    `words` words long at most `max_new_tokens`. start_id: what the answer begins with, the model's own by default.

    A continuation that reaches `max_new_tokens` is shown as it is. Special tokens and `ends` are never part of
    one. Fewer than `n` come back only when there are no more. Raises UsageError for numbers below 1, DataError
    and FitError as `generate` does.
    """
    for name, value in (("n", n), ("words", words), ("max_new_tokens", max_new_tokens)):
        if value < 1:
            raise UsageError(f"{name} = {value}", "it must be 1 or more", f"set {name} to 1 or more")
    return Suggester(model, tokenizer, prompt, ends, max_new_tokens, start_id).search(n, words)
