"""`seodang compare`: the same rows through several models, side by side, with a paired test of the difference."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from seodang.cli.answering import Paths, Texts, demonstrations
from seodang.cli.frame import parse, print_result, say
from seodang.errors import UsageError

if TYPE_CHECKING:
    from seodang.evaluation.compare import Comparison
    from seodang.evaluation.results import Results
    from seodang.evaluation.side_by_side import SideBySide, Written
    from seodang.inference.language_model import LanguageModel


@dataclass(kw_only=True)
class CompareConfig:
    """Several models on the same rows or prompts, side by side, with a paired test of each against the first.

    Results of unlike settings, prompts or rows are refused, and each difference is named.
    """

    what: tyro.conf.Positional[tuple[str, ...]]
    """Models or checkpoints; or results that `seodang evaluate` wrote: FILE.json, or a folder with many of them."""
    average: Literal["glue", "gpt1", "klue", "kobest"] | None = None
    """Of results: the benchmark's average over its tasks, too; of one alone if you like."""
    allow: Texts = ()
    """Setting that may differ, because it is what you compare: shots, template, prompts …; settings: all of them."""
    task: str | None = None
    """Evaluate each model on this task first: a name, or a FILE.py, as `seodang evaluate` takes it."""
    data: Paths = ()
    """File, folder or pattern of the task's rows; may be given several times."""
    columns: tuple[str, ...] = ()
    """Columns of your own rows that are not found by their names: text=review, answers=a+b+c."""
    limit: int | None = None
    """Only the task's first rows."""
    shots: Paths = ()
    """File of demonstrations, in the task's own layout; none of them may be a row that is asked."""
    k: Annotated[int | None, tyro.conf.arg(aliases=["-k"])] = None
    """Demonstrations before every question; 4 where --shots has them."""
    select: Literal["fixed", "random"] = "fixed"
    """The first k of --shots, or k at random for each row."""
    prompted: bool = False
    """Ask fine-tuned models in words, where their class head would answer."""
    out: Path | None = None
    """Folder for each model's results, which can be compared again without the models."""
    prompt: Texts = ()
    """Text that each model continues; may be given several times."""
    prompts: Paths = ()
    """File of prompts, one a line, or a table with the columns prompt and perhaps answer."""
    answer: Texts = ()
    """Text behind every --prompt whose probability is shown; may be given several times."""
    max_new_tokens: int = 64
    """Length of what is generated."""
    temperature: float = 0.0
    """0 takes the most probable token; higher is more random."""
    seed: int = 0
    """Seed of the random choices."""
    batch_size: int = 16
    """Prompts that go through a model together. Never changes a result."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the weights and of the computation; auto is float32."""
    json: bool = False
    """Print everything as JSON."""


def main(argv: list[str]) -> int:
    """Exit code 0; errors are raised."""
    config = parse(CompareConfig, argv, "seodang compare")
    if config.average and (config.task or config.prompt or config.prompts):
        raise UsageError("--average with a task or a prompt", "it is over results", "evaluate with --out first")
    if len(config.what) < (1 if config.average else 2):
        raise UsageError("nothing to compare with", "one alone has no difference", "name two or more")
    twice = next((name for name in config.what if config.what.count(name) > 1), None)
    if twice:
        raise UsageError(f"{twice} is named twice", "nothing differs from itself", "name each once")
    if config.batch_size < 1:
        raise UsageError(f"batch_size = {config.batch_size}", "it must be 1 or more", "set --batch-size 1 or more")
    if config.prompt or config.prompts:
        return _prompts(config)
    from seodang.evaluation.compare import compare_results

    results = _evaluated(config) if config.task else _loaded(config.what)
    document, lines = _averaged(config, results) if config.average else ({}, [])
    if len(results) > 1:
        found = compare_results(results, config.what, config.allow)
        _say(found.notes)
        document, lines = {**found.to_dict(), **document}, comparison_lines(found) + lines
    print_result(document, config.json, lines)
    return 0


def _loaded(what: Sequence[str]) -> list[Results]:
    from seodang.evaluation.results import gather_results, load_results

    for name in what:
        if name.endswith(".json") or Path(name).is_dir():
            continue
        if "/" in name and not Path(name).exists():
            raise UsageError(f"{name} does not exist", "it would be a model or results", "check the path")
        raise UsageError(
            f"{name} holds no results, and there is neither a task nor a prompt",
            "results are compared as they are; models need something to do",
            'add --task NAME --data FILE, or --prompt "…", or give results that seodang evaluate wrote',
        )
    return [load_results(name) if name.endswith(".json") else gather_results(name) for name in what]


def _averaged(config: CompareConfig, results: Sequence[Results]) -> tuple[dict[str, Any], list[str]]:
    """The average of each, as JSON has it and for people."""
    from seodang.evaluation.averages import averages

    assert config.average is not None
    scores = [{name: {key: one.value for key, one in task.measurements.items()} for name, task in entry.tasks.items()}
              for entry in results]  # fmt: skip
    found = averages(config.average, scores)
    names = short_names(config.what)
    lines = [f"{names[name]}: {one}" for name, one in zip(config.what, found, strict=True)]
    return {"average": [{"model": name, **asdict(one)} for name, one in zip(config.what, found, strict=True)]}, lines


def _evaluated(config: CompareConfig) -> list[Results]:
    """Each model's results on the task; one model is in memory at a time."""
    if not config.data:
        raise UsageError("no rows to compare on", "the task's files are yours to name", "add --data FILE")
    from seodang.data.tasks import Columns
    from seodang.evaluation.harness import evaluate, results
    from seodang.evaluation.results import save_results
    from seodang.evaluation.task import Shown

    k = demonstrations(config.k, config.shots)
    shots = Shown(config.shots, k, config.select, seed=config.seed) if k else None
    columns = Columns.parse(config.columns)
    found = []
    for name, short in short_names(config.what).items():
        model, start = _open(config, name), time.perf_counter()
        one = evaluate(
            model, config.task or "", config.data, columns=columns, limit=config.limit, shots=shots,
            prompted=config.prompted, batch_size=config.batch_size,
        )  # fmt: skip
        found.append(results(name, model, [one], time.perf_counter() - start))
        _say(f"{short}: {note}" for note in one.notes)
        if config.out is not None:
            path = config.out / f"{short.replace('/', '-')}-{one.task}.json"
            save_results(found[-1], path)
            say(f"written: {path}")
    return found


def _open(config: CompareConfig, name: str) -> LanguageModel:
    from seodang.inference.language_model import load

    return load(name, device=config.device, dtype=config.dtype)


def _prompts(config: CompareConfig) -> int:
    if config.answer and not config.prompt:
        raise UsageError("--answer without --prompt", "it stands behind a prompt", "put it into the file of --prompts")
    from seodang.evaluation.side_by_side import Prompt, read_prompts, side_by_side

    prompts = [Prompt(text, config.answer, f"--prompt {row}") for row, text in enumerate(config.prompt, 1)]
    prompts += read_prompts(config.prompts) if config.prompts else []
    options = {
        "max_new_tokens": config.max_new_tokens,
        "temperature": config.temperature,
        "seed": config.seed,
        "batch_size": config.batch_size,
    }
    found = side_by_side(config.what, lambda name: _open(config, name), prompts, options)
    _say(found.comparison.notes if found.comparison else [])
    print_result(found.to_dict(), config.json, side_by_side_lines(found))
    return 0


def _say(notes: Iterable[str]) -> None:
    for note in notes:
        say(f"note: {note}")


def short_names(names: Sequence[str]) -> dict[str, str]:
    """As much of each path, from its end, as tells it from the others."""
    for depth in range(1, max(len(Path(name).parts) for name in names) + 1):
        short = {name: "/".join(Path(name).parts[-depth:]) for name in names}
        if len(set(short.values())) == len(short):
            return short
    return {name: name for name in names}


def side_by_side_lines(found: SideBySide) -> list[str]:
    """Each prompt with what stands behind it, then the numbers of them all."""
    names = {**short_names(found.models), "": "(given)"}
    width = max(map(len, names.values()))
    lines = []
    for prompt, row in zip(found.prompts, found.written, strict=True):
        lines.append(f"## {prompt.text}")
        for entry in row:
            first, *rest = entry.text.split("\n")
            lines += [f"{names[entry.by]:<{width}}  {first}", *(f"{'':<{width}}  {line}" for line in rest)]
            lines.append(f"{'':<{width}}  [{_logprobs([names[name] for name in found.models], entry)}]")
        lines.append("")
    return lines + (comparison_lines(found.comparison) if found.comparison else [])


def _logprobs(models: Sequence[str], entry: Written) -> str:
    """log P of a text by each model, whole and per byte, which does not depend on the tokenizer."""
    n_bytes = len(entry.text.encode("utf-8"))
    parts = [
        f"{name} {logprob:.2f} ({logprob / n_bytes:.3f})"
        for name, logprob in zip(models, entry.logprobs, strict=True)
        if logprob is not None
    ]
    return "log P (per byte): " + ", ".join(parts) if parts else "nothing was written"


def comparison_lines(found: Comparison) -> list[str]:
    """A block for each measurement: a line for each model, with its difference from the first."""
    several = sum(len(row.differences) for row in found.rows) > 1
    names = short_names(found.models)
    width = max(map(len, (*names.values(), "majority")))
    lines = []
    for row in found.rows:
        lines.append(f"{row.task}: {row.measurement} of {row.values[0].n:,} rows")
        for place, name in enumerate(found.models):
            value = row.values[place]
            shown = f"  {names[name]:<{width}}  {value.value:8.4f}  [{value.low:.4f}, {value.high:.4f}]"
            if place:
                difference = row.differences[place - 1]
                shown += f"  {difference.difference:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
                shown += f"  p {difference.p:.4f}" + (f" ({row.corrected[place - 1]:.4f})" if several else "")
                shown += f"  {difference.test}"
                if difference.better or difference.worse:
                    shown += f", {difference.better} rows better, {difference.worse} worse"
            lines.append(shown)
        if row.values[0].baseline is not None:
            lines.append(f"  {'majority':<{width}}  {row.values[0].baseline:8.4f}")
    lines.append(f"differences are from {names[found.models[0]]}, with 95 % intervals")
    if several:
        lines.append("p in brackets: corrected for all tests shown (Holm)")
    return lines
