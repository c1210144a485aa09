"""Whole runs as Python functions of a typed config."""
