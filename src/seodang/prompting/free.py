"""Rows of a prompt and its completion, as examples: the same demonstrations, templates and checks serve them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from seodang.data.labelled import Labelled
from seodang.data.readers import TEXT_KEYS, Row, read_rows
from seodang.data.text_pairs import KEYS
from seodang.errors import DataError
from seodang.prompting.reasoning import language_of, worded
from seodang.prompting.template import Template

_ALPACA = ("instruction", ("output", "response"))
_PROMPTS = ("prompt", "question", "instruction", "input", "query", "source", "질문", *TEXT_KEYS)


def read_free(files: Iterable[Path | str] | Path | str, *, answered: bool, reasoning: bool = False) -> list[Labelled]:
    """The rows of files: prompt and completion (and the names of `text_pairs.KEYS`), instruction, input and output,
    or, unless all must be `answered`, a prompt alone.

    reasoning: solutions in GSM8K's form become prose (`reasoning.worded`). Raises DataError (file:row).
    """
    return [_example(row, answered, reasoning) for row in read_rows(files)]


def example_of(prompt: str, completion: str | None = None, where: str = "") -> Labelled:
    """A prompt, and the completion that is right for it."""
    return Labelled((prompt,), None if completion is None else 0, () if completion is None else (completion,), where)


def free_template(examples: Iterable[Labelled], *, reasoning: bool = False) -> Template:
    """The words around free prompts with demonstrations, in their language; for reasoning, a question and its answer
    (Wei et al. 2022, fig. 1; Kojima et al. 2022, fig. 1)."""
    korean = any(language_of(example.texts[0]) == "ko" for example in examples)
    if reasoning:
        return Template("문제: {text}\n풀이:" if korean else "Q: {text}\nA:")
    return Template("입력: {text}\n출력:" if korean else "Input: {text}\nOutput:")


def _example(row: Row, answered: bool, reasoning: bool) -> Labelled:
    names = {key.casefold(): value for key, value in row.values.items() if isinstance(value, str) and value.strip()}
    prompt, completion = _alpaca(names) or _pair(names) or (None, None)
    if prompt is None and not answered:
        prompt = next((names[name] for name in _PROMPTS if name in names), None)
    if prompt is None:
        raise DataError(
            f"{row.where} is not a prompt" + (" with its completion" if answered else ""),
            f"its keys with text are {', '.join(names) or 'none'}",
            'write rows such as {"prompt": "…", "completion": "…"}; for labelled examples add --task',
        )
    if completion is not None and reasoning:
        completion = worded(completion, language_of(completion))
    return example_of(prompt, completion, row.where)


def _alpaca(names: dict[str, str]) -> tuple[str, str] | None:
    answer = next((names[name] for name in _ALPACA[1] if name in names), None)
    if _ALPACA[0] not in names or answer is None:
        return None
    return "\n".join(filter(None, (names[_ALPACA[0]], names.get("input")))), answer


def _pair(names: dict[str, str]) -> tuple[str, str] | None:
    return next(((names[a], names[b]) for a, b in KEYS if a in names and b in names), None)
