"""Masked language modelling against the plain formula, and however its rows are cut up."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seodang.data.batch import Batch
from seodang.objectives.masked import MaskedLanguageModelling
from tests.objectives.helpers import Bag, V, batch_of_pairs


class Fixed(nn.Module):
    """States are one-hot; the output matrix says which logits each has."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.output_weight, self.output_bias = torch.tensor(logits).T.contiguous(), None
        self.config = SimpleNamespace(logit_softcap=None)

    def forward(self, ids: Tensor, **_: object) -> Tensor:
        return F.one_hot(ids, self.output_weight.shape[1]).float()

    def to_output(self, hidden: Tensor) -> Tensor:
        return hidden

    def sentence_logits(self, hidden: Tensor) -> Tensor:
        return hidden[:, 0, :2] * math.log(4)


def test_by_hand() -> None:
    """Token 0 gives odds 3:1 for the classes 0 and 1, token 1 even ones; a row that begins with token 0 has odds 4:1
    for label 0."""
    model = Fixed([[math.log(3), 0.0], [0.0, 0.0]])
    ids, targets = torch.tensor([[0, 1, 0], [1, 0, 1]]), torch.tensor([[0, -100, 1], [1, -100, -100]])
    batch = Batch(ids, targets, labels=torch.tensor([0, -100]))
    objective = MaskedLanguageModelling("next_sentence")
    loss = objective(model, batch)
    assert loss["masked"].sum.item() == pytest.approx(-math.log(3 / 4) - math.log(1 / 4) - math.log(1 / 2), rel=1e-6)
    assert loss["next_sentence"].sum.item() == pytest.approx(-math.log(4 / 5), rel=1e-6)
    assert objective.weights(batch) == {"masked": 3, "next_sentence": 1} and set(loss) == {"masked", "next_sentence"}
    total = loss.total({"masked": 6, "next_sentence": 2})
    assert total.item() == pytest.approx(-math.log(3 / 32) / 6 - math.log(4 / 5) / 2, rel=1e-6)
    seen = objective(model.eval(), batch)
    assert {name: (int(seen[name].sum), seen[name].weight) for name in seen if not seen[name].coefficient} == {
        "masked_accuracy": (1, 3),  # 0 is right, 1 is not, and of even odds the first class is taken
        "next_sentence_accuracy": (1, 1),
    }


def test_gradients_are_those_of_the_plain_formula() -> None:
    model, plain, batch = Bag(), Bag(), batch_of_pairs()
    loss = MaskedLanguageModelling("sentence_order")(model, batch)
    (loss["masked"].sum + loss["sentence_order"].sum).backward()
    hidden = plain(batch.ids, segments=batch.segments, documents=batch.documents)
    assert batch.labels is not None
    expected = F.cross_entropy(plain.logits(hidden).flatten(0, 1), batch.targets.flatten(), reduction="sum")
    expected = expected + F.cross_entropy(plain.sentence_logits(hidden), batch.labels, reduction="sum")
    expected.backward()
    names = []
    for (name, a), b in zip(model.named_parameters(), plain.parameters(), strict=True):
        if b.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6)
            names.append(name)
    assert len(names) == 7 and "output_bias" in names  # all but ELECTRA's


def test_padding_changes_nothing() -> None:
    model, batch = Bag(), batch_of_pairs()
    pad = Batch(
        F.pad(batch.ids, (0, 4), value=V - 1),
        F.pad(batch.targets, (0, 4), value=-100),
        F.pad(batch.documents, (0, 4), value=-1),  # type: ignore[arg-type]
        segments=F.pad(batch.segments, (0, 4)),  # type: ignore[arg-type]
        labels=batch.labels,
    )
    objective = MaskedLanguageModelling("next_sentence")
    a, b = objective(model, batch), objective(model, pad)
    for name in a:
        assert a[name].sum.item() == pytest.approx(b[name].sum.item(), rel=1e-6) and a[name].weight == b[name].weight
