"""GPT-1's zero-shot heuristics (Radford et al. 2018, sec. 5): what a language model says of a task it never learned.

Each is a function of a scorer alone, so that it can be checked by hand. All logarithms are natural.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from seodang.data.labelled import Labelled
from seodang.errors import DataError
from seodang.evaluation.metrics import find

BLANK = "_"
"""What stands for the pronoun in a row of the kind choice, as in WinoGrande."""


class LogProb(Protocol):
    """A log-probability, and the tokens it is a sum over."""

    @property
    def logprob(self) -> float: ...

    @property
    def n_tokens(self) -> int: ...


class Scorer(Protocol):
    """What a language model can be asked; see `inference.requests`."""

    def continuations(self, pairs: Sequence[tuple[str, str]]) -> Sequence[LogProb]:
        """log P(second | first) of each pair."""

    def rolling(self, texts: Sequence[str]) -> Sequence[LogProb]:
        """log P of each text."""


def per_token(found: LogProb) -> float:
    """The average log-probability of a token."""
    return found.logprob / found.n_tokens


def best(scores: Sequence[float]) -> int:
    """The place of the highest score, the first of equals."""
    return max(range(len(scores)), key=lambda place: (scores[place], -place))


def classes(examples: Sequence[Labelled]) -> list[int]:
    """The right class or answer of each. Raises DataError (file:row) for a row without one."""
    for example in examples:
        if example.label is None:
            raise DataError(f"{example.where} has no label", "its answer cannot be judged", "use labelled rows")
    return [int(example.label) for example in examples if example.label is not None]


def acceptability(scorer: Scorer, examples: Sequence[Labelled]) -> list[float]:
    """CoLA: the average token log-probability of each sentence."""
    return [per_token(found) for found in scorer.rolling([example.texts[0] for example in examples])]


def threshold(scores: Sequence[float], labels: Sequence[int]) -> float:
    """Where to cut: a score at or above it means acceptable (1). Of all cuts the one of the highest Matthews
    correlation on these rows; of equals the lowest one. The paper says that there is a threshold, and not which."""
    matthews = find("matthews").function
    cuts = sorted(set(scores))
    return max(cuts, key=lambda cut: (matthews([int(score >= cut) for score in scores], labels), -cut))


def sentiment(scorer: Scorer, examples: Sequence[Labelled], labels: Sequence[str]) -> list[int]:
    """SST-2: the word "very" is appended, and of the words that are left, positive and negative, the more probable is
    the guess. `labels`: these words, in the order of the classes."""
    pairs = [(f"{example.texts[0].rstrip()} very", f" {word}") for example in examples for word in labels]
    found = [entry.logprob for entry in scorer.continuations(pairs)]
    return [best(found[start : start + len(labels)]) for start in range(0, len(found), len(labels))]


def reading(scorer: Scorer, examples: Sequence[Labelled]) -> list[int]:
    """RACE: the answer of the highest average token log-probability given the document and the question."""
    pairs = [
        ("\n".join(text for text in example.texts if text), f" {answer.strip()}")
        for example in examples
        for answer in example.answers
    ]
    return _of_answers([per_token(found) for found in scorer.continuations(pairs)], examples)


def pronouns(scorer: Scorer, examples: Sequence[Labelled]) -> list[int]:
    """Winograd schemas: each candidate is put in the pronoun's place, and the one is chosen behind which the rest of
    the sentence has the highest average token log-probability. The pronoun is written `_`."""
    pairs = [substituted(example, answer) for example in examples for answer in example.answers]
    return _of_answers([per_token(found) for found in scorer.continuations(pairs)], examples)


def substituted(example: Labelled, answer: str) -> tuple[str, str]:
    """(the sentence up to the candidate, with it; the rest). A candidate that begins the sentence gets a capital."""
    text = " ".join(part for part in example.texts if part)
    before, _, rest = text.partition(BLANK)
    if not before.strip() or before.rstrip()[-1] in ".!?":
        answer = answer[:1].upper() + answer[1:]
    elif answer.split(" ", 1)[0] in ("The", "A", "An"):
        answer = answer[:1].lower() + answer[1:]
    return before + answer, rest


def _of_answers(scores: Sequence[float], examples: Sequence[Labelled]) -> list[int]:
    chosen, start = [], 0
    for example in examples:
        end = start + len(example.answers)
        chosen.append(best(scores[start:end]))
        start = end
    return chosen


@dataclass(frozen=True)
class Predicted:
    """What a heuristic predicts for each row, and the metric it is measured by."""

    predictions: list[int]
    metric: str


def predict(
    task: str, scorer: Scorer, examples: Sequence[Labelled], labels: Sequence[str], fitted: Sequence[Labelled] = ()
) -> Predicted:
    """The task's heuristic. `fitted`: the rows that CoLA's threshold is found on."""
    if task == "cola":
        cut = threshold(acceptability(scorer, fitted), classes(fitted))
        return Predicted([int(score >= cut) for score in acceptability(scorer, examples)], "matthews")
    if task == "sst2":
        return Predicted(sentiment(scorer, examples, labels), "accuracy")
    return Predicted((reading if task == "race" else pronouns)(scorer, examples), "accuracy")
