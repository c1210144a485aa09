"""IDS → LOGITS: configurations, layers, one attention, the KV cache; one short file per family."""
