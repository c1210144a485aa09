"""GGUF, the format of llama.cpp: one file with settings, tokenizer, chat template and weights, read and written."""

from __future__ import annotations

from seodang.checkpoints.gguf.reader import QUANTISATIONS, GGUFFile
from seodang.checkpoints.gguf.writer import KINDS, Written, write_gguf

__all__ = ["KINDS", "QUANTISATIONS", "GGUFFile", "Written", "write_gguf"]
