"""Teacher forcing: -Σ log P(y_u | y_1 … y_{u-1}, source), every target token predicted from the true ones before it."""

from __future__ import annotations

from typing import Any

from seodang.objectives.language import count_correct, vocabulary_loss
from seodang.objectives.loss import Loss, Term


class TeacherForcing:
    """The loss of an encoder-decoder over a batch with `decoder_ids`: translation, denoising, continuation alike.

    label_smoothing: ε of Vaswani et al. 2017, sec. 5.4, in training only; the term is then called "smoothed", as it is
    no likelihood. An evaluation gives the likelihood, "language", and measures `token_accuracy`.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def weights(self, batch: Any) -> dict[str, float]:
        """The number of targets, by the name the term has in training."""
        return {"smoothed" if self.label_smoothing else "language": float(batch.n_targets)}

    def __call__(self, model: Any, batch: Any) -> Loss:
        memory = model.encode(batch.ids, documents=batch.documents)
        hidden = model(batch.decoder_ids, memory=memory)
        weight = float(batch.n_targets)
        if model.training and self.label_smoothing:
            total = vocabulary_loss(model, hidden, batch.targets, label_smoothing=self.label_smoothing)
            return Loss(smoothed=Term(total, weight))
        loss = Loss(language=Term(vocabulary_loss(model, hidden, batch.targets), weight))
        if not model.training:
            loss["token_accuracy"] = Term(count_correct(model, hidden, batch.targets), weight, coefficient=0)
        return loss
