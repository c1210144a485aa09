"""Several tasks about one text: one output for all, one after another, or each seeing the earlier answers.

    together   text, all questions → {"feeling": "negative", "about": "ending"}      1 call a row
    in-turn    text, one question → answer                                           N calls, independent
    chained    text, question, answer, question, answer, …, question → answer        N calls, each with those before
"""

from __future__ import annotations

import importlib.util
import json
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from seodang.data.labelled import Labelled
from seodang.data.readers import TEXT_KEYS, Row, read_rows, text_key
from seodang.data.tasks.columns import TEXTS
from seodang.errors import DataError, UsageError, suggest
from seodang.inference.language_model import LanguageModel
from seodang.prompting.answers import folded, matched
from seodang.prompting.demonstrations import Shots, demonstrate, dropped_note, fit
from seodang.prompting.template import Template, question_of

Way = Literal["together", "in-turn", "chained"]

Answers = dict[str, str | None]
"""Name of a task → the words of its answer; None: there is none, or it is not known."""


@dataclass(frozen=True)
class Part:
    """One of the tasks."""

    name: str
    question: str
    answers: tuple[str, ...] = ()
    """To choose from; () where the model is free."""


@dataclass(frozen=True)
class Parts:
    """Tasks about one text."""

    parts: tuple[Part, ...]
    text: str = "Text: {text}"
    description: str = ""
    answer: str = "Answer:"
    separator: str = "\n\n"

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of all answers together."""
        properties = {
            part.name: {"enum": list(part.answers)} if part.answers else {"type": "string", "maxLength": 200}
            for part in self.parts
        }
        return {
            "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
        }  # fmt: skip

    @classmethod
    def read(cls, path: Path | str) -> Parts:
        """From a TOML file: a [[task]] with name, question and answers for each; text, description and answer in front
        of them. Raises UsageError, DataError."""
        try:
            values = tomllib.loads(Path(path).read_text("utf-8"))
        except OSError as error:
            raise UsageError(f"{path} cannot be read", error.strerror or str(error), "check the path") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is not TOML", str(error), 'write [[task]], name = "…", question = "…"') from None
        tasks = values.pop("task", [])
        tasks = tasks if isinstance(tasks, list) else [tasks]
        known = ("text", "description", "answer", "separator")
        for key, value in values.items():
            if key not in known or not isinstance(value, str):
                raise DataError(f"{path}: {key} = {value!r}", "it should be a known text", suggest(key, known))
        parts = tuple(_part(path, number, task) for number, task in enumerate(tasks, start=1))
        if len({part.name for part in parts}) < max(2, len(parts)):
            raise DataError(
                f"{path}: {len(parts)} tasks", "there must be two or more, of different names", "add another [[task]]"
            )
        return cls(parts, **values)


def _part(path: Path | str, number: int, task: Any) -> Part:
    known = ("name", "question", "answers")
    if not isinstance(task, dict):
        raise DataError(f"{path}: task {number} is {task!r}", "a task has a name and a question", "write [[task]]")
    strange = next((key for key in task if key not in known), None)
    missing = [key for key in known[:2] if not isinstance(task.get(key), str)]
    if strange or missing:
        raise DataError(
            f"{path}: task {number} " + (f"has the unknown key {strange!r}" if strange else f"has no {missing[0]}"),
            "a task has a name, a question, and answers to choose from",
            suggest(strange, known) if strange else f'write: {missing[0]} = "…"',
        )
    answers = task.get("answers", [])
    if not isinstance(answers, list) or len(set(map(_words, map(str, answers)))) < len(answers):
        why = "it is a list of texts, no two of them the same"
        raise DataError(f"{path}: task {number} has answers = {answers!r}", why, 'write answers = ["…", "…"]')
    return Part(task["name"], task["question"], tuple(map(str, answers)))


@dataclass(frozen=True)
class Outcome:
    """What one way gave, and what it cost."""

    way: Way
    answers: list[Answers]
    """Of each row."""
    calls: int
    prompt_tokens: int
    new_tokens: int
    seconds: float
    notes: list[str] = field(default_factory=list)

    def accuracy(self, parts: Parts, known: Sequence[Answers]) -> dict[str, float]:
        """Share of the rows with known answers whose answer is right, for each task, and for "all" of them at once."""
        right = {
            part.name: [same(got[part.name], gold[part.name]) for got, gold in zip(self.answers, known, strict=True)
                        if gold[part.name] is not None]
            for part in parts.parts
        }  # fmt: skip
        found = {name: sum(values) / len(values) for name, values in right.items() if values}
        whole = [
            all(same(got[name], gold[name]) for name in gold)
            for got, gold in zip(self.answers, known, strict=True)
            if all(value is not None for value in gold.values())
        ]
        return {**found, **({"all": sum(whole) / len(whole)} if whole else {})}


def same(one: str | None, other: str | None) -> bool:
    """Whether two answers are the same words, in whatever case; no answer is never right."""
    return one is not None and other is not None and _words(one) == _words(other)


def _words(text: str) -> str:
    return folded(text).rstrip(" .。")


def read_cases(files: Sequence[Path | str] | Path | str, parts: Parts, *, answered: bool) -> list[Labelled]:
    """Rows with a text and, in a column for each task's name, its answer, which `answered` requires.

    The answers of a row are kept as one JSON text, see `known_answers`. Raises DataError (file:row).
    """
    return [_case(row, parts, answered) for row in read_rows(files, texts=(*TEXT_KEYS, *TEXTS))]


def _case(row: Row, parts: Parts, answered: bool) -> Labelled:
    known: Answers = {}
    for part in parts.parts:
        value = row.values.get(part.name)
        text = None if value is None or not str(value).strip() else str(value).strip()
        if text is None and answered:
            raise DataError(
                f"{row.where} has no answer to {part.name!r}",
                f"its columns are {', '.join(row.values)}; a demonstration shows every answer",
                f"fill the column {part.name}",
            )
        if text is not None and part.answers:
            number = next((n for n, answer in enumerate(part.answers) if same(answer, text)), None)
            if number is None:
                raise DataError(
                    f"{row.where} has the answer {text!r} to {part.name!r}",
                    f"it may be {', '.join(part.answers)}",
                    "correct the row, or the task's answers",
                )
            text = part.answers[number]
        known[part.name] = text
    names = {part.name for part in parts.parts}
    usual = next((key for key in row.values if key.casefold() in TEXTS and key not in names), None)
    return Labelled((str(row.values[usual or text_key(row)]),), 0, (json.dumps(known, ensure_ascii=False),), row.where)


def known_answers(case: Labelled) -> Answers:
    """The answers that a row gives."""
    found: Answers = json.loads(case.answers[0])
    return found


def answer_several(
    lm: LanguageModel,
    parts: Parts,
    cases: Sequence[Labelled],
    way: Way,
    shots: Shots | None = None,
    *,
    embed: Any = None,
    constrain: bool | None = None,
    max_new_tokens: int = 32,
    batch_size: int = 16,
    **options: Any,
) -> Outcome:
    """The answers to every task about every row, one way.

    constrain: only the tasks' answers, or the JSON schema of all of them, can be written; None: where the package
    llguidance is there. max_new_tokens: of each answer. options: those of `generate`. Raises UsageError, DataError,
    FitError as `prompt.ask` does.
    """
    if way not in get_args(Way):
        raise UsageError(f"way = {way!r}", "there is no such way", suggest(way, get_args(Way)))
    constrain = importlib.util.find_spec("llguidance") is not None if constrain is None else constrain
    shown, notes = demonstrate(cases, shots or Shots(), embed=embed)
    asking = _Asking(lm, parts, cases, shown, constrain, max_new_tokens, {**options, "batch_size": batch_size})
    start = time.perf_counter()
    answers: list[Answers] = [{} for _ in cases]
    if way == "together":
        width = max_new_tokens * len(parts.parts)
        rule: dict[str, Any] = {"schema": parts.schema} if constrain else {"stop": parts.separator}
        texts = asking.generate([_together(parts, case, {}) for case in cases], _together, width, rule)
        answers = [parsed(text, parts) for text in texts]
    for number, part in enumerate(parts.parts if way != "together" else ()):
        before = parts.parts[:number] if way == "chained" else ()

        def block(parts: Parts, case: Labelled, given: Answers, part: Part = part, before: Any = before) -> str:
            return _asked(parts, case, (*before, part), given)

        rule = {"stop": "\n"}
        if constrain and part.answers:
            rule = {"choices": [f" {answer}" for answer in part.answers]}
        asked = [block(parts, case, given) for case, given in zip(cases, answers, strict=True)]
        for given, text in zip(answers, asking.generate(asked, block, max_new_tokens, rule), strict=True):
            given[part.name] = chosen(text, part)
    notes = notes + dropped_note(shown, asking.kept)
    seconds = time.perf_counter() - start
    return Outcome(way, answers, asking.calls, asking.prompt_tokens, asking.new_tokens, seconds, notes)


@dataclass
class _Asking:
    """Prompts with their demonstrations, cut to fit, and what they cost."""

    lm: LanguageModel
    parts: Parts
    cases: Sequence[Labelled]
    shown: Sequence[Sequence[Labelled]]
    constrain: bool
    max_new_tokens: int
    options: dict[str, Any]
    calls: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0

    def __post_init__(self) -> None:
        self.kept: list[list[Labelled]] = [list(row) for row in self.shown]

    def generate(self, questions: Sequence[str], block: Any, width: int, rule: Mapping[str, Any]) -> list[str]:
        """What is written behind each question, which stands behind its row's demonstrations, made by `block`."""
        prompts = []
        for place, (case, question) in enumerate(zip(self.cases, questions, strict=True)):

            def text(shown: Sequence[Labelled], question: str = question) -> str:
                blocks = [block(self.parts, one, known_answers(one)) for one in shown]
                return self.parts.separator.join(filter(None, [self.parts.description, *blocks, question]))

            def size(shown: Sequence[Labelled], text: Any = text) -> int:
                return len(self.lm.tokenizer.encode(text(shown))) + 1 + width

            self.kept[place] = fit(self.kept[place], size, self.lm.context_length, case.where)
            prompts.append(text(self.kept[place]))
        made = self.lm.generate(prompts, **{**self.options, **rule, "max_new_tokens": width})
        self.calls += len(made)
        self.prompt_tokens += sum(one.prompt_tokens for one in made)
        self.new_tokens += sum(len(one.tokens) for one in made)
        return [one.text for one in made]


def _text(parts: Parts, case: Labelled) -> str:
    return question_of(Template(parts.text), case)


def _asked(parts: Parts, case: Labelled, asked: Sequence[Part], given: Answers) -> str:
    """A text and its questions, each with its answer where it is given; the last one may wait for it."""
    lines = [_text(parts, case)]
    for part in asked:
        known = part.name in given
        lines += [part.question, parts.answer + (f" {given[part.name] or ''}".rstrip() if known else "")]
    return "\n".join(lines)


def _together(parts: Parts, case: Labelled, given: Answers) -> str:
    lines = [_text(parts, case), *(f"{part.name}: {part.question}" for part in parts.parts)]
    return "\n".join([*lines, "JSON:", json.dumps(given, ensure_ascii=False) if given else ""])


def chosen(text: str, part: Part) -> str | None:
    """The answer that a generated text gives to one task."""
    if not part.answers:
        return text.strip() or None
    number = matched(text, part.answers)
    return None if number is None else part.answers[number]


def parsed(text: str, parts: Parts) -> Answers:
    """The answers out of one output: JSON, whole or broken off, or lines such as "feeling: negative"; None for each
    task that it does not answer."""
    values: Mapping[str, Any] = {}
    start = text.find("{")
    if start >= 0:
        try:
            values, _ = json.JSONDecoder().raw_decode(text[start:])
        except json.JSONDecodeError:
            values = {}
    found: Answers = {}
    for part in parts.parts:
        value = values.get(part.name) if values else _after(text, part.name)
        found[part.name] = None if value is None else chosen(str(value), part)
    return found


def _after(text: str, name: str) -> str | None:
    """What stands behind a name and a colon, to the end of the line or the next comma of broken-off JSON."""
    at = text.casefold().find(name.casefold())
    rest = text[at + len(name) :].lstrip(' "') if at >= 0 else ""
    if not rest.startswith(":"):
        return None
    value = rest[1:].split("\n")[0].strip()
    return value[1:].split('"')[0] if value.startswith('"') else value or None
