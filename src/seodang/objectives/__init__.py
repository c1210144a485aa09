"""LOGITS → LOSS: one equation, one pure function."""
