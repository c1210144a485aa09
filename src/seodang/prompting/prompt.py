"""Prompting in one call: a model, something to answer, words and demonstrations → answers with probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args, overload

from seodang.data.labelled import Kind, Labelled, TaskData, TaskSpec
from seodang.data.tasks import Columns, read_task
from seodang.data.tasks.published import TASKS, task_name
from seodang.errors import DataError, UsageError, suggest
from seodang.inference.language_model import LanguageModel, load
from seodang.prompting.answers import matched
from seodang.prompting.asking import (
    CONCLUSION_TOKENS,
    Answer,
    embedder,
    fitted,
    generate_answers,
    score_answers,
)
from seodang.prompting.demonstrations import Overlap, Select, Shots, demonstrate
from seodang.prompting.free import example_of, free_template, read_free
from seodang.prompting.reasoning import Extract, extracted, language_of, worded
from seodang.prompting.template import Template, in_order
from seodang.prompting.wording import default_template

How = Literal["sum", "token", "byte", "null", "generate"]
"""A way to score answers (`answers.scores`), or free generation."""

Question = str | tuple[str, ...] | Labelled
"""A text, two texts (premise and hypothesis, context and question), or an example."""

Demonstration = tuple[str | tuple[str, ...], str] | Labelled
"""A text (or two) and its answer in words, or an example."""

DEFAULT_K = 4


@dataclass(frozen=True)
class Ask:
    """How examples are put to a model."""

    template: Template
    shots: Shots = field(default_factory=Shots)
    score: How = "sum"
    calibrate: bool = False
    regression: bool = False
    cot: bool = False
    samples: int = 1
    extract: Extract | None = None
    batch_size: int = 16
    options: dict[str, Any] = field(default_factory=dict)
    """Of `LanguageModel.generate`."""

    def check(self) -> Ask:
        """Itself. Raises UsageError for an unknown way to score, and for settings that belong to another one."""
        if self.score not in get_args(How):
            raise UsageError(f"score = {self.score!r}", "there is no such way", suggest(self.score, get_args(How)))
        if self.score == "generate" and self.calibrate:
            raise UsageError("calibration of generated text", "it weighs probabilities of answers", "score the answers")
        if self.score != "generate" and (self.cot or self.samples != 1):
            raise UsageError(
                f"score = {self.score!r} with reasoning or several samples",
                "nothing is generated where answers are scored",
                "set score to generate",
            )
        return self


def ask(
    lm: LanguageModel, examples: Sequence[Labelled], how: Ask, *, embed: LanguageModel | None = None
) -> tuple[list[Answer], list[str]]:
    """(the answer to each example, remarks). embed: the model whose vectors say what is near; `lm` where it is None.

    Raises UsageError for settings that contradict one another, DataError for a demonstration that is the question,
    FitError for a question that is too long.
    """
    how.check()
    near = embedder(embed or lm) if how.shots.select == "nearest" and how.shots.k else None
    shown, notes = demonstrate(examples, how.shots, embed=near)
    if how.score != "generate":
        lm.settings(**how.options)  # names that do not exist are said here, too
        kept, dropped = fitted(lm, how.template, examples, shown)
        answers = score_answers(
            lm, how.template, examples, kept, scoring=how.score, calibrate=how.calibrate,
            regression=how.regression,
        )  # fmt: skip
        return answers, notes + dropped
    options = {**how.options, "max_new_tokens": how.options.get("max_new_tokens") or _length(how)}
    reserve = options["max_new_tokens"] + (2 * CONCLUSION_TOKENS if how.cot and not how.shots.k else 0)
    kept, dropped = fitted(lm, how.template, examples, shown, reserve=reserve)
    answers = generate_answers(
        lm, how.template, examples, kept, cot=how.cot, samples=how.samples, extract=how.extract,
        batch_size=how.batch_size, **options,
    )  # fmt: skip
    return answers, notes + dropped


def _length(how: Ask) -> int:
    if how.cot:
        return 256
    return 64 if how.template.answers is None else 16


@overload
def prompt(model: LanguageModel | str, examples: Question, **settings: Any) -> Answer:
    """One question, one answer."""
@overload
def prompt(model: LanguageModel | str, examples: Sequence[Question] | Path, **settings: Any) -> list[Answer]:
    """An answer to each question."""
def prompt(
    model: LanguageModel | str,
    examples: Question | Sequence[Question] | Path,
    *,
    task: str | TaskSpec | Template | None = None,
    answers: Sequence[str] | None = None,
    shots: Sequence[Demonstration] | Path | str = (),
    k: int | None = None,
    select: Select = "fixed",
    balanced: bool = False,
    seed: int = 0,
    overlap: Overlap = "refuse",
    score: How | None = None,
    calibrate: bool = False,
    embed: LanguageModel | str | None = None,
    cot: bool = False,
    samples: int = 1,
    extract: Extract | None = None,
    columns: Columns | None = None,
    batch_size: int = 16,
    **options: Any,
) -> Answer | list[Answer]:
    """Ask a model about a text, or about each of several, with k demonstrations in front.

    >>> prompt("smollm2", "a charming film", answers=["negative", "positive"],
    ...        shots=[("it never ends", "negative"), ("a joy", "positive")])  # doctest: +SKIP

    examples: a text, two texts as a tuple, a `Labelled`, a list of these, or the path of a file of rows. task: the
    words as a Template, or the name of a task (a published one, or classify, entail, similar, choice, regress), whose
    files are read and worded accordingly. answers: the words of the labels in their order. Without answers the model
    writes freely. shots: the demonstrations, or a file of them; k: how many (4, or as many as there are), chosen by
    `select`. score: how answers are weighed (sum), or generate, whose text is searched for an answer. calibrate:
    contextual calibration. cot, samples, extract: reasoning, self-consistency and what the answer looks like
    (`asking.generate_answers`). Remarks, such as on demonstrations that did not fit, are given as warnings.
    """
    lm = load(model) if isinstance(model, str) else model
    template, known = (task, None) if isinstance(task, Template) else (None, task)
    pool, known = read_examples(shots, known, answers, columns=columns, answered=True, reasoning=cot)
    asked, known = read_examples(
        [examples] if isinstance(examples, str | tuple | Labelled) else examples,
        known, answers, columns=columns, answered=False, reasoning=cot,
    )  # fmt: skip
    spec = spec_of(known)
    words = worded_by(template, spec, answers, [*asked, *pool], few_shot=bool(pool), reasoning=cot)
    asked, pool = (understood(some, words, spec, reasoning=cot) for some in (asked, pool))
    choose = words.answers is not None or any(len(example.answers) > 1 for example in asked)
    how = Ask(
        words,
        Shots(pool, min(DEFAULT_K, len(pool)) if k is None else k, select, balanced, seed, overlap),
        score or ("sum" if choose and not cot and samples == 1 else "generate"),
        calibrate, spec is not None and spec.regression, cot, samples, extract, batch_size,
        {**options, "seed": seed},
    )  # fmt: skip
    found, notes = ask(lm, asked, how, embed=load(embed) if isinstance(embed, str) else embed)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return found[0] if isinstance(examples, str | tuple | Labelled) else found


def worded_by(
    template: Template | None,
    task: TaskSpec | None,
    answers: Sequence[str] | None,
    examples: Sequence[Labelled],
    *,
    few_shot: bool,
    reasoning: bool = False,
) -> Template:
    """The template that was given, or one for the task, or for free prompts: these alone where nothing stands before
    them. `answers` replace the template's, which are put into the labels' order (`template.in_order`)."""
    if template is None and task is not None:
        template = default_template(replace(task, labels=tuple(answers)) if answers else task, examples)
    if template is None and answers:
        kind: Kind = "classify" if all(len(example.texts) < 2 for example in examples) else "entail"
        return default_template(TaskSpec(kind, kind, tuple(answers)), examples)
    if template is None:
        return free_template(examples, reasoning=reasoning) if few_shot or reasoning else Template("{text}")
    template = replace(template, answers=tuple(answers)) if answers else template
    return template if task is None else in_order(template, task)


def understood(
    examples: Sequence[Labelled], template: Template, task: TaskSpec | None, *, reasoning: bool = False
) -> list[Labelled]:
    """Texts with their completions, where the template or the task has answers: the completion is one of these, or with
    reasoning ends in one. Raises DataError for a completion that is none."""
    if template.answers is None and not (task is not None and task.regression):
        return list(examples)
    return [
        example if len(example.answers) != 1 else _named(example, template, task, reasoning) for example in examples
    ]


def _named(example: Labelled, template: Template, task: TaskSpec | None, reasoning: bool) -> Labelled:
    (said,), words = example.answers, template.answers or ()
    if task is not None and task.regression and not reasoning:
        try:
            return replace(example, label=float(said), answers=())
        except ValueError:
            raise DataError(f"{example.where} has the answer {said!r}", "a score is a number", "correct it") from None
    if reasoning:
        number = matched(extracted(said, "line") or "", words)
    else:
        key = said.strip().casefold()
        names = (words, task.labels if task is not None else ())
        number = next((n for some in names for n, name in enumerate(some) if name.casefold() == key), None)
    if number is None:
        raise DataError(
            f"{example.where} has the answer {said[-80:]!r}",
            f"the answers are {', '.join(words)}",
            "correct the row, or the template's answers",
        )
    return replace(example, label=number, answers=example.answers if reasoning else ())


def read_examples(
    given: Sequence[Question] | Sequence[Demonstration] | Path | str,
    task: str | TaskSpec | None,
    answers: Sequence[str] | None,
    *,
    columns: Columns | None = None,
    answered: bool,
    reasoning: bool = False,
) -> tuple[list[Labelled], TaskSpec | str | None]:
    """(examples, the task as far as it is known now), from a file or from what Python holds.

    answered: each item is a text with its answer; else a text alone. Raises UsageError for an answer that is none of
    `answers`, and what the readers raise.
    """
    if isinstance(given, str | Path):
        name = task.name if isinstance(task, TaskSpec) else task
        if name is None and answers is not None:
            name = "classify"
        if name is None:
            return read_free([given], answered=answered, reasoning=reasoning), task
        known = task.labels if isinstance(task, TaskSpec) and task.labels else None
        data = _read(name, given, columns, known, answered)
        if answers and known is None and data.spec.labels != tuple(answers) and _same(answers, data.spec.labels):
            data = _read(name, given, columns, answers, answered)  # the file's own words, in another order
        return data.examples, data.spec
    return [_example(item, number, answers, answered, reasoning) for number, item in enumerate(given, start=1)], task


def _read(
    name: str, path: str | Path, columns: Columns | None, labels: Sequence[str] | None, answered: bool
) -> TaskData:
    """The examples of a file, with their labels where it has any. Raises DataError, for `answered` also where not."""
    if labels is None and not answered and task_name(name) in TASKS:
        labels = TASKS[task_name(name)].labels or None  # rows to be answered may be of one class
    try:
        return read_task(name, [path], columns=columns, labels=labels, labelled=answered or "some")
    except DataError as error:
        if answered or "for the label" not in error.what:
            raise
        return read_task(name, [path], columns=columns, labels=labels, labelled=False)


def spec_of(task: TaskSpec | str | None) -> TaskSpec | None:
    """What is known of a task whose files were not read: of a published one, its labels. Raises UsageError for others
    that need labels."""
    if task is None or isinstance(task, TaskSpec):
        return task
    name = task_name(task)
    if name not in TASKS:
        regression = name == "regress"
        return TaskSpec(name, cast(Kind, "classify" if regression else name), regression=regression)
    known = TASKS[name]
    return TaskSpec(name, known.kind, known.labels, known.regression, known.metrics, known.language, known.source)


def _same(one: Sequence[str], other: Sequence[str]) -> bool:
    return sorted(map(str.casefold, one)) == sorted(map(str.casefold, other))


def _example(
    item: Question | Demonstration, number: int, answers: Sequence[str] | None, answered: bool, reasoning: bool
) -> Labelled:
    if isinstance(item, Labelled):
        return item
    where = f"{'demonstration' if answered else 'row'} {number}"
    if not answered:
        texts = (item,) if isinstance(item, str) else cast(tuple[str, ...], item)
        return Labelled(texts, None, (), where)
    text, answer = cast(tuple[str | tuple[str, ...], str], item)
    texts = (text,) if isinstance(text, str) else text
    if answers is None:
        answer = worded(answer, language_of(answer)) if reasoning else answer
        return replace(example_of(texts[0], answer, where), texts=texts)
    if answer not in answers:
        raise UsageError(f"{where} has the answer {answer!r}", "it is none of the answers", suggest(answer, answers))
    return Labelled(texts, list(answers).index(answer), (), where)
