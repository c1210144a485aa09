"""EXAMPLES → PROMPT: templates, demonstrations, answers, reasoning, several tasks at once."""
