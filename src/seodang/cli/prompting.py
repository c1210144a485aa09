"""`seodang generate` with demonstrations, tasks and reasoning: the flags, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from seodang.cli.answering import Paths, SamplingOptions, Texts
from seodang.cli.frame import print_result, say
from seodang.errors import UsageError

if TYPE_CHECKING:
    from seodang.data.labelled import Labelled, TaskSpec
    from seodang.prompting.asking import Answer
    from seodang.prompting.demonstrations import Shots
    from seodang.prompting.several import Outcome, Parts

Way = Literal["together", "in-turn", "chained"]


@dataclass(kw_only=True)
class PromptOptions(SamplingOptions):
    """What stands around a prompt, and how an answer is read."""

    data: Paths = ()
    """Rows to answer: a prompt each (and its completion, to compare with), or with --task the columns of the task."""
    limit: int | None = None
    """Only the first rows of --data."""
    shots: Path | None = None
    """Rows to demonstrate with: prompt and completion, or the columns of the task."""
    k: Annotated[int | None, tyro.conf.arg(aliases=("-k",))] = None
    """Demonstrations in front of each prompt; 4, or as many as --shots has."""
    select: Literal["fixed", "random", "nearest"] = "fixed"
    """The first k rows, k random ones anew for each prompt, or the k nearest to it."""
    balanced: bool = False
    """Take the labels in turn."""
    overlap: Literal["refuse", "skip"] = "refuse"
    """A demonstration that is the row itself is an error, or is passed over."""
    embedder: str | None = None
    """Model whose vectors say what is nearest; the model itself."""
    task: str | None = None
    """A published task (sst2, nsmc, …), or classify, entail, similar, choice, regress for any table."""
    columns: Texts = ()
    """Columns of the table, such as text=review,label=stars."""
    template: Path | None = None
    """TOML file with question = "…", answers = ["…"], description = "…"."""
    score: Literal["sum", "token", "byte", "null", "generate"] | None = None
    """How a task's answers are weighed, or generate: what the model writes is searched for one. sum."""
    calibrate: bool = False
    """Divide the answers' probabilities by those after a text without content."""
    cot: bool = False
    """Reason first: as --shots does, or else step by step, and then the answer."""
    samples: int = 1
    """Sample so many texts for each prompt and take the answer that most of them end in."""
    extract: Literal["number", "letter", "line"] | None = None
    """The answer is the number, the letter, or the line at the end of the text."""
    tasks: Path | None = None
    """TOML file with several [[task]] about one text: name, question, answers."""
    way: Annotated[tuple[Way, ...], tyro.conf.UseAppendAction] = ()
    """Ask --tasks together, in-turn or chained; may be given several times. All three, in a table."""

    @property
    def prompting(self) -> bool:
        """Whether there is more to do than to continue a text."""
        one_of = (
            self.data, self.shots, self.task, self.template, self.cot, self.extract, self.tasks, self.k, self.score,
            self.calibrate, self.limit, self.columns,
        )  # fmt: skip
        return any(one_of) or self.samples != 1

    def take(self, pool: Sequence[Labelled]) -> Shots:
        """How demonstrations are taken from `pool`."""
        from seodang.prompting.demonstrations import Shots
        from seodang.prompting.prompt import DEFAULT_K

        k = min(DEFAULT_K, len(pool)) if self.k is None else self.k
        return Shots(pool, k, self.select, self.balanced, self.seed, self.overlap).check()


def answer(
    config: PromptOptions, prompts: Sequence[str], options: dict[str, Any], batch_size: int, as_json: bool
) -> int:
    """Answer `prompts` and the rows of --data, and print the answers; exit code 0."""
    if config.limit is not None and config.limit < 1:
        raise UsageError(f"limit = {config.limit}", "at least one row must be answered", "set --limit 1 or more")
    if config.tasks is not None:
        return _several(config, prompts, options, batch_size, as_json)
    from seodang.inference.language_model import load
    from seodang.prompting.prompt import Ask, ask, understood, worded_by
    from seodang.prompting.template import Template

    given = Template.read(config.template) if config.template else None
    pool, examples, task = _read(config, prompts)
    words = worded_by(given, task, None, [*examples, *pool], few_shot=bool(pool), reasoning=config.cot)
    examples, pool = (understood(some, words, task, reasoning=config.cot) for some in (examples, pool))
    choose = words.answers is not None or any(len(example.answers) > 1 for example in examples)
    if config.columns and task is None:
        why = "free prompts are read by the usual names of their columns"
        raise UsageError("--columns without --task", why, "add --task classify, entail, similar, choice or regress")
    free = not choose or config.cot or config.samples != 1
    how = Ask(
        words, config.take(pool), config.score or ("generate" if free else "sum"), config.calibrate,
        task is not None and task.regression, config.cot, config.samples, config.extract, batch_size, options,
    ).check()  # fmt: skip
    if not choose and how.score != "generate":
        why = "a free text has none to weigh"
        raise UsageError(f"--score {how.score} without answers", why, "add --task, or --template")
    if how.score != "generate" and config.constrained:
        why = "only what is written can be kept to a form"
        raise UsageError("--choice, --schema or --regex with answers that are weighed", why, "add --score generate")
    embed = load(config.embedder, device=config.device) if config.embedder and config.select == "nearest" else None
    answers, notes = ask(config.load(), examples, how, embed=embed)
    for note in notes:
        say(f"note: {note}")
    if config.cot and not as_json and len(answers) == 1:
        say("\n\n".join(answers[0].generated))
    scores = measured(answers, examples, task, config)
    result = {"template": words.to_dict(), "answers": [_as_dict(found) for found in answers], "scores": scores}
    print_result(result, as_json, [_line(found, len(answers) == 1) for found in answers])
    for line in _summary(scores):
        say(line)
    return 0


def _read(config: PromptOptions, prompts: Sequence[str]) -> tuple[list[Labelled], list[Labelled], TaskSpec | None]:
    """(demonstrations, examples to answer, the task)."""
    from seodang.data.labelled import Labelled
    from seodang.data.tasks import Columns
    from seodang.prompting.prompt import read_examples, spec_of

    columns = Columns.parse(config.columns)
    task: TaskSpec | str | None = config.task
    pool: list[Labelled] = []
    examples = [Labelled((text,), None, (), f"prompt {number}") for number, text in enumerate(prompts, start=1)]
    if config.shots:
        pool, task = read_examples(config.shots, task, None, columns=columns, answered=True, reasoning=config.cot)
    for path in config.data:
        rows, task = read_examples(path, task, None, columns=columns, answered=False, reasoning=config.cot)
        examples += rows
    examples = examples[: config.limit]
    _require(examples)
    return pool, examples, spec_of(task)


def _require(examples: Sequence[Labelled]) -> None:
    if not examples:
        why, fix = "neither --prompt nor --data names a text", 'add --prompt "…" or --data FILE'
        raise UsageError("nothing to answer", why, fix)


def _as_dict(found: Answer) -> dict[str, Any]:
    shape = asdict(found)
    return {name: value for name, value in shape.items() if value not in (None, (), [], "") or name == "text"}


def _line(found: Answer, single: bool) -> str:
    words = "(no answer)" if found.text is None else found.text
    if found.probabilities and found.label is not None:
        words += f"\t{found.probabilities[found.label]:.3f}"
    if found.score is not None:
        words = f"{found.score:.3f}"
    if found.agreement is not None:
        words += f"\tagreement {found.agreement:.2f}"
    return words if single else f"{found.where}\t{words}"


def measured(
    answers: Sequence[Answer], examples: Sequence[Labelled], task: TaskSpec | None, config: PromptOptions
) -> dict[str, Any]:
    """The task's metrics over the rows whose answer is known, each with its 95 % interval and the majority's."""
    from seodang.evaluation.intervals import interval, majority_baseline
    from seodang.evaluation.metrics import find
    from seodang.prompting.reasoning import extracted

    known = [pair for pair in zip(answers, examples, strict=True) if pair[1].label is not None]
    metrics = task.metrics if task else ("accuracy",)
    references: list[Any] = [example.label for _, example in known]
    predictions: list[Any] = [found.label for found, _ in known]
    if task is not None and task.regression:
        predictions = [_score_of(found) for found, _ in known]
    elif task is None and known and all(not found.answers for found, _ in known):
        ends_in = config.extract or ("number" if config.cot else None)
        references = [extracted(e.answers[0], ends_in) if ends_in else e.answers[0] for _, e in known]
        predictions = [found.text for found, _ in known]
        metrics = ("accuracy",) if ends_in else ("exact_match",)
    scores: dict[str, Any] = {}
    n = 0
    for name in metrics:
        metric, said, right = find(name), predictions, references
        if metric.kind == "probabilities":
            said = [found.probabilities or _certain(found) for found, _ in known]
        whole = [place for place, one in enumerate(right) if one is not None
                 and (metric.kind != "score" or said[place] is not None)]  # fmt: skip
        if len(whole) < len(known):
            say(f"note: {len(known) - len(whole)} of {len(known)} rows have no {config.extract or 'number'} to compare")
            said, right = [said[place] for place in whole], [right[place] for place in whole]
        if not right:
            continue
        n = len(right)
        low, high = interval(name, said, right)
        value, majority = metric.function(said, right), majority_baseline(name, right)
        scores[name] = {"value": value, "low": low, "high": high, "majority": majority}
    return {"n": n, **scores} if scores else {}


def _score_of(found: Answer) -> float | None:
    """The number that was answered: the expected one, or the one that was written."""
    if found.score is not None or found.text is None:
        return found.score
    try:
        return float(found.text)
    except ValueError:
        return None


def _certain(found: Answer) -> list[float]:
    return [float(place == found.label) for place in range(len(found.answers))]


def _summary(scores: dict[str, Any]) -> list[str]:
    lines = []
    for name, one in scores.items():
        if name != "n":
            line = f"{name} {one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}] of {scores['n']:,} rows"
            known = one["majority"] is not None
            lines.append(line + (f"; always the same answer: {one['majority']:.3f}" if known else ""))
    return lines


# ---- several tasks -----------------------------------------------------------------------------------------------


def _several(
    config: PromptOptions, prompts: Sequence[str], options: dict[str, Any], batch_size: int, as_json: bool
) -> int:
    from typing import get_args

    from seodang.data.labelled import Labelled
    from seodang.inference.language_model import load
    from seodang.prompting.asking import embedder
    from seodang.prompting.several import Parts, answer_several, known_answers, read_cases

    idle = ("task", "template", "columns", "score", "calibrate", "cot", "extract")
    unread = [name for name in idle if getattr(config, name)] + (["samples"] if config.samples != 1 else [])
    if unread:
        named = ", ".join(f"--{name}" for name in unread)
        raise UsageError(f"{named} with --tasks", "the tasks have their own words and answers", "leave it away")
    parts = Parts.read(config.tasks or "")
    nothing = json.dumps({part.name: None for part in parts.parts})
    cases = [Labelled((text,), 0, (nothing,), f"prompt {number}") for number, text in enumerate(prompts, start=1)]
    if config.data:
        cases += read_cases(config.data, parts, answered=False)
    cases = cases[: config.limit]
    _require(cases)
    shots = config.take(read_cases(config.shots, parts, answered=True) if config.shots else [])
    lm = config.load()
    near = embedder(load(config.embedder, device=config.device) if config.embedder else lm)
    options = {name: value for name, value in options.items() if value is not None and name != "stop"}
    outcomes = [
        answer_several(lm, parts, cases, way, shots, embed=near, batch_size=batch_size,
                       max_new_tokens=options.get("max_new_tokens", 32),
                       **{name: value for name, value in options.items() if name != "max_new_tokens"})
        for way in config.way or get_args(Way)
    ]  # fmt: skip
    known = [known_answers(case) for case in cases]
    for note in dict.fromkeys(note for outcome in outcomes for note in outcome.notes):
        say(f"note: {note}")
    result = [{**asdict(outcome), "accuracy": outcome.accuracy(parts, known)} for outcome in outcomes]
    print_result(result, as_json, table(parts, outcomes, known))
    return 0


def table(parts: Parts, outcomes: Sequence[Outcome], known: Sequence[dict[str, str | None]]) -> list[str]:
    """The ways beside one another: accuracy of each task and of all at once, calls, tokens, seconds."""
    names = [*(part.name for part in parts.parts), "all"]
    rows = [["way", *names, "calls", "prompt tokens", "new tokens", "seconds"], ["---"] * (len(names) + 5)]
    for outcome in outcomes:
        found = outcome.accuracy(parts, known)
        shares = [f"{found[name]:.3f}" if name in found else "-" for name in names]
        costs = [f"{n:,}" for n in (outcome.calls, outcome.prompt_tokens, outcome.new_tokens)]
        rows.append([outcome.way, *shares, *costs, f"{outcome.seconds:.1f}"])
    first = [f"{one.way}: {json.dumps(one.answers[0], ensure_ascii=False)}" for one in outcomes if len(known) == 1]
    return [*first, *(" | ".join(row) for row in rows)]
