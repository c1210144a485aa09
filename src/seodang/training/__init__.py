"""LOSS → WEIGHTS: the step (the only backward()), the trainer, optimiser, schedule and log."""
