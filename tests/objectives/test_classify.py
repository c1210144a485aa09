"""L2, L3, choices and regression: worked by hand, against the plain formula, and however rows are cut up."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seodang.data.batch import Batch
from seodang.models.base import Model
from seodang.models.families import build_model, with_classes
from seodang.models.sizes import published
from seodang.objectives.classify import Classification, label_nats, squared_error, task_outputs
from seodang.objectives.loss import Loss

LOG2, LOG3 = math.log(2), math.log(3)


class Fixed(nn.Module):
    """A decoder whose states are one-hot, with matrices of which a row says what a token scores."""

    kind, recurrent = "causal", True

    def __init__(self, classes: list[list[float]], tokens: list[list[float]]) -> None:
        super().__init__()
        self.classifier = nn.Linear(len(classes), len(classes[0]), bias=False)
        self.classifier.weight.data = torch.tensor(classes).T.contiguous()
        self.output_weight, self.output_bias = torch.tensor(tokens).T.contiguous(), None
        self.config = SimpleNamespace(logit_softcap=None)

    def forward(self, ids: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return F.one_hot(ids, len(self.output_weight)).float()

    def text_vectors(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        last = hidden.shape[1] - 1 if mask is None else mask.shape[1] - 1 - mask.long().flip(1).argmax(1)
        return hidden[torch.arange(len(hidden)), last]

    def class_logits(self, vectors: Tensor) -> Tensor:
        return self.classifier(vectors)

    def to_output(self, hidden: Tensor) -> Tensor:
        return hidden


# token 0: classes 3:1, next tokens even; token 1: classes 1:1, token 0 three times as probable; token 2: classes 1:2
MODEL = Fixed(
    [[LOG3, 0.0], [0.0, 0.0], [0.0, LOG2]],
    [[0.0, 0.0, 0.0], [math.log(6), LOG2, 0.0], [0.0, 0.0, 0.0]],
)


def batch(rows: list[list[list[int]]], labels: list[float], **changes: Any) -> Batch:
    """(B, S, T) with the next tokens as targets; a sequence that a row lacks is padding."""
    length, n = max(len(s) for row in rows for s in row), max(map(len, rows))
    ids = torch.full((len(rows), n, length), 1)
    targets, documents = torch.full_like(ids, -100), torch.full_like(ids, -1)
    for b, row in enumerate(rows):
        for s, sequence in enumerate(row):
            ids[b, s, : len(sequence)], documents[b, s, : len(sequence)] = torch.tensor(sequence), 0
            targets[b, s, : len(sequence) - 1] = torch.tensor(sequence[1:])
    return Batch(ids, targets, documents, labels=torch.tensor(labels), **changes)


def test_l2_and_l3_by_hand() -> None:
    """Texts 1 0, 0 1 and 2: P(0) = 3/4, P(1) = 1/2, P(1) = 2/3. Of the texts, P(0 | 1) = 6/9 and P(1 | 0) = 1/3."""
    rows = batch([[[1, 0]], [[0, 1]], [[2]]], [0, 1, 1])
    objective = Classification("classify", aux_weight=0.5)
    loss = objective(MODEL.train(), rows)
    nats, tokens = math.log(4 / 3) + math.log(2) + math.log(3 / 2), math.log(3 / 2) + math.log(3)
    assert loss["task"].sum.item() == pytest.approx(nats, rel=1e-6) and loss["task"].weight == 3
    assert loss["language"].sum.item() == pytest.approx(tokens, rel=1e-6) and loss["language"].weight == 2
    assert objective.weights(rows) == {"task": 3, "language": 2} and set(loss) == {"task", "language"}
    assert loss.total({"task": 6, "language": 4}).item() == pytest.approx(nats / 6 + 0.5 * tokens / 4, rel=1e-6)
    seen = Classification("classify")(MODEL.eval(), rows)
    assert (int(seen["accuracy"].sum), seen["accuracy"].weight, seen["accuracy"].coefficient) == (2, 3, 0)
    assert set(seen) == {"task", "accuracy"}


def test_rows_without_a_label_carry_no_task_loss() -> None:
    rows = batch([[[1, 0]], [[0, 1]]], [0, -100])
    loss = Classification("classify", aux_weight=1.0)(MODEL.eval(), rows)
    assert loss["task"].sum.item() == pytest.approx(math.log(4 / 3), rel=1e-6) and loss["task"].weight == 1
    assert loss["accuracy"].weight == 1 and loss["language"].weight == 2


def test_class_weights_by_hand() -> None:
    """Class 0 weighs 2, class 1 weighs 1/2: the mean is over the weights."""
    rows = batch([[[0]], [[0]], [[1]]], [0, 1, 1])
    objective = Classification("classify", class_weights=[2.0, 0.5])
    loss = objective(MODEL, rows)
    expected = 2 * math.log(4 / 3) + 0.5 * math.log(4) + 0.5 * math.log(2)
    assert loss["task"].sum.item() == pytest.approx(expected, rel=1e-6)
    assert objective.weights(rows) == {"task": 3.0} and loss["task"].weight == 3.0


def test_similarity_adds_both_orders_before_the_matrix() -> None:
    """States of tokens 0 and 2 are added: scores (log 3, log 2), so P(1) = 2/5."""
    loss = Classification("similar")(MODEL, batch([[[1, 0], [0, 2]]], [1]))
    assert loss["task"].sum.item() == pytest.approx(math.log(5 / 2), rel=1e-6)


def test_choice_is_one_softmax_over_the_answers_that_exist() -> None:
    """Answers that end with tokens 0, 1, 2 score log 3, 0, 0 with a head of one output; a row of two answers has no
    third."""
    model = Fixed([[LOG3], [0.0], [0.0]], [[0.0] * 3] * 3)
    rows = batch([[[1, 0], [0, 1], [2]], [[1], [0]]], [0, 0])
    loss = Classification("choice")(model.eval(), rows)
    assert loss["task"].sum.item() == pytest.approx(math.log(5 / 3) + math.log(4), rel=1e-6)
    assert int(loss["accuracy"].sum) == 1
    outputs, hidden, exists = task_outputs(model, rows, "choice")
    assert outputs[1, 2] == -math.inf and len(hidden) == 5 and exists.tolist() == [True] * 5 + [False]


def test_regression_by_hand() -> None:
    model = Fixed([[1.5], [0.0], [-2.0]], [[0.0] * 3] * 3)
    rows = batch([[[0]], [[2]], [[1]]], [1.0, 0.5, math.nan])
    loss = Classification("similar", regression=True)(model.eval(), rows)
    assert loss["task"].sum.item() == pytest.approx(0.25 + 6.25) and loss["task"].weight == 2
    assert set(loss) == {"task"}


def test_pure_functions() -> None:
    logits, labels = torch.tensor([[LOG3, 0.0], [0.0, 0.0]]), torch.tensor([1, -100])
    assert label_nats(logits, labels).item() == pytest.approx(math.log(4), rel=1e-6)
    assert squared_error(torch.tensor([1.0, 9.0]), torch.tensor([3.0, math.nan])).item() == 4


def _model(name: str, n_classes: int) -> Model:
    model = build_model(replace(published(name), vocab_size=30, n_layers=1).with_dropout(0))
    model.init_weights(torch.Generator().manual_seed(0))
    return with_classes(model, n_classes, 0.0, torch.Generator().manual_seed(1))[0].train()


def _rows(kind: str, *, encoder: bool) -> Batch:
    """Six rows of texts of different lengths; two orders of each, or up to three answers."""
    generator, n = torch.Generator().manual_seed(3), {"similar": 2, "choice": 3}.get(kind, 1)
    rows = [
        [torch.randint(4, 30, (2 + (b + s) % 5,), generator=generator).tolist() for s in range(n - (b == 2) * (n == 3))]
        for b in range(6)
    ]
    made = batch(rows, [0, 1, 1, 0, -100, 1])
    return replace(made, segments=(made.ids > 20).long()) if encoder else made


def _gradients(model: Model, parts: list[Batch], objective: Classification) -> tuple[float, dict[str, Tensor]]:
    weights = {
        name: sum(objective.weights(part)[name] for part in parts) for name in objective.weights(parts[0])
    }
    model.zero_grad()
    total = 0.0
    for part in parts:
        loss: Loss = objective(model, part)
        value = loss.total(weights)
        value.backward()
        total += value.item()
    return total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name, kind, aux", [
    ("gpt2-mini", "classify", 0.5), ("gpt2-mini", "choice", 0.5), ("lstm-mini", "similar", 0.5),
    ("bert-tiny", "entail", 0.0), ("bert-tiny", "choice", 0.0),
])  # fmt: skip
def test_how_rows_are_cut_up_changes_nothing(name: str, kind: str, aux: float) -> None:
    """One micro-batch of six rows or six of one, each as wide as it must be: the same loss and gradients."""
    model = _model(name, 1 if kind == "choice" else 2)
    whole = _rows(kind, encoder=model.kind == "masked")
    objective = Classification(kind, aux_weight=aux, class_weights=None if kind == "choice" else [0.5, 2.0])
    alone = []
    for part in whole.split(1):
        assert part.documents is not None
        n = int((part.documents >= 0).sum(-1).max())
        cut = {key: getattr(part, key)[..., :n] for key in ("ids", "targets", "documents")}
        alone.append(replace(part, **cut, segments=None if part.segments is None else part.segments[..., :n]))
    total, expected = _gradients(model, [whole], objective)
    found, gradients = _gradients(model, alone, objective)
    assert found == pytest.approx(total, rel=1e-5) and set(gradients) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(gradients[key], value, rtol=1e-4, atol=1e-6)
    assert float(expected["classifier.weight"].abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["gpt1-mini", "llama-mini", "gru-mini", "bert-tiny", "electra-mini"])
def test_padding_on_either_side_changes_nothing(name: str) -> None:
    model, objective = _model(name, 2), Classification("classify")
    rows = _rows("classify", encoder=model.kind == "masked")
    expected, seen = objective(model, rows)["task"].sum, []
    for sides in ((3, 0), (0, 4), (2, 2)):
        shifted = {key: F.pad(getattr(rows, key), sides, value=value)
                   for key, value in (("ids", 7), ("targets", -100), ("documents", -1))}  # fmt: skip
        segments = None if rows.segments is None else F.pad(rows.segments, sides)
        seen.append(objective(model, replace(rows, **shifted, segments=segments))["task"].sum)
    torch.testing.assert_close(torch.stack(seen), expected.expand(3), rtol=1e-5, atol=1e-5)
