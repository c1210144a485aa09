"""TEXT → IDS: tokenizers, special tokens, the BPE trace, chat templates."""
