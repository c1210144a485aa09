"""WEIGHTS ↔ DISK: whole folders, key tables to and from Hugging Face, GGUF and llama2.c."""
