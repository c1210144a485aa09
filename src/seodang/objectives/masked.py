"""Masked language modelling, alone or with what the pair of a row is to each other (BERT, ALBERT).

Shapes: B rows, T tokens, D model width.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F

from seodang.data.batch import IGNORE
from seodang.objectives.language import count_correct, vocabulary_loss
from seodang.objectives.loss import Loss, Term


class MaskedLanguageModelling:
    """-Σ log P(masked token), and -Σ log P(label of the pair) under the name `sentence` where that is given.

    The total is the sum of both means, as in Devlin et al. 2019, app. A.2. An evaluation (a model that is not in
    training) measures `masked_accuracy` and, of pairs, SENTENCE_accuracy.
    """

    def __init__(self, sentence: str | None = None) -> None:
        """sentence: what the batch's labels say, such as "next_sentence" or "sentence_order"."""
        self.sentence = sentence

    def weights(self, batch: Any) -> dict[str, float]:
        """The numbers of masked tokens and of rows with a label."""
        masked = {"masked": float(batch.n_targets)}
        return masked if self.sentence is None else masked | {self.sentence: float((batch.labels != IGNORE).sum())}

    def __call__(self, model: Any, batch: Any) -> Loss:
        hidden = model(batch.ids, segments=batch.segments, documents=batch.documents)
        weights = self.weights(batch)
        loss = Loss(masked=Term(vocabulary_loss(model, hidden, batch.targets), weights["masked"]))
        if not model.training:
            right = count_correct(model, hidden, batch.targets)
            loss["masked_accuracy"] = Term(right, weights["masked"], coefficient=0)
        if self.sentence is not None:
            logits = model.sentence_logits(hidden).float()
            nats = F.cross_entropy(logits, batch.labels, ignore_index=IGNORE, reduction="sum")
            loss[self.sentence] = Term(nats, weights[self.sentence])
            if not model.training:
                right = (logits.argmax(dim=1) == batch.labels).sum()
                loss[f"{self.sentence}_accuracy"] = Term(right, weights[self.sentence], coefficient=0)
        return loss
