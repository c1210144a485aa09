"""Children's Book Test: which of ten candidates stands in the blank of a story's 21st sentence.

As GPT-2 was measured: "the probability of each choice and the rest of the sentence conditioned on this choice" (Radford
et al. 2019, sec. 3.2), with the Penn Treebank's marks taken out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seodang.data.labelled import Labelled, TaskData, TaskSpec
from seodang.data.sources import expand
from seodang.errors import DataError
from seodang.evaluation.choosing import Choice
from seodang.evaluation.detokenise import treebank
from seodang.evaluation.task import Files
from seodang.evaluation.texts import lines

BLANK = "XXXXX"
_SEAM = "\ua66e"
"""A letter that no text has, so that 's joins the candidate as it joins any word."""


def pairs(example: Labelled) -> list[tuple[str, str]]:
    """(the story up to the blank, a candidate and the rest of the sentence), for each candidate."""
    story, sentence = example.texts
    found = []
    for answer in example.answers:
        # put in before the marks are taken out: what follows may join the word
        before, _, after = treebank(sentence.replace(BLANK, f"{_SEAM}{answer}{_SEAM}", 1)).partition(_SEAM)
        found.append((f"{story}\n{before}", after.replace(_SEAM, "")))
    return found


@dataclass(frozen=True, kw_only=True)
class Cloze(Choice):
    """A choice that is read in CBT's layout: 20 numbered sentences, the 21st with its answer and candidates."""

    def examples(self, files: Files, labels: Sequence[str] | None = None) -> TaskData:
        examples = [example for path in expand(files) for example in questions(path)]
        return TaskData(TaskSpec(self.name, "choice", language="en", source=self.source), examples)


def questions(path: Path) -> Iterator[Labelled]:
    """The questions of one file. Raises DataError (file:row) for a line that is none of CBT's."""
    story: list[str] = []
    for line, row in lines(path):
        number, space, rest = line.rstrip("\r\n").partition(" ")
        if not space or not re.fullmatch(r"\d+", number):
            raise DataError(
                f"{path}:{row} is no line of CBT", "each begins with its number and a space", "check the file"
            )
        sentence, *fields = re.split(r"\t+", rest.rstrip("\t"))
        if not fields:
            story = [*story, sentence] if number != "1" else [sentence]
            continue
        candidates = tuple(fields[-1].split("|"))
        if len(fields) != 2 or fields[0] not in candidates or BLANK not in sentence:
            raise DataError(
                f"{path}:{row} is no question of CBT",
                f"it has a sentence with {BLANK}, the answer, and candidates apart by |, among them the answer",
                "check the file",
            )
        told = " ".join(treebank(one) for one in story)
        yield Labelled((told, sentence), candidates.index(fields[0]), candidates, f"{path}:{row}")
        story = []
