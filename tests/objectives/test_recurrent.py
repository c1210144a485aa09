"""States carried from window to window: one long text in pieces, retried steps, micro-batches, evaluation, resuming."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from seodang.checkpoints.training import newest_checkpoint
from seodang.data.batch import Batch
from seodang.models.base import Model
from seodang.objectives.language import LanguageModelling
from seodang.objectives.recurrent import CarriedState
from seodang.training.carried import carried_tensors, load_carried
from seodang.training.parallel import Ranks
from tests.training.helpers import CPU, one_step, tiny
from tests.training.run_for_kill import build

ROWS, WINDOW = 6, 5
TEXT = torch.randint(0, 40, (ROWS, 20 * WINDOW + 1), generator=torch.Generator().manual_seed(5))


def lively(name: str) -> Model:
    """A model that what came before makes a difference to."""
    return tiny(name, init_std=1.5)


def window(step: int, rows: slice = slice(None), epoch_steps: int = 20) -> Batch:
    """Window `step` of every row's text; the third row begins a new document at window 3, and in window 5's middle."""
    at = step % epoch_steps * WINDOW
    ids, targets = TEXT[rows, at : at + WINDOW], TEXT[rows, at + 1 : at + 1 + WINDOW]
    place = at + torch.arange(WINDOW).expand(ROWS, -1).clone()
    documents = torch.zeros(ROWS, WINDOW, dtype=torch.long)
    place[2] -= 15 * (at >= 15)
    if at == 25:
        documents[2, 2:] = 1
    place[2] -= (12 * documents[2]) * (at >= 25) + 12 * (at > 25)
    first = rows.start or 0
    return Batch(ids, targets, documents[rows], place[rows], stream=(first, step))


@pytest.mark.parametrize("name", ["rnn-mini", "lstm-mini", "gru-mini"])
def test_windows_equal_one_long_text(name: str) -> None:
    model, objective = lively(name), CarriedState()
    losses = [float(objective(model, window(step))["language"].sum.detach()) for step in range(4)]
    n = 4 * WINDOW
    documents = torch.zeros(ROWS, n, dtype=torch.long)
    documents[2, 3 * WINDOW :] = 1
    long = LanguageModelling()(model, Batch(TEXT[:, :n], TEXT[:, 1 : n + 1], documents))
    assert sum(losses) == pytest.approx(float(long["language"].sum.detach()), rel=1e-5)
    alone = LanguageModelling()(model, replace(window(3), stream=None))
    assert abs(losses[3] - float(alone["language"].sum.detach())) > 0.1


def test_gradients_end_where_a_window_begins() -> None:
    """As those of a window behind a state that is given as numbers."""
    model, plain, objective = lively("lstm-mini"), lively("lstm-mini"), CarriedState()
    objective(model, window(0))
    objective(model, window(1))["language"].sum.backward()
    cache = plain.new_cache(ROWS, WINDOW)
    with torch.no_grad():
        plain(TEXT[:, :WINDOW], cache=cache)
    cache.advance(WINDOW)
    LanguageModelling()(plain, Batch(TEXT[:, 5:10], TEXT[:, 6:11]), cache)["language"].sum.backward()
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=1e-5)


def test_a_step_can_be_done_twice_and_in_any_micro_batches() -> None:
    """What a run that met no trouble sees is what one sees that ran out of memory in the middle of each step."""
    model = lively("gru-mini")
    smooth, rough = CarriedState(), CarriedState()
    for step in range(4):
        whole = float(smooth(model, window(step))["language"].sum.detach())
        rough(model, window(step, slice(0, 4)))  # and then memory ran out
        parts = [rough(model, part) for part in window(step).split(2)]
        assert sum(float(part["language"].sum.detach()) for part in parts) == pytest.approx(whole, rel=1e-6)


def test_an_epoch_begins_empty() -> None:
    model, objective = lively("lstm-mini"), CarriedState()
    first = float(objective(model, window(0, epoch_steps=3))["language"].sum.detach())
    for step in (1, 2):
        objective(model, window(step, epoch_steps=3))
    again = objective(model, window(3, epoch_steps=3))
    assert float(again["language"].sum.detach()) == pytest.approx(first, rel=1e-6)


def test_a_gap_between_steps_begins_empty() -> None:
    model, objective = lively("lstm-mini"), CarriedState()
    objective(model, window(0))
    objective(model, window(1))
    alone = float(LanguageModelling()(model, replace(window(3), stream=None))["language"].sum.detach())
    assert float(objective(model, window(3))["language"].sum.detach()) == pytest.approx(alone, rel=1e-6)


def test_evaluation_leaves_the_training_streams_alone() -> None:
    model, objective, other = lively("lstm-mini"), CarriedState(), CarriedState()
    for carrying in (objective, other):
        carrying(model, window(0))
    with torch.no_grad():
        for step in range(3):
            objective(model, window(step))
        unseen = objective(model, replace(window(7), stream=None))  # as evaluation batches without streams are
    plain = LanguageModelling()(model, window(7))
    assert float(unseen["language"].sum) == pytest.approx(float(plain["language"].sum.detach()), rel=1e-6)
    now = (carrying(model, window(1))["language"].sum.detach() for carrying in (objective, other))
    assert torch.equal(*now)


class Streams:
    """Step n is window n of every row, in micro-batches of 2. Behind `last` the power fails."""

    def __init__(self, last: int = 1000) -> None:
        self.step, self.micro_batch_size, self.last = 0, 2, last

    def __iter__(self) -> Iterator[list[Batch]]:
        while self.step < self.last:
            batch = window(self.step)
            self.step += 1
            yield batch.split(self.micro_batch_size)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]


def _run(out: Path, last: int = 1000) -> dict[str, torch.Tensor]:
    trainer = build(out, 8, save_every=4, loader=Streams(last), model="lstm-mini", objective=CarriedState())
    trainer.evaluation = []
    trainer.fit()
    newest = newest_checkpoint(out)
    assert newest is not None
    return load_file(newest / "model.safetensors") | load_file(newest / "training.safetensors")


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole = _run(tmp_path / "whole")
    with pytest.raises(StopIteration):
        _run(tmp_path / "broken", last=5)
    broken = _run(tmp_path / "broken")
    assert whole["objective/states"].shape == (ROWS, 2, 2, 16)
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_states_of_several_processes_are_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five rows on two processes: each has every second one, and any number of processes takes them up."""
    rows = torch.arange(5.0)[:, None]
    shares = [CarriedState(), CarriedState()]
    for share, objective in enumerate(shares):
        objective.load_state_dict({"step": torch.tensor(3), "states": rows[share::2]})
    padded = [torch.cat((rows[0::2],)), torch.cat((rows[1::2], torch.zeros(1, 1)))]
    monkeypatch.setattr(Ranks, "most", lambda self, value, device="cpu": 3)
    monkeypatch.setattr(Ranks, "sum", lambda self, values, device="cpu": [5.0])
    monkeypatch.setattr(Ranks, "gather", lambda self, values, device="cpu": padded)
    for share, objective in enumerate(shares):
        found = carried_tensors(objective, Ranks(rank=share, world_size=2), CPU)
        assert torch.equal(found["objective/states"], rows) and int(found["objective/step"]) == 3
    taken = CarriedState()
    load_carried(taken, dict(found), Ranks(rank=2, world_size=3))
    assert taken.state_dict()["states"].flatten().tolist() == [2.0]


def test_a_training_step_moves_the_weights() -> None:
    model = lively("lstm-mini")
    before = one_step(model, window(0).split(3)).loss
    for _ in range(9):
        after = one_step(model, window(0).split(3)).loss
    assert after < before - 0.3
