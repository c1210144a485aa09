"""enwik8, text8 and the like: bits per byte of a file as it is."""

from __future__ import annotations

from seodang.evaluation.texts import Perplexity, stretches

TASK = Perplexity(
    name="enwik8",
    source="Hutter 2006; Mahoney 2011; Radford et al. 2019 (GPT-2), table 3",
    metrics={"bits_per_byte": "bits_per_byte", "byte_perplexity": "byte_perplexity"},
    texts=stretches,
)
