"""What a folder of sentence-transformers says about making one vector of a text: modules.json and what it names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from seodang.checkpoints.tensor_files import read_json
from seodang.errors import DataError

Pooling = Literal["mean", "cls", "pooler", "last", "max"]

_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": "max",
}
_MODES: dict[object, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last", "max": "max"}


@dataclass(frozen=True)
class EmbeddingSettings:
    """How a text becomes one vector.

    pooling: of the hidden states of its real tokens, special ones included: their mean, the first one's, what BERT's
    pooler makes of that, the last one's, or the largest number in each place. normalize: to the length 1. max_tokens:
    of a text, where the folder says less than the model's context.
    """

    pooling: Pooling = "mean"
    normalize: bool = False
    max_tokens: int | None = None


def read_embedding_settings(folder: Path) -> EmbeddingSettings:
    """The folder's settings; ours where it has no modules.json.

    Raises DataError for a step that this package does not have.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return EmbeddingSettings()
    pooling: Pooling = "mean"
    normalize = False
    for module in _steps(path):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            pooling = _pooling(folder / str(module.get("path", "")) / "config.json")
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise DataError(f"{path} has a step {kind!r}", "this package does not implement it", "use another model")
    limits = folder / "sentence_bert_config.json"
    most = read_json(limits).get("max_seq_length") if limits.is_file() else None
    return EmbeddingSettings(pooling, normalize, most if isinstance(most, int) else None)


def _pooling(path: Path) -> Pooling:
    config = read_json(path)
    mode = config.get("pooling_mode")
    switched = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if mode in _MODES and not switched:
        return _MODES[mode]
    if len(switched) == 1 and switched[0] in _POOLINGS and mode is None:
        return _POOLINGS[switched[0]]
    raise DataError(
        f"{path} pools by {mode or ' and '.join(switched) or 'nothing'}",
        "this package does not implement it",
        "supported, one at a time: " + ", ".join(_POOLINGS),
    )


def _steps(path: Path) -> list[dict[str, Any]]:
    """A JSON list of objects from a file. Raises DataError when it is not one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON", str(error), "copy the model again from where it came") from None
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise DataError(f"{path} is not a list", "it names the steps from a text to its vector", "copy it again")
    return value
