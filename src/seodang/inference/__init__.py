"""WEIGHTS → TEXT: sampling, decoding, beam search, streaming."""
