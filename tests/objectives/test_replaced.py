"""ELECTRA's objective: what is sampled, what counts as replaced, and where gradients go."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from seodang.data.batch import Batch
from seodang.objectives.replaced import LAMBDA, ReplacedTokenDetection, fill_masks, sample_tokens
from tests.objectives.helpers import Electra, V, batch_of_masks


def test_samples_by_hand() -> None:
    """Probabilities 1/2, 1/4, 1/4: a draw below 1/2 is the first token, and so on."""
    logits = torch.tensor([[2.0, 1.0, 1.0]]).log().expand(6, 3)
    draws = torch.tensor([0.0, 0.49, 0.51, 0.74, 0.76, 0.9999999999], dtype=torch.float64)
    assert sample_tokens(logits, draws).tolist() == [0, 0, 1, 1, 2, 2]
    never = torch.tensor([[-math.inf, 0.0, -math.inf]])
    assert sample_tokens(never.expand(2, 3), torch.tensor([0.0, 0.9999999])).tolist() == [1, 1]


def test_samples_follow_the_generator() -> None:
    logits = torch.randn(7)
    found = sample_tokens(logits.expand(100_000, 7), torch.rand(100_000, dtype=torch.float64))
    shares = found.bincount(minlength=7) / 100_000
    torch.testing.assert_close(shares, logits.softmax(dim=0), rtol=0, atol=0.008)


def test_only_masks_are_filled_in() -> None:
    model, batch = Electra(), batch_of_masks()
    hidden = model.generator(batch.ids, documents=batch.documents)
    filled = fill_masks(model.generator, hidden, batch.ids, batch.targets, batch.draws)
    masked = batch.targets != -100
    assert (filled[~masked] == batch.ids[~masked]).all() and len(set(filled[masked].tolist())) > 3
    again = fill_masks(model.generator, hidden, batch.ids, batch.targets, batch.draws)
    assert torch.equal(filled, again)
    other = fill_masks(model.generator, hidden, batch.ids, batch.targets, None)
    assert not torch.equal(filled, other)


class Told(Electra):
    """A generator that always answers `answer`, and a discriminator whose logits are given."""

    def __init__(self, answer: int, logits: list[list[float]]) -> None:
        super().__init__()
        generator: Any = self.generator
        with torch.no_grad():
            generator.output_bias.fill_(-1e4)[answer] = 1e4
        self.told = torch.tensor(logits)

    def replaced_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.told


def test_by_hand() -> None:
    """Places 1 and 2 were masked, 7 and 9; the generator says 9 twice, so place 1 is replaced and place 2 is original.
    The last place is padding. Logits ±log 3 are probabilities of 3/4 and 1/4."""
    up, down = math.log(3), -math.log(3)
    model = Told(9, [[down, up, up, 50.0]])
    batch = Batch(
        torch.tensor([[5, 3, 3, 0]]), torch.tensor([[-100, 7, 9, -100]]), torch.tensor([[0, 0, 0, -1]]),
        draws=torch.full((1, 4), 0.5, dtype=torch.float64),
    )  # fmt: skip
    objective = ReplacedTokenDetection()
    assert objective.weights(batch) == {"generator": 2, "replaced": 3}
    loss = objective(model, batch)
    assert loss["replaced"].sum.item() == pytest.approx(-2 * math.log(3 / 4) - math.log(1 / 4), rel=1e-6)
    assert (loss["replaced"].weight, loss["replaced"].coefficient, LAMBDA) == (3, 50, 50)
    assert loss["generator"].sum.item() == pytest.approx(2e4, rel=1e-4) and loss["generator"].weight == 2
    total = loss.total(objective.weights(batch)).item()
    assert total == pytest.approx(loss["generator"].sum.item() / 2 + 50 * loss["replaced"].sum.item() / 3, rel=1e-6)
    seen = objective(model.eval(), batch)
    measured = {name: (int(seen[name].sum), seen[name].weight) for name in seen if not seen[name].coefficient}
    assert measured == {
        "masked_accuracy": (1, 2), "replaced_accuracy": (2, 3), "replaced_share": (1, 3), "replaced_recall": (1, 1)
    }  # fmt: skip


def test_no_gradient_goes_through_the_samples() -> None:
    model, batch = Electra(), batch_of_masks()
    loss = ReplacedTokenDetection()(model, batch)
    loss["replaced"].sum.backward(retain_graph=True)
    assert all(p.grad is None for p in model.generator.parameters())
    assert model.detect.weight.grad is not None and model.detect.weight.grad.any()
    model.zero_grad(set_to_none=True)
    loss["generator"].sum.backward()
    assert model.detect.weight.grad is None and model.generator.transform.weight.grad is not None


def test_the_plain_formula_with_gradients() -> None:
    model, batch = Electra(), batch_of_masks()
    loss = ReplacedTokenDetection()(model, batch)
    loss.total(ReplacedTokenDetection().weights(batch)).backward()
    plain = Electra()
    hidden = plain.generator(batch.ids, documents=batch.documents)
    filled = fill_masks(plain.generator, hidden, batch.ids, batch.targets, batch.draws)
    originals = torch.where(batch.targets != -100, batch.targets, batch.ids)
    assert batch.documents is not None
    real = batch.documents >= 0
    logits = plain.replaced_logits(plain(filled, documents=batch.documents))
    masked = F.cross_entropy(plain.generator.logits(hidden).flatten(0, 1), batch.targets.flatten())
    found = F.binary_cross_entropy_with_logits(logits[real], (filled != originals)[real].float())
    (masked + 50 * found).backward()
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if b.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


def test_the_discriminator_has_no_loss_on_padding() -> None:
    model, batch = Electra(), batch_of_masks()
    seen: list[torch.Tensor] = []

    def keep(hidden: torch.Tensor) -> torch.Tensor:
        logits = Electra.replaced_logits(model, hidden)
        logits.retain_grad()
        seen.append(logits)
        return logits

    object.__setattr__(model, "replaced_logits", keep)
    loss = ReplacedTokenDetection()(model, batch)
    loss["replaced"].sum.backward()
    assert batch.documents is not None and seen[0].grad is not None
    assert torch.equal(seen[0].grad != 0, batch.documents >= 0)
    more = replace(
        batch,
        ids=F.pad(batch.ids, (0, 3), value=V - 1),
        targets=F.pad(batch.targets, (0, 3), value=-100),
        documents=F.pad(batch.documents, (0, 3), value=-1),
        draws=F.pad(batch.draws, (0, 3)),  # type: ignore[arg-type]
    )
    padded = ReplacedTokenDetection()(Electra(), more)
    for name in loss:
        assert padded[name].weight == loss[name].weight
        assert padded[name].sum.item() == pytest.approx(loss[name].sum.item(), rel=1e-5)


def test_without_padding_every_token_counts() -> None:
    batch = replace(batch_of_masks(), documents=None)
    loss = ReplacedTokenDetection()(Electra(), batch)
    assert loss["replaced"].weight == batch.ids.numel()
    assert isinstance(Electra().config, SimpleNamespace)
