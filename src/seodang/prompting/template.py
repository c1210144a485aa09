"""How an example is put into words: the question, the demonstrations before it, and the answers that may follow.

    description            Decide whether the review is positive or negative.
    separator
    question between answer    Review: a charming film ⏎ Sentiment: positive         (a demonstration)
    separator
    question                   Review: it never ends ⏎ Sentiment:                    (the context ends here)
    between answer             " negative", " positive"                              (the continuations)
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seodang.errors import DataError, UsageError, suggest

if TYPE_CHECKING:
    from seodang.data.labelled import Labelled, TaskSpec

TEXTS = (("text", "premise", "a", "context"), ("hypothesis", "b", "question"), ("word",))
"""Names of an example's first, second and third text; each name of a group means the same text."""

MADE = ("answer", "before", "after", "choices")
"""Names of what is made: the answer, the first text before and after its blank "_", and the lettered answers."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_NAME = re.compile(r"\{\{|\}\}|\{(\w+)\}")


@dataclass(frozen=True)
class Template:
    """The wording of a task. `{{` and `}}` stand for braces; any other brace that holds no name is itself."""

    question: str
    """What stands before the answer, with {names} of TEXTS and MADE; a line whose names are all empty is left out."""
    answers: tuple[str, ...] | None = None
    """The words of the labels in their order; None: an example's own answers (multiple choice)."""
    description: str = ""
    """The task in words, once, in front of everything."""
    separator: str = "\n\n"
    """Between description, demonstrations and question."""
    between: str = " "
    """Between a question and its answer; the continuation begins with it."""
    continuation: str = "{answer}"
    """What is scored; "{after}" with "{before}{answer}" in the question fills a blank, as WinoGrande's."""

    def __post_init__(self) -> None:
        for text in (self.question, self.continuation):
            for name in names_in(text):
                if name not in _known():
                    raise UsageError(f"a template with {{{name}}}", "no text has this name", suggest(name, _known()))

    @property
    def answer_context(self) -> str:
        """The null prompt that an answer's probability is compared with: the question's last line without the
        example, such as "Answer:" (Brown et al. 2020, sec. 2.4)."""
        return " ".join(_fill(self.question.rsplit("\n", 1)[-1], dict.fromkeys(_known(), " ")).split())

    @classmethod
    def read(cls, path: Path | str) -> Template:
        """A template from a TOML file: question = "…", answers = […], and the other fields. Raises UsageError,
        DataError."""
        try:
            values = tomllib.loads(Path(path).read_text("utf-8"))
        except OSError as error:
            raise UsageError(f"{path} cannot be read", error.strerror or str(error), "check the path") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is not TOML", str(error), 'write lines such as: question = "{text}"') from None
        known = [field.name for field in fields(cls)]
        for name, value in values.items():
            if name not in known:
                raise DataError(f"{path}: unknown key {name!r}", "a template has no such part", suggest(name, known))
            if not isinstance(value, list if name == "answers" else str):
                raise DataError(f"{path}: {name} = {value!r}", "it is text, answers is a list of texts", "correct it")
        if "question" not in values:
            raise DataError(f"{path}: no question", "a template needs one", 'write: question = "{text}\\nAnswer:"')
        if "answers" in values:
            values["answers"] = tuple(str(answer) for answer in values["answers"])
            if not all(values["answers"]) or len(set(values["answers"])) < len(values["answers"]):
                why = "an answer is some text, and no two are the same"
                raise DataError(f"{path}: answers = {list(values['answers'])}", why, "correct it")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "answers": None if self.answers is None else list(self.answers)}


def names_in(text: str) -> list[str]:
    """The {names} of a template's text, in order."""
    return [match[1] for match in _NAME.finditer(text) if match[1]]


def answers_of(template: Template, example: Labelled) -> tuple[str, ...]:
    """The words of each answer that `example` may have. Raises UsageError when there is none."""
    n = len(example.answers)
    if template.answers is None:
        answers = example.answers
    elif n > len(template.answers):
        raise UsageError(
            f"{example.where or 'an example'} has {n} answers",
            f"the template names {len(template.answers)}: {', '.join(template.answers)}",
            "give the template a name for each answer",
        )
    else:  # letters, of which a question with fewer answers uses the first
        answers = template.answers[:n] if n > 1 else template.answers
    if not answers:
        raise UsageError(
            f"{example.where or 'an example'} has no answers to choose from",
            "its task is no multiple choice, and the template names none",
            "give the template its answers, one for each label",
        )
    return answers


def in_order(template: Template, task: TaskSpec) -> Template:
    """The template with its answers in the order of the task's labels, where they are the same words. Raises UsageError
    where there is not one answer for each label, and for an answer that is the word of another label."""
    labels = task.labels
    if template.answers is None or not labels or task.kind == "choice" or task.regression:
        return template
    answers, names = ([word.casefold() for word in words] for words in (template.answers, labels))
    if sorted(answers) == sorted(names):
        return replace(template, answers=tuple(template.answers[answers.index(name)] for name in names))
    astray = [word for word, own in zip(answers, names, strict=False) if word in names and word != own]
    if len(answers) != len(names) or astray:
        raise UsageError(
            f"the template has {len(template.answers)} answers: {', '.join(template.answers)}",
            f"the task has {len(labels)} labels: {', '.join(labels)}",
            "give the template one answer for each label, in their order",
        )
    return template


def right_answer(template: Template, example: Labelled) -> str:
    """The words of an example's label, or its own ones; of a score, its number, or the nearest of the template's.
    Raises DataError where it has none."""
    if example.label is None:
        raise DataError(
            f"{example.where or 'an example'} has no label",
            "a demonstration shows its answer",
            "label it, or leave it out",
        )
    if isinstance(example.label, float):
        if template.answers is None:
            return f"{example.label:g}"
        return min(template.answers, key=lambda answer: abs(_number(answer) - float(example.label or 0)))
    if len(example.answers) == 1:  # a prompt's completion, with the reasoning in it
        return example.answers[0]
    answers = answers_of(template, example)
    if not 0 <= example.label < len(answers):
        raise DataError(
            f"{example.where or 'an example'} has label {example.label}",
            f"there are {len(answers)} answers: {', '.join(answers)}",
            "correct the label, or give the template one answer for each label",
        )
    return answers[example.label]


def question_of(template: Template, example: Labelled, answer: str = "") -> str:
    """The question of one example, without description and demonstrations."""
    return _fill(template.question, _values(example, answer))


def continuation_of(template: Template, example: Labelled, answer: str) -> str:
    """`between` and what follows."""
    return template.between + _fill(template.continuation, _values(example, answer))


def demonstration_of(template: Template, example: Labelled) -> str:
    """An example with its right answer, as it stands before a question. Raises DataError where it has none."""
    answer = right_answer(template, example)
    return question_of(template, example, answer) + continuation_of(template, example, answer)


def context_of(
    template: Template, example: Labelled, demonstrations: Sequence[Labelled] = (), *, answer: str = ""
) -> str:
    """Description, demonstrations and the question: all that stands before an answer. A question without an {answer}
    has the same context for every answer."""
    parts = [template.description] if template.description else []
    parts += [demonstration_of(template, shown) for shown in demonstrations]
    return template.separator.join([*parts, question_of(template, example, answer)])


def pairs_of(
    template: Template, example: Labelled, demonstrations: Sequence[Labelled] = ()
) -> list[tuple[str, str]]:
    """(context, continuation) for each answer that `example` may have, in the labels' order.

    The contexts are the same but where the question holds the answer, as WinoGrande's does. Raises UsageError where
    there are no answers, DataError for a demonstration without a label.
    """
    return [
        (
            context_of(template, example, demonstrations, answer=answer),
            continuation_of(template, example, answer),
        )
        for answer in answers_of(template, example)
    ]


def content_free(example: Labelled, text: str) -> Labelled:
    """`example` with `text` in place of its texts; the answers stay (Zhao et al. 2021, sec. 5)."""
    text = text or " "  # nothing at all would take its line away
    return replace(example, texts=tuple(text if own else own for own in example.texts), label=None)


def _known() -> list[str]:
    return [*(name for group in TEXTS for name in group), *MADE]


def _values(example: Labelled, answer: str) -> dict[str, str]:
    values = dict.fromkeys(_known(), "")
    for group, text in zip(TEXTS, example.texts, strict=False):
        values |= dict.fromkeys(group, text)
    before, _, after = values[TEXTS[0][0]].partition("_")
    choices = "\n".join(f"{letter}. {own}" for letter, own in zip(LETTERS, example.answers, strict=False))
    return {**values, "answer": answer, "before": before, "after": after.strip(), "choices": choices}


def _fill(text: str, values: dict[str, str]) -> str:
    lines = []
    for line in text.split("\n"):
        own = [values[name] for name in names_in(line)]
        if own and not any(own):
            continue
        filled = _NAME.sub(lambda match: values[match[1]] if match[1] else match[0][0], line)
        lines.append(filled.rstrip() if own and not any(value.strip() for value in own) else filled)
    return "\n".join(lines)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"the answer {text!r} of a template for scores", "a score is a number", 'write answers such as "0", "1"'
        ) from None
