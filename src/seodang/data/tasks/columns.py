"""Which columns of a table hold the texts, the label and the answers: by usual names, or as the user says."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, NoReturn

from seodang.data.readers import TEXT_KEYS
from seodang.errors import DataError, UsageError, suggest


@dataclass(frozen=True)
class Columns:
    """Names of columns, as a user gives them; None or () where they shall be found. Numbers count columns from 1 in a
    table without a header line.

    text     the text; the first of two: premise, context
    text2    the second of two: hypothesis, question
    label    the class, the score or the right answer
    answers  of a multiple choice: one column for each, or one that holds a list
    """

    text: str | None = None
    text2: str | None = None
    label: str | None = None
    answers: tuple[str, ...] = ()

    @staticmethod
    def parse(settings: Sequence[str]) -> Columns:
        """From `text=review,label=stars` or `answers=a+b+c`; `premise`, `hypothesis` and so on are understood.

        Raises UsageError for an unknown part and for a part without a column.
        """
        given: dict[str, str] = {}
        for setting in [part for joined in settings for part in joined.split(",")]:
            part, _, column = (piece.strip() for piece in setting.partition("="))
            name = _PARTS.get(part.casefold())
            if name is None or not column or name in given:
                why = "it has no column" if name else f"there is no such part; {suggest(part, _PARTS)}"
                raise UsageError(
                    f"columns are given as {setting!r}",
                    "the part is given twice" if name and name in given else why,
                    "for example text=review,label=stars or premise=a,hypothesis=b,label=c or answers=a+b+c",
                )
            given[name] = column
        answers = tuple(name.strip() for name in given.pop("answers", "").split("+") if name.strip())
        return Columns(**given, answers=answers)

    @property
    def given(self) -> list[str]:
        """All columns that are named."""
        return [name for name in (self.text, self.text2, self.label, *self.answers) if name]

    def __bool__(self) -> bool:
        return bool(self.given)

    def numbered(self, head: Sequence[str]) -> list[str] | None:
        """Names "1", "2", … of the columns, if the user counts them instead of naming what is in `head`. One number
        may be there by chance: the first line's label."""
        numbers = [str(i + 1) for i in range(len(head))]
        counted = self.given and set(self.given) <= set(numbers) and not set(self.given) <= set(head)
        return numbers if counted else None

    def without_header(self, where: str, head: Sequence[str]) -> None:
        """Raises DataError where the fields of the first line, under the columns that the user counts, are no example
        but names of columns: all of them are usual ones, or that of the label is one that no class has."""
        parts = [(part.name, getattr(self, part.name)) for part in fields(Columns)]
        named = {name: _counted(value, head) for name, value in parts if value}
        usual = all(_is_usual(name, cell) for name, cells in named.items() for cell in cells)
        mend = ",".join(f"{name}={'+'.join(cells)}" for name, cells in named.items())
        if usual or _HEADER & set(map(str.casefold, named.get("label", ()))):
            raise DataError(
                f"{where} names its columns: {', '.join(map(_short, head))}",
                "columns are counted where no header line names them",
                f"--columns {mend}",
            )


def label_list(settings: Sequence[str]) -> list[str] | None:
    """Labels as they are given on the command line, `neg,pos` or one by one; None for none."""
    return [name.strip() for setting in settings for name in setting.split(",") if name.strip()] or None


_PARTS = {
    **dict.fromkeys(("text", "text1", "first", "premise", "context", "sentence", "sentence1", "document"), "text"),
    **dict.fromkeys(("text2", "second", "hypothesis", "question", "sentence2"), "text2"),
    **dict.fromkeys(("label", "score", "class", "answer"), "label"),
    **dict.fromkeys(("answers", "choices", "options"), "answers"),
}

TEXTS = (*TEXT_KEYS, "comment", "title", "question", "utterance", "message", "input", "문장", "내용", "본문", "리뷰",
         "텍스트", "글", "감상", "댓글", "제목", "질문", "발화")  # fmt: skip
PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "answer"),
    ("query", "passage"),
    ("context", "question"),
    ("passage", "question"),
    ("source", "target"),
    ("a", "b"),
    ("전제", "가설"),
    ("문장1", "문장2"),
)
CONTEXTS = (
    *("context", "article", "passage", "paragraph", "premise", "story", "ctx", "document", "text", "sentence"),
    "지문",
)
QUESTIONS = ("question", "query", "stem", "goal", "prompt", "질문", "문제")
LABELS = (
    *("label", "gold_label", "labels", "class", "category", "sentiment", "target", "intent", "score", "rating"),
    *("stars", "similarity", "is_duplicate", "answerkey", "answer_key", "answer", "gold", "correct", "y"),
    *("라벨", "레이블", "정답", "감정", "평가", "분류", "점수", "별점", "평점"),
)
SCORES = ("score", "rating", "stars", "similarity", "점수", "별점", "평점")
"""Of a regression, before the others."""
LISTS = ("answers", "options", "choices", "endings", "ending_options", "candidates", "alternatives", "선택지", "보기")
_NUMBERED = re.compile(
    r"(|choice|option|ending|answer|alternative|candidate|sol|opt|a|선택지|보기)[ _-]?(\d+|[a-h])", re.IGNORECASE
)


_HEADER = {"label", "labels", "gold_label", "라벨", "레이블"}


@dataclass(frozen=True)
class Found:
    """Columns of one table: of the texts ("" for one that is not there), of the label (or None), of the answers."""

    texts: tuple[str, ...]
    label: str | None
    answers: tuple[str, ...] = ()


def find_columns(where: str, head: Sequence[str], kind: str, columns: Columns, need_label: bool) -> Found:
    """The columns of a user's table with these names in its head, for a task of `kind`, or "regress", which is of one
    text or of two, and of one where the user names but one. Raises DataError naming the file, the columns seen, the
    nearest, and the option that mends it."""
    names = {name.casefold(): name for name in reversed(head)}
    for part in fields(Columns):
        value = getattr(columns, part.name)
        for name in [value] if isinstance(value, str) else value or ():
            if name.casefold() not in names and (need_label or part.name != "label"):
                _missing(where, head, part.name, (name,))
    given = (columns.text, columns.text2, columns.label)
    text, text2, label = (name and names.get(name.casefold()) for name in given)
    answers = tuple(names[name.casefold()] for name in columns.answers)
    free = {key: name for key, name in names.items() if name not in (text, text2, label, *answers)}
    if kind == "choice":
        answers = answers or _answers(where, head, free, columns)
        free = {key: name for key, name in free.items() if name not in answers}
    label = label or _first(free, (*SCORES, *LABELS) if kind == "regress" else LABELS)
    free = {key: name for key, name in free.items() if name != label}
    if label is None and need_label:
        _missing(where, head, "label", LABELS)
    if kind == "choice":
        context = text or _first(free, CONTEXTS)
        question = text2 or _first({key: name for key, name in free.items() if name != context}, QUESTIONS)
        if not context and not question:
            _missing(where, head, "text", CONTEXTS + QUESTIONS)
        return Found((context or "", question or ""), label, answers)
    single = kind == "classify" or kind == "regress" and text is not None and text2 is None
    pair = None if single else _pair(free, text, text2)
    if pair:
        return Found(pair, label)
    text = text or _first(free, TEXTS) or (next(iter(free.values())) if len(head) == 2 and len(free) == 1 else None)
    if kind in ("entail", "similar"):
        missing, taken = ("text", ()) if text is None else ("text2", (text, label))
        _missing(where, head, missing, tuple(dict.fromkeys(name for both in PAIRS for name in both)), taken)
    if text is None:
        _missing(where, head, "text", TEXTS)
    return Found((text,), label)


def chosen(options: str, head: Sequence[str]) -> str:
    """The first of `a|b|c` that is in the head, as it is written there; "" for none."""
    by_name = {name.strip().casefold(): name for name in reversed(head)}
    return next((by_name[key] for option in options.split("|") if (key := option.split("@")[0]) in by_name), "")


def text_of(values: dict[str, Any], name: str, where: str) -> str:
    """The text of a column; "" for one that the task does not have."""
    value = values.get(name) if name else ""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int | float):
        return str(value)
    raise DataError(
        f"{where} has no text in {name!r}",
        f"it holds a {type(value).__name__}",
        "name another column: --columns text=NAME",
    )


def _counted(numbers: str | tuple[str, ...], head: Sequence[str]) -> list[str]:
    """The fields of the columns with these numbers."""
    return [head[int(number) - 1] for number in ([numbers] if isinstance(numbers, str) else numbers)]


def _is_usual(part: str, name: str) -> bool:
    """Whether a column of a text, label or answer is often called so."""
    key = name.casefold()
    if part == "answers":
        return key in LISTS or _NUMBERED.fullmatch(key) is not None
    return key in (LABELS if part == "label" else {*TEXTS, *CONTEXTS, *QUESTIONS, *chain(*PAIRS)})


def _pair(free: Mapping[str, str], text: str | None, text2: str | None) -> tuple[str, str] | None:
    if text and text2:
        return text, text2
    if text or text2:
        given = (text or text2 or "").casefold()
        others = {a if b == given else b for a, b in PAIRS if given in (a, b)}
        other = next((free[key] for key in free if key in others), None)
        return None if other is None else (text or other, text2 or other)
    return next(((free[a], free[b]) for a, b in PAIRS if a in free and b in free), None)


def _answers(where: str, head: Sequence[str], free: Mapping[str, str], columns: Columns) -> tuple[str, ...]:
    single = _first(free, LISTS)
    groups: dict[str, list[tuple[str, str]]] = {}
    for key, name in free.items():
        if match := _NUMBERED.fullmatch(key):
            groups.setdefault(match[1].casefold(), []).append((match[2].zfill(4), name))
    best = max(groups.values(), key=len, default=[])
    if len(best) >= 2:
        return tuple(name for _, name in sorted(best))
    if single is None:
        _missing(where, head, "answers", (*LISTS, "choice1", "choice2", "option1", "ending0"))
    return (single,)


def _first(names: Mapping[str, str], wanted: Sequence[str]) -> str | None:
    return next((names[name] for name in wanted if name in names), None)


def _missing(
    where: str, head: Sequence[str], part: str, wanted: Sequence[str], taken: Sequence[str | None] = ()
) -> NoReturn:
    nearest = max((name for name in head if name not in taken), key=lambda name: _likeness(name, wanted), default="")
    what = {"text": "the text", "text2": "the second text", "label": "the label", "answers": "the answers"}[part]
    sought = f"no column {wanted[0]!r} for {what}" if len(wanted) == 1 else f"no column for {what}"
    example = {"label": "label=stars", "answers": "answers=a+b+c", "text2": "text=a,text2=b"}.get(part, "text=review")
    near = _likeness(nearest, wanted) >= 0.6
    hint = f"the nearest is {nearest!r}: --columns {part}={nearest}" if near else f"name it: --columns {example}"
    raise DataError(
        f"{where} has {sought}",
        f"its columns are {', '.join(map(_short, head))}; looked for {', '.join(wanted[:12])}",
        f"{hint}; without a header line count the columns: --columns {part}=2",
    )


def _likeness(name: str, wanted: Sequence[str]) -> float:
    return max(difflib.SequenceMatcher(None, name.casefold(), want.casefold()).ratio() for want in wanted)


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:37] + "…"
