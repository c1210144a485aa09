"""Truncated back-propagation through time (Williams & Peng 1990; Zaremba et al. 2014, sec. 4.1): gradients end where a
window begins, the state does not.

Shapes: B rows of a micro-batch, N streams of this process, (L, P, B, H) the state of a recurrent model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seodang.models.recurrent import StateCache
from seodang.objectives.language import LanguageModelling
from seodang.objectives.loss import Loss


@dataclass
class _Streams:
    """States (N, L, P, H) behind the windows of step `step`, and those behind the windows before."""

    step: int = -1
    now: Tensor | None = None
    before: Tensor | None = None

    def begin(self, step: int) -> None:
        """The windows of `step` come; nothing happens when they come again, in a step that memory ran out in."""
        if step != self.step:
            self.before = self.now if step == self.step + 1 else None
            self.now, self.step = None, step

    def read(self, first: int, state: Tensor) -> None:
        """Fill `state` (B, L, P, H), zeros, with what is known of the streams from place `first` on."""
        if self.before is not None and first < len(self.before):
            known = self.before[first : first + len(state)]
            state[: len(known)] = known

    def write(self, first: int, state: Tensor) -> None:
        """Remember the states (B, L, P, H) of the streams from place `first` on."""
        missing = first + len(state) - (0 if self.now is None else len(self.now))
        if missing > 0:
            more = state.new_zeros(missing, *state.shape[1:])
            self.now = more if self.now is None else torch.cat((self.now, more))
        assert self.now is not None
        self.now[first : first + len(state)] = state


class CarriedState:
    """Next-token prediction whose windows begin in the state that the window before them left.

    Row b of a batch goes on with stream `batch.stream[0] + b` unless its first position is 0; a batch without `stream`
    begins with empty states. A step may be computed twice, and in micro-batches of any size: states are read from
    the step before and written aside. Evaluation has streams of its own.
    """

    def __init__(self) -> None:
        self.objective = LanguageModelling()
        self._trained, self._evaluated = _Streams(), _Streams()

    def weights(self, batch: Any) -> dict[str, float]:
        """The number of targets."""
        return self.objective.weights(batch)

    def __call__(self, model: Any, batch: Any) -> Loss:
        if batch.stream is None:
            return self.objective(model, batch)
        first, step = batch.stream
        streams = self._trained if torch.is_grad_enabled() else self._evaluated
        streams.begin(step)
        cache: StateCache = model.new_cache(*batch.ids.shape)
        state = cache.state.permute(2, 0, 1, 3).clone()
        streams.read(first, state)
        if batch.positions is not None:
            state *= (batch.positions[:, 0] != 0)[:, None, None, None]
        else:
            state.zero_()
        cache = StateCache(state.permute(1, 2, 0, 3).contiguous())
        loss = self.objective(model, batch, cache)
        cache.advance(batch.ids.shape[1])
        streams.write(first, cache.state.detach().permute(2, 0, 1, 3))
        return loss

    def state_dict(self) -> dict[str, Tensor]:
        """`step`, and `states` (N, L, P, H) behind it; nothing before the first step."""
        if self._trained.now is None:
            return {}
        return {"step": torch.tensor(self._trained.step), "states": self._trained.now}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Inverse of `state_dict`."""
        self._trained = _Streams(int(state["step"]), state["states"]) if state else _Streams()
