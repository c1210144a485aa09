"""Records of published sets that are no plain row of columns → records that are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from seodang.data.tasks.records import LINE
from seodang.errors import DataError

Values = dict[str, Any]
Shape = Callable[[Values], Iterator[Values]]

_T0_PAIR = re.compile(r'.*?"(.*)" and "(.*)"\. Are they duplicates\?\s*', re.DOTALL)
_TREE_LEAF = re.compile(r"\(\d ([^()]+)\)")
_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}


def plain(values: Values) -> Iterator[Values]:
    """As it is."""
    yield values


def passages(values: Values) -> Iterator[Values]:
    """RACE: one article with several questions gives a record for each; one with a single question stays as it is."""
    if not isinstance(values.get("questions"), list):
        yield values
        return
    for question, options, answer in zip(values["questions"], values["options"], values["answers"], strict=True):
        yield {"article": values["article"], "question": question, "options": options, "answer": answer}


def stem(values: Values) -> Iterator[Values]:
    """ARC and CommonsenseQA as released: the question is an object of a stem and its choices."""
    question = values.get("question")
    if isinstance(question, dict):
        values = {**values, "question": question.get("stem", ""), "choices": question.get("choices", [])}
    yield values


def stated_pair(values: Values) -> Iterator[Values]:
    """Two questions inside a sentence that asks whether they are duplicates (T0's prompt for QQP)."""
    match = _T0_PAIR.fullmatch(str(values.get("prompt", "")))
    yield {**values, "question1": match[1], "question2": match[2]} if match else values


def labelled_line(values: Values) -> Iterator[Values]:
    """`LABEL text`, where TREC's label is of a coarse and a fine class (`LOC:city`), and the root of a tree of the
    Stanford Sentiment Treebank (`(3 (2 It) (4 works))`) with its leaves."""
    line = values.get(LINE)
    if not isinstance(line, str):
        yield values
    elif re.match(r"\(\d ", line):
        leaves = (_BRACKETS.get(leaf, leaf) for leaf in _TREE_LEAF.findall(line))
        yield {"label": line[1], "text": " ".join(leaves)}
    else:
        label, _, text = line.partition(" ")
        yield {"label": label.split(":")[0], "text": text}


def endings(values: Values) -> Iterator[Values]:
    """HellaSwag: activity and context as one text, and WikiHow's marks taken out, as they are commonly evaluated."""
    options = values.get("endings") or values.get("ending_options") or []
    if not isinstance(options, list):
        raise TypeError("endings are no list")
    if "ctx_a" in values:
        context = f"{values['ctx_a']} {str(values.get('ctx_b') or '').capitalize()}"
    else:
        context = str(values.get("ctx", ""))
    activity = values.get("activity_label")
    yield {
        **values,
        "ctx": _without_marks(f"{activity}: {context}" if activity else context),
        "endings": [_without_marks(str(option)) for option in options],
    }


def _without_marks(text: str) -> str:
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def four_sentences(values: Values) -> Iterator[Values]:
    """Story Cloze: the four sentences of a story as its context."""
    names = [name for i in range(1, 5) for name in values if name.casefold() == f"inputsentence{i}"]
    yield {**values, "story": " ".join(str(values[name]).strip() for name in names)} if len(names) == 4 else values


def bracketed_word(values: Values) -> Iterator[Values]:
    """KoBEST WiC: the word stands in brackets in both texts; where a file has it beside them, it is put in."""
    by_name = {name.casefold(): name for name in values}
    word = str(values.get(by_name.get("word", by_name.get("target", ""))) or "").strip()
    for key in ("context_1", "context_2", "sentence1", "sentence2"):
        name = by_name.get(key)
        if name and word and f"[{word}" not in str(values[name]):
            values = {**values, name: str(values[name]).replace(word, f"[{word}]", 1)}
    yield values


def scores(values: Values) -> Iterator[Values]:
    """KLUE STS: the mean of the annotators out of an object of three kinds of label."""
    labels = values.get("labels")
    yield {**values, "score": labels.get("real-label", labels.get("label"))} if isinstance(labels, dict) else values


def marked_entities(values: Values) -> Iterator[Values]:
    """KLUE RE: <subj> … </subj> around the subject and <obj> … </obj> around the object (Park et al. 2021, sec. 3.5
    and the released baseline). Entities may be objects of their first and last character."""
    text = str(values.get("sentence", ""))
    spans = []
    for name, tag in (("subject_entity", "subj"), ("object_entity", "obj")):
        entity = values.get(name)
        if isinstance(entity, str) and entity.startswith("{"):
            entity = _python_object(entity)
        if not isinstance(entity, dict) or not {"start_idx", "end_idx"} <= set(entity):
            yield {key: value for key, value in values.items() if key != "sentence"}
            return
        spans.append((int(entity["start_idx"]), int(entity["end_idx"]) + 1, tag))
    for start, stop, tag in sorted(spans, reverse=True):
        text = f"{text[:start]}<{tag}>{text[start:stop]}</{tag}>{text[stop:]}"
    yield {**values, "sentence": text}


def _python_object(text: str) -> Any:
    """A dictionary as Python prints it, which is how the CSV of a Korean course holds KLUE's entities."""
    import ast

    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def answer_list(value: Any, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(answers, marks) of a list of texts, of {"A": text …}, of {"text": […], "label": […]}, and of a list of
    {"text", "label"}. Raises DataError (file:row) for anything else."""
    if isinstance(value, str) and value.strip()[:1] in "[{":
        value = _python_object(value)
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        return _texts(value["text"]), _texts(value.get("label", ()))
    if isinstance(value, dict) and value:
        return _texts(value.values()), _texts(value)
    if isinstance(value, list) and value and all(isinstance(part, dict) and "text" in part for part in value):
        marks = [part["label"] for part in value if "label" in part]
        return _texts(part["text"] for part in value), _texts(marks)
    if isinstance(value, list):
        return _texts(value), ()
    raise DataError(
        f"{where} has no list of answers",
        f"it has a {type(value).__name__}: {str(value)[:60]}",
        'write answers as a list ["…", "…"], or each in a column of its own: --columns answers=a+b+c',
    )


def _texts(values: Any) -> tuple[str, ...]:
    return tuple("" if value is None else str(value) for value in values)


def beside(path: Path) -> list[str] | None:
    """PIQA and WinoGrande: the labels of `train.jsonl` are the lines of `train-labels.lst` beside it."""
    name = path.name.split(".")[0]
    file = path.with_name(f"{name}-labels.lst")
    return file.read_text(encoding="utf-8").split() if file.is_file() else None
