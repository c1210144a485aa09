"""Labels as files write them → numbers: names in any case, numbers as numbers or as text, letters of answers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from seodang.errors import DataError, UsageError

NLI = ("entailment", "neutral", "contradiction")
MOST_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Raw:
    """One example before its label is understood, which is `canonical`; `marks` are what a choice calls its answers
    (A, B, C …)."""

    texts: tuple[str, ...]
    label: str
    where: str
    answers: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()


def canonical(value: Any) -> str:
    """A label as text: 1, "1", "1.0" and 1.0 are one, True and "TRUE" another; None, NaN and blanks are ""."""
    if value is None or isinstance(value, float) and math.isnan(value):
        return ""
    text = str(value).strip()
    if text.casefold() in ("true", "false"):
        return text.casefold()
    try:
        number = float(text) if "." in text else None
    except ValueError:
        return text
    return str(int(number)) if number is not None and math.isfinite(number) and number == int(number) else text


def find_classes(raw: Sequence[Raw]) -> tuple[str, ...]:
    """The names of the classes that occur, in order: numbers by size, the labels of inference as usual, else as text.
    Names that differ in case only are one, spelled as most rows do.

    Raises DataError when there is one class only, or as many as of something that is no class.
    """
    spellings: dict[str, Counter[str]] = {}
    for example in raw:
        if text := example.label:
            spellings.setdefault(text.casefold(), Counter())[text] += 1
    counts = [spelling.most_common(1)[0][0] for spelling in spellings.values()]
    if len(counts) > MOST_CLASSES or (len(raw) >= 20 and len(counts) > len(raw) // 2):
        numeric = all(_number(name) is not None for name in counts)
        raise DataError(
            f"{raw[0].where.rpartition(':')[0]} has {len(counts):,} different labels in {len(raw):,} rows",
            "that is no class" + ("; numbers on a scale are a regression" if numeric else ""),
            "use --task regress" if numeric else "name the right column: --columns label=NAME",
        )
    return _ordered(counts)


def _ordered(names: list[str]) -> tuple[str, ...]:
    if {name.casefold() for name in names} == set(NLI):
        return tuple(sorted(names, key=lambda name: NLI.index(name.casefold())))
    numbers = [_number(name) for name in names]
    if all(number is not None for number in numbers):
        return tuple(sorted(names, key=float))
    return tuple(sorted(names))


_NOT = re.compile(r"(not|non|no|un|in|ir|dis|mis)[ _-]?|(안|비|불)[ _-]?")


def positive_last(names: tuple[str, ...]) -> tuple[str, ...]:
    """Two classes of which one is the other with a "not" before it, that one first: F1 is that of the second."""
    if len(names) != 2:
        return names
    first, second = (name.casefold() for name in names)
    denied = second.endswith(first) and _NOT.fullmatch(second[: len(second) - len(first)])
    return (names[1], names[0]) if denied else names


def class_numbers(names: Sequence[str], aliases: Mapping[str, str]) -> dict[str, int]:
    """The number of each class by its name and by what else it is called, without regard to case."""
    numbers = {canonical(name).casefold(): i for i, name in enumerate(names)}
    return {**numbers, **{alias: numbers[name] for alias, name in aliases.items()}}


def class_number(example: Raw, names: Sequence[str], known: Mapping[str, int], first: int | None) -> int:
    """The number of the class that a label names: by what `known` calls it, or by its place among `names` counted from
    `first`, if that is given. Raises DataError (file:row) for a label that is none of them."""
    text = example.label
    key = text.casefold()
    if key in known:
        return known[key]
    if first is not None and key.isdecimal() and first <= int(key) < first + len(names):
        return known[canonical(names[int(key) - first]).casefold()]
    raise DataError(
        f"{example.where} has the unknown label {text!r}",
        f"known labels are {', '.join(names)}",
        "correct the row, or name the right column: --columns label=NAME",
    )


def score(example: Raw) -> float:
    """A label that is a number. Raises DataError (file:row) for any other."""
    value = _number(example.label)
    if value is None:
        raise DataError(
            f"{example.where} has the label {example.label!r}",
            "a regression learns numbers",
            "correct the row, name the right column (--columns label=NAME), or use --task classify for classes",
        )
    return value


How = Literal["texts", "places", "either"]
"""What labels of a choice are where nothing calls the answers so: texts of answers, places (numbers and letters), or
now the one and now the other."""


def answer_numbers(raw: Sequence[Raw], marks: Sequence[str] = ()) -> list[int | None]:
    """The number from 0 of the right answer of every row, None of one without a label.

    Labels that are all texts of their rows' answers are texts, and else places. Raises DataError (file:row) for a label
    that is no answer, and for one that may be the text of one answer and the place of another.
    """
    how: How = "texts"
    base = 0
    if not marks:
        how, base = _reading([row for row in raw if row.label and _by_mark(row) is None])
    return [answer_number(row, base, marks, how) if row.label else None for row in raw]


def _reading(raw: Sequence[Raw]) -> tuple[How, int]:
    """How labels are read, and what the first answer is counted as."""
    texts = [_by_text(example) for example in raw]
    places = {base: [_place(example, base) for example in raw] for base in (0, 1)}
    whole = [base for base, found in places.items() if None not in found]
    if None not in texts:
        if whole and all(places[base] != texts for base in whole):
            other = places[whole[0]]
            row = next(row for row, text in enumerate(texts) if text != other[row])
            raise _two_answers(raw[row], texts[row], other[row])
        return "texts", 0
    base = _answer_base(raw)
    return ("places" if base in whole else "either"), base


def _answer_base(raw: Sequence[Raw]) -> int:
    """Whether numbers of answers count from 0 or from 1; it is told by a 0, or by the number of the last answer.

    Raises DataError when nothing tells it. 0 also where no label is a number.
    """
    numbers = []
    for example in raw:
        n = len(example.answers)
        if example.label.isdecimal() and (int(example.label) <= n or _by_text(example) is None):
            numbers.append((int(example.label), n))
    if not numbers or any(number == 0 for number, _ in numbers):
        return 0
    if any(number >= n for number, n in numbers):
        return 1
    raise DataError(
        f"{raw[0].where.rpartition(':')[0]} does not tell whether its answers count from 0 or from 1",
        f"its labels are {', '.join(sorted({str(number) for number, _ in numbers}))}: neither 0 nor the last occurs",
        "write the right answers as letters (A, B, …) or as their texts, or give what the answers are called as labels",
    )


def answer_number(example: Raw, base: int, marks: Sequence[str] = (), how: How = "places") -> int:
    """The number from 0 of the right answer: by what the row (or `marks`) calls its answers, by its number counted from
    `base`, by its letter, or by its text. Raises DataError (file:row) when there is no such answer, or two."""
    label, n = example.label, len(example.answers)
    found = _by_mark(example, marks)
    if found is None:
        text, place = _by_text(example), None if marks else _place(example, base)
        if how == "either" and text is not None and place is not None and text != place:
            raise _two_answers(example, text, place)
        number = how == "places" and label.isdecimal()
        found = place
        if how == "texts" or place is None and not number:
            found = text
            _require_one_answer(example)
    if found is None:
        called = ", ".join(marks[:n] or example.marks)
        raise DataError(
            f"{example.where} has the label {label!r}",
            f"it has {n} answers, {f'called {called}' if called else f'counted from {base}'}",
            "correct the row, or name the right column: --columns label=NAME",
        )
    return found


def _by_mark(example: Raw, marks: Sequence[str] = ()) -> int | None:
    """The number of the answer that is called as the label is."""
    names = [canonical(mark).casefold() for mark in marks[: len(example.answers)] or example.marks]
    return names.index(key) if (key := example.label.casefold()) in names else None


def _by_text(example: Raw) -> int | None:
    """The number of the first answer that reads as the label does."""
    return next((number for number, answer in enumerate(example.answers) if canonical(answer) == example.label), None)


def _require_one_answer(example: Raw) -> None:
    """Raises DataError (file:row) where unlike answers read as the label does: "2.0" and "2" are one as labels."""
    alike = {answer.strip(): n for n, answer in enumerate(example.answers) if canonical(answer) == example.label}
    if len(alike) > 1:
        raise _two_answers(example, *list(alike.values())[:2])


def _place(example: Raw, base: int) -> int | None:
    """The number of the answer that stands where the label says, as a number or as a letter."""
    label = example.label
    if label.isdecimal():
        found = int(label) - (1 if example.marks else base)  # ARC's rows with the marks A … D and the key 1 … 4
    elif len(label) == 1 and label.isalpha() and label.isascii():
        found = ord(label.upper()) - ord("A")
    else:
        return None
    return found if 0 <= found < len(example.answers) else None


def _two_answers(example: Raw, one: int | None, other: int | None) -> DataError:
    """The error for a label that may mean either of two answers."""
    shown = (repr(example.answers[number]) for number in (one, other) if number is not None)
    places = "letters (A, B, …)" if example.label.isdecimal() else "numbers, the first of them 0"
    return DataError(
        f"{example.where} has the label {example.label!r}, which may mean the answer {' or '.join(shown)}",
        "a label may be the text of an answer or its place, and here these are not one",
        f"write the right answers as {places}",
    )


def check_classes(labels: Sequence[int | float], names: Sequence[str], where: str) -> None:
    """Raises DataError when all rows have one label: there is nothing to tell apart."""
    seen = set(labels)
    if len(seen) == 1:
        only = next(iter(seen))
        shown = names[int(only)] if names else only
        raise DataError(
            f"{where}: every row has the label {shown!r}",
            "there is nothing to tell apart; a model would learn to say it always",
            "give rows of at least two labels, or name the right column: --columns label=NAME",
        )


def same_labels(task: str, wanted: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """`wanted` as the order of a published task's classes. Raises UsageError when they are others."""
    if sorted(canonical(name).casefold() for name in wanted) != sorted(canonical(name).casefold() for name in names):
        raise UsageError(
            f"{task} has the labels {', '.join(names)}",
            f"asked for were {', '.join(wanted)}",
            "leave the labels out, or read the file as your own: --task classify",
        )
    return tuple(wanted)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
