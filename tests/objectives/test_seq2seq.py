"""Teacher forcing against the plain formula."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seodang.objectives.seq2seq import TeacherForcing
from tests.objectives.helpers import Pair, batch_of_targets


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_plain_formula_and_its_gradients(smoothing: float) -> None:
    model, plain, batch = Pair(), Pair(), batch_of_targets()
    objective = TeacherForcing(label_smoothing=smoothing)
    (name,) = objective.weights(batch)
    loss = objective(model, batch)
    assert set(loss) == {name} == {"smoothed" if smoothing else "language"} and loss[name].weight == batch.n_targets
    loss[name].sum.backward()
    logits = plain.logits(plain(batch.decoder_ids, memory=plain.encode(batch.ids, documents=batch.documents)))
    flat = logits.flatten(0, 1), batch.targets.flatten()
    expected = F.cross_entropy(*flat, reduction="sum", label_smoothing=smoothing)
    expected.backward()
    assert loss[name].sum.item() == pytest.approx(expected.item(), rel=1e-5)
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        if b.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6)


def test_an_evaluation_is_the_likelihood() -> None:
    """Label smoothing is for training: what is measured can be compared with a model trained without."""
    model, batch = Pair().eval(), batch_of_targets()
    smooth, plain = TeacherForcing(label_smoothing=0.1)(model, batch), TeacherForcing()(model, batch)
    assert set(smooth) == {"language", "token_accuracy"} and smooth["language"].coefficient == 1
    assert smooth["language"].sum.item() == plain["language"].sum.item()
    hidden = model(batch.decoder_ids, memory=model.encode(batch.ids, documents=batch.documents))
    right = (model.logits(hidden).argmax(dim=-1) == batch.targets).sum()
    assert smooth["token_accuracy"].sum == right and smooth["token_accuracy"].weight == batch.n_targets


def test_the_target_itself_is_never_read() -> None:
    """What is predicted at a place depends on the decoder's ids up to it alone."""
    model, batch = Pair().eval(), batch_of_targets()
    assert batch.decoder_ids is not None
    memory = model.encode(batch.ids, documents=batch.documents)
    before = model(batch.decoder_ids, memory=memory)
    changed = batch.decoder_ids.clone()
    changed[:, 3:] = 0
    torch.testing.assert_close(model(changed, memory=memory)[:, :3], before[:, :3])
    followed = batch.targets[:, 1:] != -100
    assert torch.equal(batch.decoder_ids[:, 1:][followed], batch.targets[:, :-1][followed])
