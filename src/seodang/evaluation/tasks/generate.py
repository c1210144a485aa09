"""Prompts and right answers of the user's own: exact match and F1 of what is generated."""

from __future__ import annotations

from seodang.evaluation.writing import Writing

TASK = Writing(name="generate", source="Rajpurkar et al. 2016 (SQuAD), sec. 6.1", until=("\n",), max_new_tokens=64)
