"""IDS → BATCHES: corpora, token shards, packing, example formats, the resumable loader."""
