"""The loop every continuation goes through: prefill the prompts in one pass, then a token per row and step.

Shapes: B rows, T tokens of the longest prompt, V vocabulary. Prompts of unequal length are padded on the left in
here, so the last column is every row's newest token; the callers hand over lists and never see the padding.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seodang.inference.beginning import begin
from seodang.inference.constraints import constrain
from seodang.inference.dola import EarlyExits
from seodang.inference.sampling import NEVER, Settings, choose, row_generator
from seodang.inference.schema import Guide
from seodang.models.base import Model
from seodang.models.cache import Cache
from seodang.models.encoder_decoder import EncoderDecoder, Memory


@dataclass
class Generation:
    """What was generated for one prompt."""

    text: str
    """The continuation, without special tokens and without the stop string."""
    tokens: list[int]
    """Its ids, the one that ended it included."""
    finish_reason: str
    """"stop": an end token or a stop string came; "length": max_new_tokens or the context was reached."""
    prompt_tokens: int
    """Length of the prompt in tokens."""
    seconds: float = field(default=0.0, compare=False)
    """Time from the start of its batch to its last token."""
    n_cut: int = 0
    """Tokens that were left away from the prompt's beginning, because it did not fit (`requests.generations`)."""


def pad_left(prompts: Sequence[Sequence[int]], device: torch.device | str) -> tuple[Tensor, Tensor | None]:
    """Prompts as one tensor (B, T) and its mask (B, T; True for real tokens), None when nothing is padded."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    if all(len(prompt) == longest for prompt in prompts):
        return ids, None
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    return ids, torch.arange(longest, device=device) >= longest - lengths[:, None]


def prefill(
    model: Model, ids: Tensor, mask: Tensor | None, cache: Cache | None, memory: Memory | None = None
) -> Tensor:
    """Scores of the next token (B, V) after the prompts `ids` (B, T), in one pass; fills `cache`.

    The projection onto the vocabulary is made for the last column alone. memory: the sources of an encoder-decoder.
    """
    told = {"memory": memory} if isinstance(model, EncoderDecoder) else {}
    hidden = model(ids, mask=mask, cache=cache, **told)
    if cache is not None:
        cache.advance(ids.shape[1])
    return model.logits(hidden[:, -1])


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids both begin with."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def advance(model: Model, tokens: Tensor, positions: Tensor | None, mask: Tensor | None, cache: Cache) -> Tensor:
    """Scores of the next token (B, V) after one more token per row (B, 1), with what the cache remembers."""
    hidden = model(tokens, positions=positions, mask=mask, cache=cache)
    cache.advance(1)
    return model.logits(hidden[:, -1])


class Decoding:
    """Some prompts being continued side by side. Each `step` gives every unfinished row one token.

    model: in eval mode; a causal one goes on with the prompts, an encoder-decoder answers them. prompts: lists of ids.
    streams: the number of each row's random stream (its place in the list by default), so that a prompt keeps its
    continuation in whatever batch it travels. vocabulary: ids from there on are rows that pad the embedding and are
    never chosen. use_cache=False computes everything anew at each step: slow, and the reference for the cached way.
    after: an earlier decoding of one prompt, whose cache is taken over as far as this one prompt begins alike (the next
    turn of a conversation; never an encoder-decoder's); it cannot go on itself. capacity: tokens of cache to reserve,
    so that a later decoding can take it over. guide: what keeps the texts to the settings' grammar.
    """

    @torch.inference_mode()
    def __init__(
        self,
        model: Model,
        prompts: Sequence[Sequence[int]],
        settings: Settings,
        *,
        streams: Sequence[int] | None = None,
        vocabulary: int | None = None,
        use_cache: bool = True,
        capacity: int = 0,
        after: Decoding | None = None,
        guide: Guide | None = None,
    ) -> None:
        self.model, self.settings, self.vocabulary = model, settings.check(), vocabulary
        assert (guide is None) == (settings.grammar is None), "a grammar needs a guide, which knows the vocabulary"
        self._guide, self._exits = guide, None if settings.dola is None else EarlyExits(model, settings.dola)
        self.stop_ids = frozenset(settings.stop_ids)
        self.prompt_tokens = [len(prompt) for prompt in prompts]
        beginning = begin(model, prompts, settings)
        self._memory, self._prompts = beginning.memory, (prompts := beginning.prompts)
        weight, limits = model.output_weight, beginning.limits(settings.max_new_tokens)
        self.tokens: list[list[int]] = [[] for _ in prompts]
        self.finish_reasons: list[str | None] = [None for _ in prompts]
        self.seconds = [0.0 for _ in prompts]
        self._limits, self._slots, self._start = limits, list(range(len(prompts))), time.perf_counter()
        self._generators = [row_generator(settings.seed, n) for n in (streams or range(len(prompts)))]
        self._ids, mask = pad_left(prompts, weight.device)
        needed = self._ids.shape[1] + max(limits)
        self._mask: Tensor | None = None  # (B, capacity); what is generated is never padding
        self._positions: Tensor | None = None  # (B, 1), of the token to be fed next
        if mask is not None:
            ahead = mask.new_ones(len(prompts), max(limits))
            self._mask = torch.cat((mask, ahead), dim=1)
            self._positions = mask.sum(1, keepdim=True)
        self._seen: Tensor | None = None
        if settings.repetition_penalty != 1:
            self._seen = torch.zeros(len(prompts), model.config.vocab_size, dtype=torch.bool, device=weight.device)
            for slot, prompt in enumerate(prompts):
                self._seen[slot, list(prompt)] = True
        self._cache = None if after is None else self._take_cache(after, prompts, needed)
        self._repeated = self._find_repeated() if use_cache and after is None else None
        if self._repeated is not None:
            self._cache = model.new_cache(len(self._repeated[0]), max(needed, capacity))
        elif use_cache and self._cache is None:
            self._cache = beginning.new_cache(max(needed, capacity))
        self._next: Tensor | None = None  # (B, 1), the newest tokens, not yet fed

    @property
    def done(self) -> bool:
        """Every row has ended."""
        return all(reason is not None for reason in self.finish_reasons)

    @torch.inference_mode()
    def step(self) -> list[tuple[int, int]]:
        """One token for each unfinished row, as (row, token). The token that ends a row is among them."""
        chosen = self._choose(self._allowed_logits())
        self._next = chosen[:, None]
        if self._seen is not None:
            self._seen.scatter_(1, self._next, True)
        if self._cache is None:
            self._ids = torch.cat((self._ids, self._next), dim=1)
        events = []
        for row, token in zip(self._slots, chosen.tolist(), strict=True):
            if self.finish_reasons[row] is not None:
                continue
            events.append((row, token))
            self.tokens[row].append(token)
            last = len(self.tokens[row]) >= self._limits[row]
            whole = self._guide is not None and self._guide.push(row, token, last=last)
            if whole or token in self.stop_ids:
                self.stop(row)
            elif last:
                self.stop(row, "length")
        self._drop_finished()
        return events

    @property
    def _going(self) -> list[int | None]:
        """The row in each slot, None where it has ended."""
        return [row if self.finish_reasons[row] is None else None for row in self._slots]

    def _choose(self, logits: Tensor) -> Tensor:
        """The next token of each row (B,); another one where the guide sees no way on behind it."""
        seen = None if self._seen is None else self._seen[:, : self.vocabulary]
        chosen = choose(self._contrasted(logits), self.settings, self._generators, seen)
        while self._guide is not None and (wrong := self._guide.dead_ends(chosen.tolist(), self._going)):
            logits[wrong, chosen[wrong]] = NEVER
            again = self._contrasted(self._guide.allow(logits, self._going))[wrong]
            generators = [self._generators[slot] for slot in wrong]
            chosen[wrong] = choose(again, self.settings, generators, None if seen is None else seen[wrong])
        return chosen

    def _contrasted(self, logits: Tensor) -> Tensor:
        return logits if self._exits is None else self._exits.contrasted(logits)

    def _allowed_logits(self) -> Tensor:
        """Scores (B, V) of the next token, -inf where nothing may choose it."""
        with nullcontext() if self._exits is None else self._exits.watching():
            logits = self._constrained(self._logits()[:, : self.vocabulary].float())
        return logits if self._guide is None else self._guide.allow(logits, self._going)

    def _constrained(self, logits: Tensor) -> Tensor:
        """Scores (B, V) in which only what the settings allow is left."""
        texts = [[*self._prompts[row], *self.tokens[row]] for row in self._slots] if self.settings.has_rules else []
        n_new, limits = ([of[row] for row in self._slots] for of in ([*map(len, self.tokens)], self._limits))
        return constrain(logits, texts, n_new, limits, self.settings)

    def stop(self, row: int, reason: str = "stop") -> None:
        """End a row: its text is complete. The first reason stays."""
        if self.finish_reasons[row] is None or reason == "stop":
            self.finish_reasons[row] = reason
            self.seconds[row] = time.perf_counter() - self._start

    def generation(self, row: int, text: str = "") -> Generation:
        """The result of one row, finished or not."""
        reason = self.finish_reasons[row] or "length"
        return Generation(text, self.tokens[row], reason, self.prompt_tokens[row], self.seconds[row])

    def _take_cache(self, after: Decoding, prompts: Sequence[Sequence[int]], needed: int) -> Cache | None:
        """The cache of `after`, cut back to what it shares with the prompt; None when it cannot serve."""
        cache, after._cache = after._cache, None
        if self._memory is not None:  # another source
            return None
        if cache is None or cache.capacity < needed or cache.batch != 1 or len(prompts) != 1:
            return None
        # at least one token has to be fed, for its scores
        cache.truncate(min(common_prefix(after._fed[: cache.length], prompts[0]), len(prompts[0]) - 1))
        return cache

    @property
    def _fed(self) -> list[int]:
        """The ids of the only row, in the order in which the cache holds them."""
        return [*self._ids[0].tolist(), *self.tokens[0]]

    def _find_repeated(self) -> tuple[list[int], Tensor] | None:
        """(the first row of each prompt, which of these each row has), where several texts of a prompt are wanted."""
        places: dict[tuple[int, ...], int] = {}
        owners = [places.setdefault(tuple(prompt), len(places)) for prompt in self._prompts]
        if len(places) == len(owners) or self._memory is not None or self._exits is not None:
            return None
        firsts = [owners.index(number) for number in range(len(places))]
        return firsts, torch.tensor(owners, device=self._ids.device)

    def _logits(self) -> Tensor:
        """Scores of the next token (B, V) from all that is known."""
        if self._repeated is not None:  # each prompt once, and then a copy of its memory for each of its rows
            (firsts, owners), self._repeated = self._repeated, None
            mask = None if self._mask is None else self._mask[firsts, : self._ids.shape[1]]
            logits = prefill(self.model, self._ids[firsts], mask, self._cache)
            assert self._cache is not None
            self._cache.select(owners)
            return logits[owners]
        if self._next is None and self._cache is not None and self._cache.length:
            return prefill(self.model, self._ids[:, self._cache.length :], None, self._cache)
        if self._next is None or self._cache is None:
            mask = None if self._mask is None else self._mask[:, : self._ids.shape[1]]
            return prefill(self.model, self._ids, mask, self._cache, self._memory)
        mask = None if self._mask is None else self._mask[:, : self._cache.length + 1]
        logits = advance(self.model, self._next, self._positions, mask, self._cache)
        if self._positions is not None:
            self._positions += 1
        return logits

    def _drop_finished(self) -> None:
        """Take finished rows out of the batch once they are half of it; until then they run along unseen.

        Dropping copies the cache, so it is done a logarithmic number of times.
        """
        going = [slot for slot, row in enumerate(self._slots) if self.finish_reasons[row] is None]
        if not going or 2 * len(going) > len(self._slots):
            return
        keep = torch.tensor(going, device=self._ids.device)
        self._slots = [self._slots[slot] for slot in going]
        self._generators = [self._generators[slot] for slot in going]
        self._ids = self._ids[keep]
        self._mask, self._positions, self._seen, self._next = (
            None if tensor is None else tensor[keep]
            for tensor in (self._mask, self._positions, self._seen, self._next)
        )
        if self._cache is not None:
            self._cache.select(keep)
        elif self._memory is not None:
            self._memory = self._memory.select(keep)


def generate(
    model: Model,
    prompts: Sequence[Sequence[int]],
    settings: Settings,
    *,
    streams: Sequence[int] | None = None,
    vocabulary: int | None = None,
    use_cache: bool = True,
) -> list[Generation]:
    """Continue every prompt (a list of ids) until it ends. The texts are left empty: ids need no tokenizer.

    Raises DataError for an empty prompt or foreign ids, FitError for a prompt that fills the context, UsageError
    for a setting out of range. Stop strings need text: see `LanguageModel.generate`.
    """
    if not prompts:
        return []
    decoding = Decoding(model, prompts, settings, streams=streams, vocabulary=vocabulary, use_cache=use_cache)
    while not decoding.done:
        decoding.step()
    return [decoding.generation(row) for row in range(len(prompts))]
