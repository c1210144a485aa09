"""Words for tasks that nobody has worded: a template for each kind of task, in English and Korean."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from seodang.errors import UsageError
from seodang.prompting.template import Template

if TYPE_CHECKING:
    from seodang.data.labelled import Labelled, TaskSpec

_QUESTIONS = {
    ("classify", "en"): ("Label each text with one of: {labels}.", "Text: {text}\nLabel:"),
    ("classify", "ko"): ("글마다 알맞은 것을 하나 고르시오: {labels}.", "글: {text}\n답:"),
    ("entail", "en"): ("", "{premise}\nQuestion: {hypothesis} {options}?\nAnswer:"),
    ("entail", "ko"): ("", "{premise}\n질문: {hypothesis} {options}?\n답:"),
    ("similar", "en"): (
        "", "Sentence 1: {a}\nSentence 2: {b}\nQuestion: Do both sentences mean the same? {options}?\nAnswer:",
    ),
    ("similar", "ko"): ("", "문장 1: {a}\n문장 2: {b}\n질문: 두 문장은 같은 뜻인가? {options}?\n답:"),
    ("choice", "en"): ("", "{context}\nQuestion: {question}\nAnswer:"),
    ("choice", "ko"): ("", "{context}\n질문: {question}\n답:"),
    ("regress", "en"): ("Give each text a number from {low} to {high}.", "Text: {text}\nNumber:"),
    ("regress", "ko"): ("글마다 {low}에서 {high}까지의 수를 매기시오.", "글: {text}\n수:"),
    ("regress2", "en"): (
        "How alike are the two sentences, from {low} (not at all) to {high} (the same)?",
        "Sentence 1: {a}\nSentence 2: {b}\nNumber:",
    ),
    ("regress2", "ko"): (
        "두 문장은 얼마나 비슷한가, {low}(전혀 다름)에서 {high}(같음)까지의 수로 답하시오.",
        "문장 1: {a}\n문장 2: {b}\n수:",
    ),
}  # fmt: skip
"""Kind and language → description and question."""

_WORDS = {
    "entailment": ("True", "참"), "entails": ("True", "참"), "contradiction": ("False", "거짓"),
    "neutral": ("Neither", "알 수 없음"), "not_entailment": ("False", "거짓"),
    "negative": ("negative", "부정"), "positive": ("positive", "긍정"),
    "true": ("yes", "예"), "false": ("no", "아니오"),
    "equivalent": ("yes", "예"), "not_equivalent": ("no", "아니오"), "duplicate": ("yes", "예"),
    "not_duplicate": ("no", "아니오"), "paraphrase": ("yes", "예"), "not_paraphrase": ("no", "아니오"),
}  # fmt: skip
"""Names that labels have in files → words that people write, English and Korean."""

_PLAIN = {("entail", 2): ("False", "True", "거짓", "참"), ("similar", 2): ("no", "yes", "아니오", "예")}
"""Words of labels that are only the numbers 0 and 1."""

SCORES = ("0", "1", "2", "3", "4", "5")
"""Answers for a task of scores, as STS's: the expected one is the prediction."""


def default_template(task: TaskSpec, examples: Iterable[Labelled] = ()) -> Template:
    """A template for any task: by its kind, in its language, or else in that of its `examples`.

    The labels' names are the words of the answers; a few names such as "not_entailment" are put into words. Raises
    UsageError for a task without labels to choose from.
    """
    language = task.language or ("ko" if _is_korean(text for example in examples for text in example.texts) else "en")
    korean = language == "ko"
    if task.regression:
        kind = "regress2" if task.kind in ("similar", "entail") else "regress"
        description, question = _QUESTIONS[kind, "ko" if korean else "en"]
        return Template(question, SCORES, description.format(low=SCORES[0], high=SCORES[-1]))
    description, question = _QUESTIONS[task.kind, "ko" if korean else "en"]
    if task.kind == "choice" and task.labels:  # letters, which the answers are listed with
        body, end = question.rsplit("\n", 1)
        return Template(f"{body}\n{{choices}}\n{end}", task.labels)
    if task.kind == "choice":
        return Template(question)
    if not task.labels:
        raise UsageError(
            f"the labels of the task {task.name!r} are not known",
            "an answer is one of them",
            "give labelled examples (--shots), or a template with answers",
        )
    answers = _answers(task, korean)
    return Template(
        question.replace("{options}", _listed(answers, " 또는 " if korean else " or ")),
        answers,
        description.format(labels=", ".join(answers)),
    )


def _answers(task: TaskSpec, korean: bool) -> tuple[str, ...]:
    if set(task.labels) == {"0", "1"} and (task.kind, 2) in _PLAIN:
        words = _PLAIN[task.kind, 2][2 * korean : 2 * korean + 2]
        return tuple(words[int(label)] for label in task.labels)
    answers = tuple(_WORDS.get(label.casefold().replace("-", "_").replace(" ", "_"), (label, label))[korean]
                    for label in task.labels)
    return answers if len(set(answers)) == len(answers) else tuple(task.labels)


def _listed(answers: tuple[str, ...], last: str) -> str:
    return ", ".join(answers[:-1]) + last + answers[-1] if len(answers) > 1 else answers[0]


def _is_korean(texts: Iterable[str]) -> bool:
    some = "".join(text for text, _ in zip(texts, range(20), strict=False))
    letters = re.findall(r"[^\W\d_]", some)
    return 2 * len(re.findall(r"[가-힣]", some)) > len(letters)
