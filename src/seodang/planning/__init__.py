"""WHAT IT COSTS: what this machine has, and what a run asks of it."""
