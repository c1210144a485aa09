"""From scores to the next token: pure functions of logits (B, V), and the settings that choose among them.

Shapes: B rows, V vocabulary. Every filter returns new logits in which what it removes is -inf. The order, and
the meaning of each number, are those of `transformers`: repetition penalty, temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seodang.errors import UsageError

NEVER = float("-inf")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a continuation is chosen and where it ends. `temperature` 0 is greedy: the most probable token."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool = False
    """Beam search ends as soon as it has num_beams whole texts, and does not look for better ones."""
    min_new_tokens: int = 0
    """Before so many tokens, none of `stop_ids` is chosen."""
    no_repeat_ngram_size: int = 0
    """No so many tokens come twice in what the decoder reads; 0 allows all."""
    banned_ids: tuple[int, ...] = ()
    """Tokens that are never chosen."""
    start_id: int | None = None
    """What an encoder-decoder's texts begin with; None is the model's own."""
    forced_first_id: int | None = None
    """The first token, whatever the model says (BART's <s>)."""
    forced_last_id: int | None = None
    """The last token of a text that reaches the length limit."""
    dola: str | tuple[int, ...] | None = None
    """Layers to contrast the last one with: "low", "high" or their numbers; see `inference.dola`."""
    grammar: str | None = None
    """What the text must be, as `inference.schema` writes it down."""

    @property
    def has_rules(self) -> bool:
        """Whether anything of `inference.constraints` applies."""
        forced = self.forced_first_id is not None or self.forced_last_id is not None
        return forced or bool(self.min_new_tokens or self.no_repeat_ngram_size or self.banned_ids)

    def check(self) -> Settings:
        """Return self, or raise UsageError naming the first setting that is out of range."""
        optional = [
            ("top_k", self.top_k, lambda v: v >= 0, "0 or more (0 keeps every token)"),
            ("top_p", self.top_p, lambda v: 0 < v <= 1, "above 0 and at most 1"),
            ("min_p", self.min_p, lambda v: 0 <= v <= 1, "between 0 and 1"),
        ]
        rules = [
            ("max_new_tokens", self.max_new_tokens, lambda v: v >= 1, "1 or more"),
            ("temperature", self.temperature, lambda v: 0 <= v < float("inf"), "0 (greedy) or a positive number"),
            *(rule for rule in optional if rule[1] is not None),
            ("repetition_penalty", self.repetition_penalty, lambda v: 0 < v < float("inf"), "above 0 (1 is none)"),
            ("num_beams", self.num_beams, lambda v: v >= 1, "1 or more"),
            ("min_new_tokens", self.min_new_tokens, lambda v: v >= 0, "0 or more"),
            ("no_repeat_ngram_size", self.no_repeat_ngram_size, lambda v: v >= 0, "0 (allow all) or more"),
        ]
        for name, value, right, wanted in rules:
            if not right(value):
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{name} = {value}", f"it must be {wanted}", f"set {flag} to a value in that range")
        if self.num_beams > 1 and self.temperature > 0:
            raise UsageError(
                f"num_beams = {self.num_beams} with temperature = {self.temperature}",
                "beam search looks for the most probable text and does not sample",
                "set --temperature 0, or --num-beams 1",
            )
        if "" in self.stop:
            raise UsageError("an empty stop string", "every text contains it", "give --stop some text")
        if self.num_beams > 1 and (self.dola is not None or self.grammar is not None):
            name = "dola" if self.dola is not None else "a schema, a regex or choices"
            raise UsageError(
                f"num_beams = {self.num_beams} with {name}",
                "beam search compares whole texts by the model's own probabilities",
                "set --num-beams 1",
            )
        if self.stop and self.grammar is not None:
            raise UsageError(
                f"stop = {self.stop[0]!r} with a schema, a regex or choices",
                "these say where the text ends, and a stop string would cut it",
                "leave --stop away",
            )
        return self


def penalise_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Divide positive and multiply negative scores of the tokens `seen` (B, V; bool) so far by `penalty`.

    Keskar et al. 2019 (CTRL), section 4.1, in the sign-aware form that `transformers` uses.
    """
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the `k` largest scores of each row, and their equals (Fan et al. 2018). 0 keeps everything."""
    if k <= 0 or k >= logits.shape[-1]:
        return logits
    smallest = logits.topk(k).values[..., -1:]
    return logits.masked_fill(logits < smallest, NEVER)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the nucleus: the smallest set of most probable tokens whose mass is at least `p` (Holtzman et al. 2020,
    section 3.1). At least one token is always kept."""
    if p >= 1:
        return logits
    ascending, order = logits.sort()
    remove = ascending.softmax(-1).cumsum(-1) <= 1 - p
    remove[..., -1] = False
    return logits.masked_fill(torch.zeros_like(remove).scatter(-1, order, remove), NEVER)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keep the tokens at least `p` times as probable as the most probable one (Nguyen et al. 2024)."""
    probabilities = logits.softmax(-1)
    top, place = probabilities.max(-1, keepdim=True)
    remove = (probabilities < p * top).scatter(-1, place, False)
    return logits.masked_fill(remove, NEVER)


def shape(logits: Tensor, settings: Settings, seen: Tensor | None = None) -> Tensor:
    """Scores (B, V) as the settings want them; their softmax is the distribution that is sampled from.

    `seen` (B, V; bool) marks the tokens of the prompt and the text so far; needed with a repetition penalty.
    """
    if settings.repetition_penalty != 1 and seen is not None:
        logits = penalise_repetition(logits, seen, settings.repetition_penalty)
    if settings.temperature == 0:
        return logits
    if settings.temperature != 1:
        logits = logits / settings.temperature
    if settings.top_k:
        logits = keep_top_k(logits, settings.top_k)
    if settings.top_p is not None:
        logits = keep_top_p(logits, settings.top_p)
    if settings.min_p:
        logits = keep_min_p(logits, settings.min_p)
    return logits


def row_generator(seed: int, row: int) -> torch.Generator:
    """The random stream of one row, a function of (seed, row) alone, so that no row depends on its neighbours.

    On the CPU whatever the device, so that a seed means the same text everywhere. Hashed, because neighbouring
    seeds give related streams and the engine keeps only 32 bits of them.
    """
    digest = hashlib.blake2b(f"{seed}/{row}".encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


def sample(logits: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Draw one token per row (B,) from softmax(logits), row i with one number of `generators[i]`.

    Inverts the cumulative distribution in float64: one random number per token, and a token of probability 0 is
    never drawn.
    """
    uniforms = [torch.rand((), generator=stream, dtype=torch.float64) for stream in generators]
    # Apple's GPUs have no float64, and one row of the vocabulary is small: do it on the CPU there
    where = torch.device("cpu") if logits.device.type == "mps" else logits.device
    cumulative = logits.to(where, torch.float64).softmax(-1).cumsum(-1)
    total = cumulative[:, -1:]
    # u < 1, but u × total may round up to total, beyond the last token that has any probability
    target = torch.minimum(torch.stack(uniforms).to(where)[:, None] * total, total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target, right=True)[:, 0].to(logits.device)


def choose(logits: Tensor, settings: Settings, generators: Sequence[torch.Generator], seen: Tensor | None) -> Tensor:
    """The next token of each row (B,): shaped by the settings, then the best one or a drawn one."""
    logits = shape(logits, settings, seen)
    return logits.argmax(-1) if settings.temperature == 0 else sample(logits, generators)
