"""What a fine-tuned model keeps of its task beside its weights, under "task" in seodang.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seodang.data.labelled import Labelled, TaskSpec
from seodang.data.labelled_rows import LabelledRows, encode_examples
from seodang.data.transformations import Frame, Special
from seodang.errors import DataError

MARKS = {"start": "<|task_start|>", "delimiter": "<|task_delimiter|>", "extract": "<|task_extract|>"}
"""The tokens that a decoder learns with its first task (GPT-1, sec. 3.3), and uses again for the next."""
PAD = "<|pad|>"
"""What fills rows up where no token is for that alone: `transformers` finds a text's last token by it."""


@dataclass(frozen=True)
class TaskSettings:
    """spec: the task. max_length: tokens that a sequence may have, 0 where it is not known. marks: of a decoder, the
    tokens by their names start, delimiter and extract; None: the tokenizer's own frame of one text or two."""

    spec: TaskSpec
    max_length: int = 0
    marks: Mapping[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        marks = None if self.marks is None else dict(self.marks)
        return {"spec": self.spec.to_dict(), "max_length": self.max_length, "special": marks}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> TaskSettings:
        """Back from JSON: ours, or what `checkpoints.huggingface.read_task` gives. Raises DataError."""
        return TaskSettings(
            TaskSpec.from_dict(values.get("spec") or {}), int(values.get("max_length") or 0), values.get("special")
        )

    def form(self, tokenizer: Any, n_segments: int = 2) -> Special | Frame:
        """The ids of the marks, or the tokenizer's frame for a model of so many token types. Raises DataError when the
        tokenizer lacks a mark."""
        if self.marks is None:
            return Frame.of(tokenizer, n_segments)
        ids = {name: tokenizer.id_of(mark) for name, mark in self.marks.items()}
        if set(ids) != set(MARKS) or None in ids.values():
            raise DataError(
                f"the tokenizer has not all of {', '.join(self.marks.values())}",
                "the model was fine-tuned with these tokens",
                "use the tokenizer in the model's own folder",
            )
        return Special(**ids)


def encoded_length(settings: TaskSettings, context_length: int) -> int:
    """Tokens that a sequence may have: what the task was learned with, as far as the context holds it."""
    return min(settings.max_length or context_length, context_length)


def encode_task(
    examples: Sequence[Labelled],
    settings: TaskSettings,
    tokenizer: Any,
    context_length: int,
    *,
    n_segments: int,
    **options: Any,
) -> LabelledRows:
    """The rows of a model that was fine-tuned with these settings and knows `n_segments` token types. options: of
    `encode_examples`, which also says what is raised."""
    length = encoded_length(settings, context_length)
    pad_id = tokenizer.pad_id if tokenizer.pad_id is not None else 0
    form = settings.form(tokenizer, n_segments)
    return encode_examples(examples, settings.spec, tokenizer, form, max_length=length, pad_id=pad_id, **options)
