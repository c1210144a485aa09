"""A model's fingerprint in numbers: the logits that fixed ids must give, kept at save time, computed again later.

Of a model that has more than logits, or none, it is all that it says about the ids (`Model.fingerprint`).
"""

from __future__ import annotations

from typing import Any

import torch

from seodang.errors import DataError
from seodang.models.base import Model

_LENGTH = 16
_PLACES = 4
_PER_PLACE = 8


def _probe_ids(vocab_size: int, context_length: int) -> list[int]:
    """Fixed ids spread over the vocabulary (a Weyl sequence by the golden ratio)."""
    return [int(vocab_size * ((i + 1) * 0.6180339887498949 % 1)) for i in range(min(_LENGTH, context_length))]


@torch.no_grad()
def _logits(model: Model, ids: list[int]) -> torch.Tensor:
    training = model.training
    model.eval()
    try:
        batch = torch.tensor([ids], device=model.embed.weight.device)
        return model.fingerprint(batch)[0].float().cpu()
    finally:
        model.train(training)


def make_probe(model: Model) -> dict[str, Any]:
    """Ids, and for a few positions: some entries of the fingerprint (logits, as a rule) in float32, and the place of
    the largest one."""
    config = model.config
    ids = _probe_ids(config.vocab_size, config.context_length)
    logits = _logits(model, ids)
    width = logits.shape[-1]
    columns = sorted({int(width * i / _PER_PLACE) for i in range(_PER_PLACE)} | {width - 1})
    places = sorted({int((len(ids) - 1) * i / max(_PLACES - 1, 1)) for i in range(_PLACES)})
    return {
        "ids": ids,
        "positions": places,
        "columns": columns,
        "logits": [[float(logits[place, column]) for column in columns] for place in places],
        "argmax": [int(logits[place].argmax()) for place in places],
        "tolerance": 1e-3 * max(1.0, float(logits.abs().max())),
    }


def check_probe(model: Model, probe: dict[str, Any]) -> float:
    """The largest difference between the probe's logits and those that `model` (float32) gives now.

    Raises DataError when it is beyond the probe's tolerance or the most probable tokens differ.
    """
    try:
        ids, places, columns = probe["ids"], probe["positions"], probe["columns"]
        then, argmax, tolerance = torch.tensor(probe["logits"]), probe["argmax"], float(probe["tolerance"])
        if max(ids) >= model.config.vocab_size or len(ids) > model.config.context_length:
            raise ValueError("its ids do not fit the model")
        logits = _logits(model, ids)
        now = logits[places][:, columns]
        difference = float((now - then).abs().max())
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise DataError("the probe in seodang.json is damaged", str(error), "copy the folder again") from None
    runner_up = [float(logits[place].max() - logits[place][best]) for place, best in zip(places, argmax, strict=True)]
    if not difference <= tolerance or not max(runner_up) <= tolerance:
        raise DataError(
            "the model does not give the logits it gave when it was saved",
            f"they differ by {difference:.2g}, tolerance {tolerance:.2g}",
            "the weights or config.json were changed; copy the folder again",
        )
    return difference
