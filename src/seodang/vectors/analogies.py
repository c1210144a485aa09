"""Analogy questions in word2vec's published format, and how many of them are answered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seodang.errors import DataError
from seodang.vectors.word_vectors import WordVectors

Question = tuple[str, str, str, str]


@dataclass(frozen=True)
class SectionScore:
    """How a section went. A question with a word that the vocabulary lacks is not asked."""

    section: str
    questions: int
    asked: int
    correct: int

    @property
    def accuracy(self) -> float | None:
        """Share of the asked questions whose first answer is right; None where none was asked."""
        return self.correct / self.asked if self.asked else None


def read_questions(path: Path | str) -> dict[str, list[Question]]:
    """Section → questions of a file: lines `: section`, and four words a b c d in each other line.

    Raises DataError (file and line).
    """
    sections: dict[str, list[Question]] = {}
    current = sections.setdefault("", [])
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise DataError(f"{path} cannot be read", why, "check the path") from None
    for number, line in enumerate(lines, 1):
        words = line.split()
        if line.startswith(":"):
            current = sections.setdefault(line[1:].strip(), [])
        elif len(words) == 4:
            current.append((words[0], words[1], words[2], words[3]))
        elif words:
            raise DataError(
                f"{path}:{number} is not a question", f"it has {len(words)} words, not 4", "write: man king woman queen"
            )
    found = {name: questions for name, questions in sections.items() if questions}
    if not found:
        raise DataError(f"{path} holds no questions", "no line has four words", "write: man king woman queen")
    return found


def score(vectors: WordVectors, sections: dict[str, list[Question]]) -> list[SectionScore]:
    """The score of each section (Mikolov et al. 2013a, sec. 4.1: only the very word counts as right)."""
    scores = []
    for name, questions in sections.items():
        asked = [question for question in questions if all(word in vectors for word in question)]
        answers = vectors.analogies([question[:3] for question in asked]) if asked else []
        right = [bool(answer) and answer[0][0] == vectors.spelling(question[3])
                 for question, answer in zip(asked, answers, strict=True)]
        scores.append(SectionScore(name, len(questions), len(asked), sum(right)))
    return scores
