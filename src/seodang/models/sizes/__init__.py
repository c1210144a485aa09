"""Models by name: the published sizes and small ones of ours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from seodang.errors import UsageError, suggest
from seodang.models.config import ModelConfig
from seodang.models.sizes import recurrent
from seodang.models.sizes.decoders import DECODERS, REMARKS
from seodang.models.sizes.encoders import ENCODERS
from seodang.models.sizes.seq2seq import SEQ2SEQ

SIZES: dict[str, ModelConfig] = {
    **DECODERS, **ENCODERS, **SEQ2SEQ, **recurrent.RECURRENT, **recurrent.RECURRENT_SEQ2SEQ
}  # fmt: skip

NOTES: dict[str, str] = {**REMARKS, **recurrent.NOTES}
"""Remarks on published sizes, said where such a model is planned or built."""


def published(name: str, **changes: Any) -> ModelConfig:
    """The config of that name with some fields changed. Raises UsageError with the nearest names."""
    if name not in SIZES:
        raise UsageError(f"unknown model {name!r}", "no published size has this name", suggest(name, SIZES))
    return replace(SIZES[name], **changes)
