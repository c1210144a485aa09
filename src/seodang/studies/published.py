"""What GPT-1's paper reports (Radford et al. 2018, tables 3 to 5, sec. 5). Its model has 117M parameters and was
trained on BooksCorpus: these numbers stand beside ours and are never compared with them by a program."""

from __future__ import annotations

from dataclasses import dataclass

TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")
"""Columns of table 5, by our names of the sets: Matthews, accuracy, F1, Pearson, F1, and accuracies."""

TABLE_5: dict[str, tuple[float, ...]] = {
    "full": (45.4, 91.3, 82.3, 82.0, 70.3, 81.8, 88.1, 56.0),
    "no auxiliary loss": (47.9, 92.0, 84.9, 83.2, 69.8, 81.1, 86.9, 54.4),
    "no pre-training": (18.9, 84.0, 79.4, 30.9, 65.5, 75.7, 71.2, 53.8),
    "lstm": (30.3, 90.5, 83.2, 71.8, 68.1, 73.7, 81.1, 54.6),
}
"""Variant → scores × 100 in the order of `TASKS`, on the test sets of GLUE."""

TABLE_5_AVERAGES = {"full": 74.7, "no auxiliary loss": 75.0, "no pre-training": 59.9, "lstm": 69.1}

FIGURE_2_LEFT = (
    "GPT-1, sec. 5: each transferred layer helps, and transferring all twelve gives up to 9 % on MultiNLI. The curves "
    "of its figure 2 (MultiNLI and RACE) are not printed as numbers."
)
FIGURE_2_RIGHT = (
    "GPT-1, sec. 5: the heuristics' scores rise steadily over pre-training, and the LSTM's vary more. The curves "
    "of its figure 2 are not printed as numbers; they are normalised between a random guess and the best single model."
)


@dataclass(frozen=True)
class Scale:
    """What is 0 and what is 1 of a heuristic's curve."""

    random: float
    ceiling: float
    source: str


SCALES = {
    "cola": Scale(0.0, 0.350, "Matthews; ceiling: the best before GPT-1 in its table 4"),
    "sst2": Scale(0.5, 0.932, "accuracy; ceiling: the best before GPT-1 in its table 4"),
    "race": Scale(0.25, 0.533, "accuracy; ceiling: the best before GPT-1 in its table 3"),
    "winogrande": Scale(0.5, 1.0, "accuracy; ceiling: every answer right"),
    "pronouns": Scale(0.5, 1.0, "accuracy; ceiling: every answer right"),
}
"""A random guess scores 0 by Matthews, and 1 of as many answers as there are by accuracy."""


def normalised(score: float, scale: Scale) -> float:
    """0 for a random guess, 1 at the ceiling, linear between and beyond (fig. 2 right)."""
    return (score - scale.random) / (scale.ceiling - scale.random)
