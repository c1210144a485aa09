"""Perplexity of any text: files of text, or of rows that hold one."""

from __future__ import annotations

from seodang.evaluation.texts import Perplexity

TASK = Perplexity(name="text", source="Jelinek et al. 1977: perplexity; Shannon 1951: bits")
