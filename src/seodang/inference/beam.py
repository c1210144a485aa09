"""Beam search: the k best unfinished texts go on together, in one batch that shares the prompt's keys and values.

Shapes: k beams, V vocabulary. Finished texts are ranked by log P / length^α, `transformers`' reading of the
length normalisation of Wu et al. 2016, section 7 (who divide by ((5 + length) / 6)^α); length counts the generated
tokens, the one that ends the text included. The steps, and when to stop, are those of `transformers` with
early_stopping False or True, so the same model gives the same text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seodang.inference.beginning import begin
from seodang.inference.constraints import constrain
from seodang.inference.decode import Generation, advance, prefill
from seodang.inference.sampling import NEVER, Settings, penalise_repetition
from seodang.models.base import Model


@dataclass
class Hypothesis:
    """A text on the beam or off it."""

    tokens: list[int]
    score: float
    """Sum of log P while it grows; divided by length^α once it is finished."""
    stopped: bool = False
    """It ended by itself, and not at the length limit."""


@torch.inference_mode()
def beam_search(
    model: Model,
    prompt: Sequence[int],
    settings: Settings,
    *,
    vocabulary: int | None = None,
    ends: Callable[[list[int]], bool] = lambda tokens: False,
) -> list[Hypothesis]:
    """The `num_beams` best continuations of one prompt, best first.

    A continuation ends at one of `stop_ids`, where `ends(tokens)` says so, or at the length limit.
    Raises DataError and FitError as `generate` does.
    """
    beginning = begin(model, [prompt], settings.check())
    prompt, (limit,) = beginning.prompts[0], beginning.limits(settings.max_new_tokens)
    k, alpha, stop_ids = settings.num_beams, settings.length_penalty, frozenset(settings.stop_ids)
    weight = model.output_weight
    cache = beginning.new_cache(len(prompt) + limit)
    logits = prefill(model, torch.tensor([prompt], device=weight.device), None, cache)
    running, finished = [Hypothesis([], 0.0)], list[Hypothesis]()
    wanted = max(2, 1 + len(stop_ids)) * k  # enough that k remain when the best ones all end
    for length in range(1, limit + 1):
        candidates, parents = _expand(logits[:, :vocabulary].float(), running, prompt, settings, wanted, limit)
        for candidate in candidates:
            candidate.stopped = candidate.tokens[-1] in stop_ids or ends(candidate.tokens)
        over = [candidate.stopped or length == limit for candidate in candidates]
        finished += [
            Hypothesis(candidate.tokens, candidate.score / length**alpha, candidate.stopped)
            for candidate, ended in zip(candidates[:k], over[:k], strict=True)
            if ended
        ]
        finished = sorted(finished, key=lambda hypothesis: -hypothesis.score)[:k]
        going = [place for place, ended in enumerate(over) if not ended][:k]
        if not going:
            break
        running = [candidates[place] for place in going]
        full = len(finished) == k
        if full and (settings.early_stopping or running[0].score / length**alpha <= finished[-1].score):
            break
        cache.select(torch.tensor([parents[place] for place in going], device=weight.device))
        newest = torch.tensor([[hypothesis.tokens[-1]] for hypothesis in running], device=weight.device)
        logits = advance(model, newest, None, None, cache)
    return finished


def _expand(
    logits: Tensor, running: list[Hypothesis], prompt: Sequence[int], settings: Settings, wanted: int, limit: int
) -> tuple[list[Hypothesis], list[int]]:
    """The best one-token extensions of the running beams, best first, and the beam that each grew from."""
    log_p = logits.log_softmax(-1)
    if settings.repetition_penalty != 1:
        seen = torch.zeros_like(log_p, dtype=torch.bool)
        for beam, hypothesis in enumerate(running):
            seen[beam, [*prompt, *hypothesis.tokens]] = True
        log_p = penalise_repetition(log_p, seen, settings.repetition_penalty)
    texts = [[*prompt, *hypothesis.tokens] for hypothesis in running]
    log_p = constrain(log_p, texts, [len(hypothesis.tokens) for hypothesis in running], [limit] * len(texts), settings)
    totals = log_p + torch.tensor([[hypothesis.score] for hypothesis in running], device=log_p.device)
    best, places = totals.flatten().topk(min(wanted, totals.numel()))
    possible = best > NEVER
    if possible.any():  # unless every token is forbidden
        best, places = best[possible], places[possible]
    n_ids = log_p.shape[-1]
    parents = [place // n_ids for place in places.tolist()]
    candidates = [
        Hypothesis([*running[parent].tokens, place % n_ids], score)
        for parent, place, score in zip(parents, places.tolist(), best.tolist(), strict=True)
    ]
    return candidates, parents


def generate_beam(
    model: Model,
    prompt: Sequence[int],
    settings: Settings,
    *,
    vocabulary: int | None = None,
    ends: Callable[[list[int]], bool] = lambda tokens: False,
) -> Generation:
    """The best continuation that `beam_search` finds."""
    start = time.perf_counter()
    best = beam_search(model, prompt, settings, vocabulary=vocabulary, ends=ends)[0]
    reason = "stop" if best.stopped else "length"
    return Generation("", best.tokens, reason, len(prompt), time.perf_counter() - start)
