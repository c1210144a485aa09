"""BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019)."""

from __future__ import annotations

from seodang.models.encoder import Encoder


class Bert(Encoder):
    """Masked tokens and the next sentence (sec. 3.1), learned positions, two segments, the original post-norm block."""


class Roberta(Encoder):
    """BERT without next sentences (sec. 4.2), trained longer on more. Its positions are counted behind the padding
    token's id, as in the released code: the first one is row pad_id + 1."""

    HEADS, OTHER_HEADS = ("masked",), ("pooler",)

    TRANSFORM = "gelu"
    CLASS_LAYER = "tanh"

    @property
    def first_position(self) -> int:
        return (self.config.pad_id or 0) + 1
