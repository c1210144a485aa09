"""Fine-tuning on labelled examples (Radford et al. 2018, GPT-1, sec. 3.2), as losses to minimise.

    P(y | x1 … xm) = softmax(h_l^m · Wy)    eq. 3
    L2(C) = Σ log P(y | x1 … xm)            eq. 4
    L3(C) = L2(C) + λ · L1(C)               eq. 5, L1 of the labelled texts themselves

Shapes: B rows, S sequences of each, T tokens, D model width, C outputs of the class head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seodang.data.batch import IGNORE
from seodang.models.unpadded import states_of_texts
from seodang.objectives.language import vocabulary_loss
from seodang.objectives.loss import Loss, Term


def label_nats(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """-L2 (GPT-1, eq. 4): -Σ w_y log P(y | x) in nats over the rows with a label, each times its class's weight.

    logits (B, C), or of a choice (B, S) with -inf for an answer that does not exist; labels (B,) int64, -100 for none;
    class_weights (C,), 1 each when not given.
    """
    return F.cross_entropy(logits.float(), labels, class_weights, ignore_index=IGNORE, reduction="sum")


def squared_error(scores: Tensor, labels: Tensor) -> Tensor:
    """Σ (score - label)² over the rows with a label (not NaN): regression, as BERT's released code does STS-B.

    scores (B,), labels (B,) float32.
    """
    known = ~labels.isnan()
    return (scores.float()[known] - labels[known]).square().sum()


def task_outputs(model: Any, batch: Any, kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """What the class head says of each row, (B, C), or of a choice (B, S) with -inf for answers that do not exist; the
    hidden states (N, T, D) of the N sequences that exist, and which these are, (B·S,).

    kind: of the task (data/labelled.py). "similar": the vectors of a row's sequences are added before Wy; "choice":
    one score for each sequence (GPT-1, sec. 3.3). Neither padding nor the other rows change what is said of one.
    """
    flat = batch.sequences()
    n_rows, n_sequences = len(batch.ids), len(flat.ids) // len(batch.ids)
    real = None if flat.documents is None else flat.documents >= 0
    exists = torch.ones(len(flat.ids), dtype=torch.bool, device=flat.ids.device) if real is None else real.any(dim=1)
    segments, mask = (None if x is None else x[exists] for x in (flat.segments, real))
    hidden = states_of_texts(model, flat.ids[exists], mask, segments)
    vectors = model.text_vectors(hidden, mask)
    with torch.autocast(vectors.device.type, enabled=False):  # a few numbers, on which everything depends
        vectors = vectors.to(model.classifier.weight.dtype)
        if kind == "choice":
            scores = model.class_logits(vectors).float()
            outputs = scores.new_full((len(exists), 1), -torch.inf).masked_scatter(exists[:, None], scores)
            return outputs.view(n_rows, n_sequences), hidden, exists
        if n_sequences > 1:
            rows = torch.arange(len(exists), device=exists.device)[exists] // n_sequences
            vectors = vectors.new_zeros(n_rows, vectors.shape[1]).index_add(0, rows, vectors)
        return model.class_logits(vectors).float(), hidden, exists


class Classification:
    """L3 = L2 + λ·L1 (GPT-1, eq. 5): the mean loss of an example, and λ times that of a token of the texts.

    The term `task` is L2, or the squared error of a regression; `language` is L1, where λ is not 0. An evaluation
    measures the `accuracy` of classes and choices.
    """

    def __init__(
        self,
        kind: str,
        *,
        regression: bool = False,
        aux_weight: float = 0.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        """kind: of the task; aux_weight: λ; class_weights: one for each class (`labelled.class_weights`)."""
        self.kind, self.regression, self.aux_weight = kind, regression, aux_weight
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)

    def weights(self, batch: Any) -> dict[str, float]:
        """The number of labelled rows, or the sum of their classes' weights; the number of predicted tokens."""
        labels = batch.labels
        known = labels[~labels.isnan()] if self.regression else labels[labels != IGNORE]
        weight = float(len(known)) if self.class_weights is None else float(self.class_weights[known.cpu()].sum())
        return {"task": weight} | ({"language": float(batch.n_targets)} if self.aux_weight else {})

    def __call__(self, model: Any, batch: Any) -> Loss:
        outputs, hidden, exists = task_outputs(model, batch, self.kind)
        weights = self.weights(batch)
        if self.regression:
            loss = Loss(task=Term(squared_error(outputs[:, 0], batch.labels), weights["task"]))
        else:
            scale = None if self.class_weights is None else self.class_weights.to(outputs.device)
            loss = Loss(task=Term(label_nats(outputs, batch.labels, scale), weights["task"]))
            if not model.training:
                known = batch.labels != IGNORE
                right = (outputs.argmax(dim=1) == batch.labels) & known
                loss["accuracy"] = Term(right.sum(), float(known.sum()), coefficient=0)
        if self.aux_weight:
            targets = batch.sequences().targets[exists]
            loss["language"] = Term(vocabulary_loss(model, hidden, targets), weights["language"], self.aux_weight)
        return loss
