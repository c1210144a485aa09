"""Schedules at points worked out by hand."""

from __future__ import annotations

import pytest

from seodang.training.schedule import Schedule


@pytest.mark.parametrize(
    ("kind", "at", "expected"),
    [
        ("cosine", 0.05, 0.5),  # half of the warm-up
        ("cosine", 0.1, 1.0),
        ("cosine", 0.55, 0.55),  # half-way down: the mean of 1 and 0.1
        ("cosine", 1.0, 0.1),
        ("linear", 0.55, 0.55),
        ("linear", 1.0, 0.1),
        ("constant", 0.9, 1.0),
        ("inverse-sqrt", 0.05, 0.5),
        ("inverse-sqrt", 0.1, 1.0),
        ("inverse-sqrt", 0.4, 0.5),  # four times the warm-up: 4^-0.5
        ("wsd", 0.8, 1.0),
        ("wsd", 0.9, 0.55),
        ("wsd", 1.0, 0.1),
    ],
)
def test_learning_rate(kind: str, at: float, expected: float) -> None:
    schedule = Schedule(kind=kind, peak=1.0, warmup=0.1, min_ratio=0.1)  # type: ignore[arg-type]
    assert schedule.learning_rate(at) == pytest.approx(expected)


def test_the_original_transformer_s_rate() -> None:
    """Equation 3 with d = 512 and 4,000 steps of warm-up, at steps 1,000, 4,000 and 100,000 of 100,000."""
    schedule = Schedule(kind="inverse-sqrt", peak=512**-0.5 * 4000**-0.5, warmup=0.04)
    for step in (1_000, 4_000, 100_000):
        expected = 512**-0.5 * min(step**-0.5, step * 4000**-1.5)
        assert schedule.learning_rate(step / 100_000) == pytest.approx(expected)


def test_no_warmup_starts_at_the_peak_and_stays_in_range() -> None:
    schedule = Schedule(kind="cosine", peak=2.0, warmup=0.0, min_ratio=0.0)
    assert schedule.learning_rate(0.0) == pytest.approx(2.0)
    assert schedule.learning_rate(1.5) == pytest.approx(0.0)


@pytest.mark.parametrize(("shape", "half"), [("linear", 0.5), ("cosine", 0.5), ("1-sqrt", 1 - 0.5**0.5)])
def test_ways_down_of_wsd(shape: str, half: float) -> None:
    schedule = Schedule(kind="wsd", peak=1.0, min_ratio=0.0, decay_share=0.4, decay_shape=shape)  # type: ignore[arg-type]
    assert schedule.learning_rate(0.59) == 1.0
    assert schedule.learning_rate(0.8) == pytest.approx(half)
    assert schedule.learning_rate(1.0) == pytest.approx(0.0)
    quarter = {"linear": 0.75, "cosine": 0.5 + 0.5 * 0.5**0.5, "1-sqrt": 0.5}[shape]
    assert schedule.learning_rate(0.7) == pytest.approx(quarter)
