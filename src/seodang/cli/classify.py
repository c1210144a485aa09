"""`seodang classify`: the class of a text, or the right one of several answers, by a fine-tuned model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seodang.cli.answering import ModelOptions, Paths, Texts
from seodang.cli.frame import parse, say
from seodang.errors import UsageError

if TYPE_CHECKING:
    from seodang.data.labelled import Labelled, TaskSpec
    from seodang.inference.classify import Prediction

_SHOWN = 70


@dataclass(kw_only=True)
class ClassifyConfig(ModelOptions):
    """Ask a fine-tuned model: the probability of each class or answer, or a score."""

    text: Texts = ()
    """Text to classify, the first of a pair, or what a choice is about; may be given several times."""
    text2: Texts = ()
    """The second text of each --text's pair; the question of a choice."""
    answer: Texts = ()
    """An answer to choose from, for every --text; given several times."""
    data: Paths = ()
    """File of texts (csv, tsv, jsonl, json, parquet with a header; txt with a text on each line)."""
    columns: tuple[str, ...] = ()
    """Columns that are not found by their names: text=review, answers=a+b+c."""
    out: Path | None = None
    """Write one JSON row for each example there."""
    batch_size: int = 32
    """Examples that go through the model together. Never changes a prediction."""
    json: bool = False
    """Print one JSON row for each example."""


def main(argv: list[str]) -> int:
    """Exit code 0; errors are raised."""
    config = parse(ClassifyConfig, argv, "seodang classify")
    if bool(config.text) == bool(config.data):
        seen = "has both --text and --data" if config.text else "needs --text or --data"
        raise UsageError(f"seodang classify {seen}", "one of them says what to classify", "give one")
    if config.batch_size < 1:
        raise UsageError(f"batch_size = {config.batch_size}", "it must be 1 or more", "set --batch-size 1 or more")
    for flag, given in (("--text2", config.text2), ("--answer", config.answer)):
        if config.data and given:
            raise UsageError(
                f"{flag} beside --data",
                "the file holds all texts and answers",
                "leave it away, or name the file's columns: --columns text=a,text2=b",
            )
    lm = config.load()
    from seodang.inference.classify import Cuts, classified, task_settings

    spec = task_settings(lm.fine_tuned, config.model).spec
    if config.text:
        examples: Iterable[Labelled] = _given(config, spec)
    else:
        from seodang.data.tasks.columns import Columns
        from seodang.data.tasks.stream import stream_examples

        columns = Columns.parse(config.columns)
        examples = stream_examples(config.data, spec, columns)
    cuts = Cuts()
    rows = classified(lm, examples, batch_size=config.batch_size, cuts=cuts)
    if config.out is not None:
        _write(rows, spec, config.out)
    else:
        for example, prediction in rows:
            found = as_dict(example, prediction, spec)
            line = json.dumps(found, ensure_ascii=False) if config.json else in_words(found)
            print(line, flush=True)
    if cuts.note:
        say(f"note: {cuts.note}")
    return 0


def _given(config: ClassifyConfig, spec: TaskSpec) -> list[Labelled]:
    """The texts of the flags as examples. Raises UsageError where the second texts or answers do not go with them."""
    from seodang.data.labelled import Labelled

    texts, seconds, answers = config.text, config.text2, config.answer
    for flag, given in (("--text", texts if spec.kind != "choice" else ()), ("--answer", answers)):
        if not all(text.strip() for text in given):
            raise UsageError(f'{flag} ""', "there is nothing to read", f"give {flag} some words")
    if seconds and len(seconds) != len(texts):
        raise UsageError(
            f"{len(texts)} --text and {len(seconds)} --text2", "they are pairs", "give as many of one as of the other"
        )
    if answers and spec.kind == "choice" and not seconds:
        seconds = ("",) * len(texts)
    pairs = zip(texts, seconds, strict=True) if seconds else ((text,) for text in texts)
    return [Labelled(tuple(pair), None, answers, f"--text {number}") for number, pair in enumerate(pairs, start=1)]


def as_dict(example: Labelled, prediction: Prediction, spec: TaskSpec) -> dict[str, Any]:
    """The JSON shape of one prediction: label and probabilities by name, or answer and its number from 1, or score."""
    found: dict[str, Any] = {"where": example.where, "texts": list(filter(None, example.texts))}
    if spec.regression:
        return {**found, "score": prediction.score}
    assert prediction.label is not None
    if spec.kind == "choice":
        named: Any = [
            {"answer": answer, "probability": p}
            for answer, p in zip(example.answers, prediction.probabilities, strict=True)
        ]
        return {**found, "answer": example.answers[prediction.label], "number": prediction.label + 1, "answers": named}
    probabilities = dict(zip(spec.labels, prediction.probabilities, strict=True))
    return {**found, "label": spec.labels[prediction.label], "probabilities": probabilities}


def in_words(found: dict[str, Any]) -> str:
    """One line: what was chosen, how sure, and the text."""
    text = " / ".join(" ".join(text.split()) for text in found["texts"])
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    if "score" in found:
        return f"{found['score']:.4f}  {shown}"
    if "answers" in found:
        return f"{found['answers'][found['number'] - 1]['probability']:.4f}  {found['answer']}  {shown}"
    return f"{found['probabilities'][found['label']]:.4f}  {found['label']}  {shown}"


def _write(rows: Iterator[tuple[Labelled, Prediction]], spec: TaskSpec, out: Path) -> None:
    """One JSON row for each example into `out`, whole or not at all."""
    from seodang.files import atomic_file

    count = 0
    with atomic_file(out) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        for example, prediction in rows:
            stream.write(json.dumps(as_dict(example, prediction, spec), ensure_ascii=False) + "\n")
            count += 1
    say(f"{count:,} predictions in {out}")
