"""WORDS → STATIC VECTORS: what came before language models."""
