"""The class head of a fine-tuned model in config.json: its class, its labels, what they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from seodang.checkpoints.layouts.base import Layout
from seodang.errors import DataError
from seodang.models.config import ModelConfig

_HEADLESS = re.compile(r"(ForCausalLM|LMHeadModel|ForPreTraining|ForMaskedLM|LM)$")
_LABELLED, _CHOICE = "ForSequenceClassification", "ForMultipleChoice"
_REGRESSION, _ONE_LABEL, _SEVERAL = "regression", "single_label_classification", "multi_label_classification"


def class_keys(layout: Layout, config: ModelConfig, labels: tuple[str, ...], kind: str) -> dict[str, Any]:
    """What config.json says of a model with a class head; nothing of one without.

    labels: names of the classes, in order; LABEL_0 … as `transformers` calls them where there are none. kind: of the
    task (data/labelled.py); "" where nobody knows.
    """
    if not config.n_classes:
        return {}
    names = labels or tuple(f"LABEL_{number}" for number in range(config.n_classes))
    usual = layout.class_architecture or _HEADLESS.sub(_LABELLED, layout.architecture)
    one_score = None if kind == "choice" else _REGRESSION
    dropout = {layout.class_dropout: config.head_dropout} if layout.class_dropout else {}
    return {
        "architectures": [layout.choice_architecture or usual if kind == "choice" else usual],
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": one_score if config.n_classes == 1 else _ONE_LABEL,
        **dropout,
    }


def class_settings(layout: Layout, raw: dict[str, Any]) -> dict[str, Any]:
    """`n_classes` and `head_dropout` as a config.json says them. Raises DataError for a head that is another here."""
    architectures = [str(name) for name in raw.get("architectures") or ()]
    if any(name.endswith(_CHOICE) for name in architectures):
        if layout.choice_architecture not in architectures:
            raise DataError(
                f"config.json has the architecture {architectures[0]}",
                "its head is another than that of a classifier of this type, and is not implemented",
                f"use a model saved as {usual_name(layout)}",
            )
        count = 1
    elif any(name.endswith(_LABELLED) for name in architectures):
        labels = raw.get("id2label")
        count = len(labels) if isinstance(labels, dict) else int(raw.get("num_labels") or 2)
    else:
        return {}
    dropout = raw.get(layout.class_dropout)
    if dropout is None and layout.class_dropout:
        dropout = 0.1 if layout.family == "albert" else raw.get("hidden_dropout_prob", 0.1)
    return {"n_classes": count, "head_dropout": dropout or 0.0}


def usual_name(layout: Layout) -> str:
    """Their class of this type with a head over classes."""
    return layout.class_architecture or _HEADLESS.sub(_LABELLED, layout.architecture)


def task_in(raw: dict[str, Any]) -> dict[str, Any] | None:
    """What another program's config.json says of the task its model was fine-tuned for, as `TaskSpec.to_dict` would;
    None where it has no class head."""
    architectures = [str(name) for name in raw.get("architectures") or ()]
    if any(name.endswith(_CHOICE) for name in architectures):
        return {"name": "choice", "kind": "choice"}
    if not any(name.endswith(_LABELLED) for name in architectures):
        return None
    if raw.get("problem_type") == _SEVERAL:
        raise DataError(
            "config.json has the problem_type multi_label_classification",
            "a text of such a model has several labels at once, and this package gives it one",
            "use a model that was trained with one label a text",
        )
    named = raw.get("id2label") or {str(i): f"LABEL_{i}" for i in range(int(raw.get("num_labels") or 2))}
    labels = _in_order(named.items())
    if raw.get("problem_type") == _REGRESSION or len(labels) == 1:
        return {"name": "regress", "kind": "classify", "regression": True, "metrics": ["pearson", "spearman"]}
    return {"name": "classify", "kind": "classify", "labels": labels}


def _in_order(named: Iterable[tuple[Any, Any]]) -> list[str]:
    return [str(name) for _, name in sorted(named, key=lambda pair: int(pair[0]))]
