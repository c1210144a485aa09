"""The probability of a text: P(W) = Π P(w_i | w_1 … w_{i-1}), token by token.

Shapes: B rows, T positions, N counted positions of a batch, V vocabulary. Rows are padded on the right, where a
causal model never looks from a real token, so no row depends on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seodang.errors import UsageError
from seodang.inference.beginning import begin
from seodang.inference.sampling import Settings
from seodang.models.base import Model

_POSITIONS = 512
"""Rows of logits alive at a time: a long text with a large vocabulary would otherwise need gigabytes."""


@dataclass
class Score:
    """A text's tokens and what the model thinks of them."""

    text: str
    tokens: list[str]
    ids: list[int]
    logprobs: list[float | None]
    """Natural logarithms; None for a first token that nothing stands before."""
    n_bytes: int
    """UTF-8 bytes of the tokens that have a logprob."""

    @property
    def n_counted(self) -> int:
        """Tokens that have a logprob: all, or all but the first."""
        return sum(logprob is not None for logprob in self.logprobs)

    @property
    def logprob(self) -> float:
        """log P of the counted tokens together, in nats."""
        return math.fsum(logprob for logprob in self.logprobs if logprob is not None)

    @property
    def perplexity(self) -> float:
        """exp of the mean negative logprob of the counted tokens; nan when there is none."""
        if not self.n_counted:
            return math.nan
        mean = -self.logprob / self.n_counted
        return math.exp(mean) if mean < 700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Bits needed for the counted tokens, for each byte of their text; nan when there is none."""
        return -self.logprob / math.log(2) / self.n_bytes if self.n_bytes else math.nan


@dataclass(frozen=True)
class _Window:
    """Tokens to read together, and how many of them at the end are to be counted."""

    row: int
    ids: tuple[int, ...]
    n_counted: int


def windows(sequence: Sequence[int], context_length: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Cut a sequence into (ids, number of ids counted at the end), so that every id but the first is counted once.

    A sequence of up to context_length + 1 ids is one window: its last id is predicted and not read. A longer one
    advances by half a context, so that a counted id has at least half a context before it.
    """
    start, counted = 0, 1
    while counted < len(sequence):
        end = min(start + context_length + 1, len(sequence))
        yield tuple(sequence[start:end]), end - counted
        counted = end
        start = end - 1 - context_length // 2


def token_logprobs(
    model: Model, sequences: Sequence[Sequence[int]], *, batch_size: int = 16
) -> list[list[float]]:
    """log P(s_i | s_1 … s_{i-1}) for every id but the first of each sequence, natural, computed in float32.

    Raises UsageError for a masked model.
    """
    if model.kind == "masked":
        raise UsageError(
            "the probability of a text from a masked model",
            "it guesses masked tokens from both sides; P(W) = Π P(w_i given w_1 … w_{i-1}) reads from the left alone",
            "score with a decoder; for the tokens in a blank: seodang fill",
        )
    context = model.max_tokens
    pieces = [
        _Window(row, ids, n_counted)
        for row, sequence in enumerate(sequences)
        for ids, n_counted in windows(sequence, context)
    ]
    found: dict[int, list[float]] = {}
    by_length = sorted(range(len(pieces)), key=lambda place: -len(pieces[place].ids))
    for start in range(0, len(by_length), batch_size):
        places = by_length[start : start + batch_size]
        for place, values in zip(places, _batch(model, [pieces[place] for place in places]), strict=True):
            found[place] = values
    results: list[list[float]] = [[] for _ in sequences]
    for place, piece in enumerate(pieces):
        results[piece.row] += found[place]
    return results


@torch.inference_mode()
def _batch(model: Model, pieces: list[_Window]) -> list[list[float]]:
    device = model.output_weight.device
    hidden = model(pad_right([piece.ids[:-1] for piece in pieces], device))
    ends = [len(piece.ids) - 1 for piece in pieces]  # of what was read; the last id is only predicted
    states = [row[end - piece.n_counted : end] for row, piece, end in zip(hidden, pieces, ends, strict=True)]
    targets = torch.tensor([token for piece in pieces for token in piece.ids[-piece.n_counted :]], device=device)
    values = iter(logprobs_of(model, torch.cat(states), targets).tolist())
    return [[next(values) for _ in range(piece.n_counted)] for piece in pieces]


@torch.inference_mode()
def answer_logprobs(
    model: Model,
    sources: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    settings: Settings,
    *,
    batch_size: int = 16,
) -> list[list[float]]:
    """log P(y_i | y_1 … y_{i-1}, source) for every id of each answer by an encoder-decoder, natural, in float32.

    Raises FitError for an answer that is longer than the decoder reads.
    """
    found: dict[int, list[float]] = {}
    by_length = sorted(range(len(answers)), key=lambda row: -len(answers[row]))
    for first in range(0, len(by_length), batch_size):
        rows = by_length[first : first + batch_size]
        beginning = begin(model, [sources[row] for row in rows], settings)
        read = [[*start, *answers[row][:-1]] for start, row in zip(beginning.prompts, rows, strict=True)]
        hidden = model(pad_right(read, model.output_weight.device), memory=beginning.memory)
        for states, row in zip(hidden, rows, strict=True):
            targets = torch.tensor(answers[row], device=hidden.device)
            found[row] = logprobs_of(model, states[: len(targets)], targets).tolist()
    return [found[row] for row in range(len(answers))]


def logprobs_of(model: Model, states: Tensor, targets: Tensor) -> Tensor:
    """log P of `targets` (N,) at hidden states (N, D), some positions at a time; (N,) in float32."""
    parts = zip(states.split(_POSITIONS), targets.split(_POSITIONS), strict=True)
    return torch.cat([-F.cross_entropy(model.logits(part).float(), target, reduction="none") for part, target in parts])


def pad_right(rows: Sequence[Sequence[int]], device: torch.device | str) -> Tensor:
    """Rows of ids as one tensor (B, T); what fills the ends is never read from a real position."""
    longest = max(len(row) for row in rows)
    return torch.tensor([list(row) + [0] * (longest - len(row)) for row in rows], device=device)
