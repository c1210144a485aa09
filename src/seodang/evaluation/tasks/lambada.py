"""LAMBADA: the last word of a passage, from the passage. Rows with a `text`, or a passage a line."""

from __future__ import annotations

from seodang.evaluation.texts import LastWord

TASK = LastWord(
    name="lambada",
    source="Paperno et al. 2016 (LAMBADA); Radford et al. 2019 (GPT-2), table 3",
    harness="lambada_openai 1.0, lambada_standard 1.0",
)
