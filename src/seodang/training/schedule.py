"""Learning-rate schedules as pure functions of progress."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["cosine", "linear", "constant", "wsd", "inverse-sqrt"]
DecayShape = Literal["linear", "cosine", "1-sqrt"]


@dataclass(frozen=True)
class Schedule:
    """A peak rate, a linear warm-up and a way down.

    cosine: Loshchilov & Hutter 2017 without restarts (GPT-1, GPT-3, LLaMA); linear: GPT-1's fine-tuning;
    wsd: warm-up, stable, then decay over the last `decay_share` of the run (Hu et al. 2024), in a straight line, as
    half a cosine, or as 1 - √x, which Hägele et al. 2024 found best; inverse-sqrt: the original Transformer's
    d^-0.5 · min(step^-0.5, step · warmup^-1.5) (Vaswani et al. 2017, eq. 3), whose peak is d^-0.5 · warmup^-0.5.
    """

    kind: Kind = "cosine"
    peak: float = 1e-3
    warmup: float = 0.0
    """Share of the run spent warming up from 0 to the peak."""
    min_ratio: float = 0.1
    """Rate at the end, as a share of the peak."""
    decay_share: float = 0.2
    decay_shape: DecayShape = "linear"

    def learning_rate(self, progress: float) -> float:
        """The rate when `progress` (0 to 1) of the run will be done at the end of the step."""
        progress = min(max(progress, 0.0), 1.0)
        if progress < self.warmup:
            return self.peak * progress / self.warmup
        rest = (progress - self.warmup) / max(1 - self.warmup, 1e-12)
        match self.kind:
            case "constant":
                share = 1.0
            case "linear":
                share = 1 - (1 - self.min_ratio) * rest
            case "cosine":
                share = self.min_ratio + (1 - self.min_ratio) * 0.5 * (1 + math.cos(math.pi * rest))
            case "inverse-sqrt":  # it never ends, and has no rate to end with
                share = math.sqrt(max(self.warmup, 1e-12) / progress) if self.warmup else 1.0
            case "wsd":
                into_decay = max(0.0, progress - (1 - self.decay_share)) / self.decay_share
                share = self.min_ratio + (1 - self.min_ratio) * self._decayed(min(into_decay, 1.0))
        return self.peak * share

    def _decayed(self, x: float) -> float:
        """From 1 to 0 as x goes from 0 to 1."""
        match self.decay_shape:
            case "linear":
                return 1 - x
            case "cosine":
                return 0.5 * (1 + math.cos(math.pi * x))
            case "1-sqrt":
                return 1 - math.sqrt(x)
