"""The same prompts through several models: what each writes, and how probable each finds every text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seodang.data.readers import read_rows
from seodang.data.sources import decode_text, expand, kind_of, open_binary
from seodang.errors import DataError, UsageError
from seodang.evaluation.compare import Comparison, compare_results
from seodang.evaluation.results import Outcome, Results, Sample, TaskResult, fingerprint, summarize
from seodang.inference.requests import continuations, rolling

if TYPE_CHECKING:
    from seodang.inference.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to continue, and answers whose probability is asked for."""

    text: str
    answers: tuple[str, ...] = ()
    where: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A text behind a prompt, and its log P given the prompt by each of M models (None: there is nothing to score)."""

    by: str
    """The model that wrote it, or "" for a given answer."""
    text: str
    logprobs: tuple[float | None, ...]


@dataclass(frozen=True)
class SideBySide:
    """Of M models on N prompts."""

    models: list[str]
    prompts: list[Prompt]
    written: list[list[Written]]
    """Of each prompt: a text of each model, then the answers."""
    comparison: Comparison | None
    """Bits per byte of the answers and of the prompts themselves; None where the models are not both decoders and there
    are no answers."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def read_prompts(paths: Iterable[Path | str]) -> list[Prompt]:
    """Prompts of text files, one a line, and of tables with the column "prompt" and perhaps "answer" or "answers".

    Raises DataError where there is none.
    """
    found: list[Prompt] = []
    for path in expand(paths):
        if kind_of(path) == "text":
            with open_binary(path) as stream:
                lines = "".join(decode_text(stream, path)).splitlines()
            found += [Prompt(line, (), f"{path}:{row}") for row, line in enumerate(lines, 1) if line.strip()]
            continue
        for row in read_rows([path]):
            text, answers = row.values.get("prompt"), row.values.get("answers", row.values.get("answer", ()))
            if not isinstance(text, str) or not text.strip():
                why = f"its columns are {', '.join(row.values)}"
                raise DataError(f"{row.where} has no prompt", why, 'name the column "prompt"')
            answers = answers if isinstance(answers, list | tuple) else (answers,)
            found.append(Prompt(text, tuple(str(one) for one in answers if one not in (None, "")), row.where))
    if not found:
        raise DataError("there are no prompts", "the files hold none", "write one on each line")
    return found


def side_by_side(
    names: Sequence[str],
    open_model: Callable[[str], LanguageModel],
    prompts: Sequence[Prompt],
    options: Mapping[str, Any] | None = None,
) -> SideBySide:
    """Every model continues every prompt (`options` of `generate`) and scores every text, its own and the others'.

    One model is in memory at a time; each is opened twice. Raises UsageError for fewer than two models.
    """
    if len(names) < 2:
        raise UsageError(f"a comparison of {len(names)}", "there must be something to compare", "give two or more")
    texts: list[list[str]] = [[] for _ in prompts]
    for name in names:
        generations = open_model(name).generate([prompt.text for prompt in prompts], **(options or {}))
        for row, generation in zip(texts, generations, strict=True):
            row.append(generation.text)
    for row, prompt in zip(texts, prompts, strict=True):
        row += prompt.answers
    logprobs, results = [], []
    for name in names:
        model = open_model(name)
        logprobs.append(_score_all(model, prompts, texts))
        results.append(_as_results(name, model, prompts, logprobs[-1], len(names)))
    writers = [*names, *([""] * max((len(prompt.answers) for prompt in prompts), default=0))]
    written = [
        [
            Written(writers[place], text, tuple(scores[number][place] for scores in logprobs))
            for place, text in enumerate(row)
        ]
        for number, row in enumerate(texts)
    ]
    common = set.intersection(*(set(entry.tasks) for entry in results))
    return SideBySide(list(names), list(prompts), written, compare_results(results) if common else None)


def _score_all(
    model: LanguageModel, prompts: Sequence[Prompt], texts: Sequence[Sequence[str]]
) -> list[list[float | None]]:
    """log P of every text given its prompt; None for texts of white space."""
    pairs = [(prompt.text, text) for prompt, row in zip(prompts, texts, strict=True) for text in row]
    some = [pair for pair in pairs if pair[1].strip()]
    found = iter(continuations(model, [_apart(model, *pair) for pair in some]))
    values = iter([next(found).logprob if text.strip() else None for _, text in pairs])
    return [[next(values) for _ in row] for row in texts]


def _apart(model: LanguageModel, prompt: str, text: str) -> tuple[Any, Any]:
    """The pair; as ids where its texts melt into one token at the seam, so that nothing would be left to score."""
    encode = model.tokenizer.encode
    if len(encode(prompt + text)) > len(encode(prompt)):
        return prompt, text
    return model.prompt_ids(prompt), encode(text)


def _as_results(
    name: str, model: LanguageModel, prompts: Sequence[Prompt], logprobs: list[list[float | None]], n_models: int
) -> Results:
    """Bits per byte of the answers, where there are any, and of the prompts, where the model gives those a log P."""
    answers = [
        (prompt, answer, scores[n_models + place])
        for prompt, scores in zip(prompts, logprobs, strict=True)
        for place, answer in enumerate(prompt.answers)
    ]
    tasks = {}
    if answers:
        tasks["answers"] = _task("answers", [(prompt, text, value or 0.0) for prompt, text, value in answers])
    if model.model.kind == "causal":
        found = rolling(model, [prompt.text for prompt in prompts])
        rows = [(prompt, prompt.text, entry.logprob) for prompt, entry in zip(prompts, found, strict=True)]
        tasks["prompts"] = _task("prompts", rows)
    return Results(name, model.tokenizer.fingerprint(), tasks)


def _task(name: str, rows: Sequence[tuple[Prompt, str, float]]) -> TaskResult:
    samples = [
        Sample(
            row,
            prompt.where,
            fingerprint(prompt.text, text),
            {"bits_per_byte": Outcome(value, len(text.encode("utf-8")))},
            (value,),
        )
        for row, (prompt, text, value) in enumerate(rows)
    ]
    return summarize(name, 1, samples, ["bits_per_byte"], settings={}, rows=fingerprint(*(text for _, text, _ in rows)))
