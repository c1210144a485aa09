"""Fine-tuning on labelled examples (GPT-1, sec. 3.2 and 3.3; BERT, sec. 4): a task's files → a model that does it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from seodang.checkpoints.resolve import Loaded, load_model, resolve
from seodang.data.batch import Batch
from seodang.data.labelled import Labelled, TaskData, TaskSpec, class_weights
from seodang.data.labelled_rows import LabelledLoader, LabelledRows, labelled_batches
from seodang.data.loader import permutation
from seodang.data.sources import expand
from seodang.data.task_settings import TaskSettings, encode_task
from seodang.data.tasks import Columns, read_task
from seodang.errors import UsageError
from seodang.evaluation.classified import ClassCount, class_counts, results_of
from seodang.evaluation.results import TaskResult, save_results
from seodang.inference.classify import classify
from seodang.inference.language_model import LanguageModel
from seodang.models.base import Model
from seodang.objectives.classify import Classification
from seodang.recipes.config import FinetuneConfig
from seodang.recipes.defaults import FineTuning, fine_tuning
from seodang.recipes.plan import (
    Machine,
    free_bytes,
    frozen_names,
    make_plan,
    needed_bytes,
    rows_per_forward,
    say,
    sequence_length,
    with_options,
)
from seodang.recipes.run import Prepared, RunResult, check_options, load_start, open_run, run
from seodang.recipes.task_model import model_for_task
from seodang.recipes.transplant import keep_layers
from seodang.training.step import autocast

EVALUATION = "evaluation.json"
"""The task's metrics of the finished model, as `seodang compare` reads them."""
GLANCE = 512
"""Evaluation examples that are looked at while training; all of them at its end."""


def finetune(config: FinetuneConfig) -> RunResult:
    """Train a model for a task and publish it in `config.out`, with its scores in evaluation.json.

    What it was before it is still: a decoder goes on with texts, an encoder fills masks in. Raises UsageError and
    DataError (file:row) for what the user can mend, FitError (4), DivergedError (5).
    """
    _check(config)
    machine = Machine.choose(config)
    checkpoint = open_run(config, machine.ranks)
    resolve(checkpoint or config.model)
    expand((*config.data, *config.eval))  # what is missing is said before anything is made
    data = _read(config)
    if shared := data.shared:
        n = len(data.held_out)
        say(f"note: {shared:,} of {n:,} held-out examples are also learned from: the score says little of others")
    scratch = config.from_scratch and checkpoint is None
    changes = {"from_scratch": True, "seed": config.seed} if scratch else {}
    loaded = load_start(config, checkpoint, deferred=machine.ranks.shards, **changes)
    if config.transfer_layers is not None and checkpoint is None:
        loaded = keep_layers(loaded, config.transfer_layers, config.seed)
    defaults = _defaults(config, fine_tuning(loaded.model.config))
    length, known = sequence_length(config, loaded.model.config), loaded.model.config.vocab_size
    loaded = model_for_task(
        loaded, data.spec, max_length=length, head_dropout=defaults.head_dropout, seed=config.seed
    )
    if loaded.model.config.vocab_size > known and "embed.weight" in frozen_names(config, loaded.model.config):
        say(f"note: --freeze {config.freeze}: the task's new tokens stay alike, and only their places tell them apart")
    data, asked = _asked(config, loaded, data)
    prepared = _prepare(config, loaded, data, asked, defaults, machine)
    result = run(config, prepared, machine, checkpoint)
    if not result.dry_run and not result.summary.interrupted and machine.ranks.speaks and data.held_out:
        _score(result, config, prepared, data, machine)
    return result


def _check(config: FinetuneConfig) -> None:
    """Refuse options that cannot be meant."""
    check_options(config)
    if config.compile == "on":
        say("note: --compile on has no effect: every step has texts of other lengths, for which it would compile anew")
    if config.batch_tokens is not None:
        raise UsageError(
            f"--batch-tokens {config.batch_tokens}", "a step of fine-tuning counts examples", "use --batch-rows"
        )
    if config.batch_rows is not None and config.batch_rows < 1:
        raise UsageError(f"--batch-rows {config.batch_rows}", "it must be above 0", "use --batch-rows 32")
    if config.aux_weight is not None and not 0 <= config.aux_weight < float("inf"):
        raise UsageError(f"--aux-weight {config.aux_weight}", "it cannot be negative", "use 0.5, or 0 for none")
    if config.from_scratch and config.transfer_layers is not None:
        raise UsageError("--from-scratch with --transfer-layers", "the one keeps nothing, the other a part", "give one")
    if config.head_dropout is not None and not 0 <= config.head_dropout < 1:
        raise UsageError(f"--head-dropout {config.head_dropout}", "it is a probability below 1", "choose 0 to 0.5")


@dataclass(frozen=True)
class _Data:
    """Examples to learn from and to be asked, and what is said of them."""

    spec: TaskSpec
    train: list[Labelled]
    held_out: list[Labelled]
    notes: list[str]
    counts: dict[str, int]
    cut: tuple[str, ...] = ()
    """What was cut or left out of the examples to be asked."""

    @cached_property
    def shared(self) -> int:
        """Examples to be asked that are also learned from."""
        learned = {(example.texts, example.answers) for example in self.train}
        return sum((example.texts, example.answers) in learned for example in self.held_out)


def _read(config: FinetuneConfig) -> _Data:
    """The task's files; without --eval a part of the data is held out."""
    columns = Columns.parse(config.columns)
    train = read_task(config.task, config.data, columns=columns, labelled=True)
    if config.eval:
        asked = read_task(config.task, config.eval, columns=columns, labels=train.spec.labels, labelled=True)
        notes = [*train.notes, *(f"--eval: {note}" for note in asked.notes)]
        return _Data(train.spec, train.examples, asked.examples, notes, train.label_counts())
    examples = train.examples
    order = permutation(len(examples), config.seed)
    n_held = round(config.eval_fraction * len(examples)) if len(examples) > 1 else 0
    held = sorted(int(i) for i in order[:n_held])
    kept = [examples[int(i)] for i in sorted(order[n_held:])]
    counts = TaskData(train.spec, kept).label_counts()
    return _Data(train.spec, kept, [examples[i] for i in held], train.notes, counts)


def _defaults(config: FinetuneConfig, found: FineTuning) -> FineTuning:
    """The papers' settings, and the user's where there are any."""
    hyper = with_options(found.hyper, config)
    names = {"rows": config.batch_rows, "aux_weight": config.aux_weight, "head_dropout": config.head_dropout}
    given: dict[str, Any] = {name: value for name, value in names.items() if value is not None}
    return replace(found, hyper=hyper, **given)


def _encode(config: FinetuneConfig, loaded: Loaded, examples: Sequence[Labelled]) -> LabelledRows:
    """Rows of the model's task. Raises what `encode_examples` does."""
    assert loaded.tokenizer is not None and loaded.task is not None
    known = loaded.model.config
    return encode_task(
        examples, TaskSettings.from_dict(loaded.task), loaded.tokenizer, known.context_length,
        n_segments=known.n_segments, too_long=config.too_long, max_lost=config.max_lost,
    )  # fmt: skip


def _asked(config: FinetuneConfig, loaded: Loaded, data: _Data) -> tuple[_Data, LabelledRows | None]:
    """The data with the held-out examples that can be asked, and their rows. All are encoded before the first step, and
    as the user has it for those to learn from: after the last it is too late to refuse one."""
    if not data.held_out:
        return data, None
    rows = _encode(config, loaded, data.held_out)
    return replace(data, held_out=[data.held_out[number] for number in rows.kept], cut=tuple(rows.notes)), rows


def _prepare(
    config: FinetuneConfig,
    loaded: Loaded,
    data: _Data,
    asked: LabelledRows | None,
    defaults: FineTuning,
    machine: Machine,
) -> Prepared:
    """Rows, objective and plan. Raises UsageError for an auxiliary loss of a model that predicts no next token."""
    model, spec = loaded.model, data.spec
    if defaults.aux_weight and (model.kind != "causal" or not model.predicts_tokens):
        raise UsageError(
            f"--aux-weight {defaults.aux_weight:g} for {config.model}, a {model.config.family} model",
            "it does not predict the next token of a text" if model.kind != "causal" else "its output matrix is absent",
            "--aux-weight 0",
        )
    rows = _encode(config, loaded, data.train)
    micro_rows = _rows_per_forward(config, rows, defaults.rows, model, machine)
    loader = LabelledLoader(
        rows,
        rows_per_step=defaults.rows,
        micro_batch_size=micro_rows,
        seed=config.seed,
        rank=machine.ranks.data_rank,
        world_size=machine.ranks.data_size,
    )
    plan = make_plan(config, defaults.hyper, loader.steps_per_epoch, {"epochs": defaults.epochs})
    weights = _class_weights(config, data)
    return Prepared(
        verb="finetune",
        loaded=loaded,
        objective=Classification(
            spec.kind, regression=spec.regression, aux_weight=defaults.aux_weight, class_weights=weights
        ),
        loader=loader,
        plan=replace(plan, skip_spikes=False),  # no step is to miss its hardest example
        hyper=defaults.hyper,
        micro_rows=micro_rows,
        evaluation=_glance(asked, micro_rows),
        prompts=_prompts(config, loaded),
        data=[str(path) for path in config.data],
        data_fingerprint=loader.fingerprint,
        facts={
            "task": spec.name, "kind": spec.kind, "labels": list(spec.labels), "train_rows": len(data.train),
            "held_out_rows": len(data.held_out), "label_counts": data.counts, "aux_weight": defaults.aux_weight,
            "head_dropout": model.config.head_dropout, "class_weights": weights, "batch_rows": defaults.rows,
        },
        lines=_lines(data, rows, defaults, weights),
    )  # fmt: skip


def _glance(asked: LabelledRows | None, micro_rows: int) -> list[Batch]:
    """Batches of held-out rows to be looked at while training, from all parts of the data."""
    if asked is None:
        return []
    some = asked.rows[:: max(1, len(asked) // GLANCE)][:GLANCE]
    rows = LabelledRows(some, asked.spec, pad_id=asked.pad_id)
    return [batch for _, batch in labelled_batches(rows, micro_rows)]


def _rows_per_forward(
    config: FinetuneConfig, rows: LabelledRows, per_step: int, model: Model, machine: Machine
) -> int:
    """Micro-batch in examples: by how long they are on average, and fewer where the longest would not fit."""
    mean = max(1, round(rows.n_tokens / len(rows)))
    chosen = rows_per_forward(config, model.config, min(mean, rows.length), per_step, machine)
    while not config.micro_batch and chosen > 1:
        if needed_bytes(config, model.config, chosen * rows.sequences, rows.length, machine) <= free_bytes(machine):
            break
        chosen //= 2
    return chosen


def _class_weights(config: FinetuneConfig, data: _Data) -> list[float] | None:
    if config.class_weights == "none":
        return None
    if not data.spec.labels:
        say("note: --class-weights has no effect: the task has no classes")
        return None
    return class_weights([example.label for example in data.train], len(data.spec.labels))


def _prompts(config: FinetuneConfig, loaded: Loaded) -> dict[str, list[int]]:
    """The --sample prompts as ids."""
    if config.sample and (loaded.model.kind != "causal" or not loaded.model.predicts_tokens):
        say(f"note: --sample has no effect: a {loaded.model.config.family} model does not continue texts")
        return {}
    assert loaded.tokenizer is not None
    return {prompt: ids for prompt in config.sample if (ids := loaded.tokenizer.encode(prompt))}


def _lines(data: _Data, rows: LabelledRows, defaults: FineTuning, weights: list[float] | None) -> list[str]:
    """What is said of the data before the first step."""
    spec = data.spec
    counts = [f"{name} {count:,}" for name, count in data.counts.items()]
    if weights is not None:
        pairs = zip(counts, weights, strict=False)
        counts = [f"{count} (weighs {weight:.2f})" for count, weight in pairs]
    shown = ", ".join(counts[:8]) + (f" and {len(counts) - 8} more" if len(counts) > 8 else "")
    asked = {"classify": "a text", "entail": "two texts", "similar": "two texts in any order", "choice": "answers"}
    what = "the right one of several" if spec.kind == "choice" else "a score of" if spec.regression else "the class of"
    auxiliary = f", auxiliary loss times {defaults.aux_weight:g}" if defaults.aux_weight else ""
    return [
        f"task       {spec.name}: {what} {asked[spec.kind]}{auxiliary}",
        f"data       {len(data.train):,} examples" + (f": {shown}" if shown else ""),
        *(f"data       {note}" for note in (*data.notes, *rows.notes)),
        f"held out   {len(data.held_out):,} examples",
        *(f"held out   {note}" for note in data.cut),
        f"settings   {defaults.rows} examples a step; {defaults.hyper.source}",
    ]


def _score(result: RunResult, config: FinetuneConfig, prepared: Prepared, data: _Data, machine: Machine) -> None:
    """Ask the finished model all held-out examples; write evaluation.json, and say what came out."""
    loaded, started = prepared.loaded, time.monotonic()
    if machine.ranks.shards:  # this process has a part of it
        loaded = load_model(config.out, device=machine.device)
    lm = LanguageModel(loaded.model, loaded.tokenizer, loaded.generation, str(config.out), fine_tuned=loaded.task)
    say(f"scoring {len(data.held_out):,} held-out examples")
    with autocast(machine.device, machine.dtype):
        predictions = classify(lm, data.held_out, batch_size=max(1, prepared.micro_rows))
    counts = class_counts(data.spec, data.held_out, predictions)
    about = {
        "dtype": str(machine.dtype).removeprefix("torch."), "seconds": round(time.monotonic() - started, 3),
        "data": [str(path) for path in config.eval] or "held out of --data", "classes": [asdict(one) for one in counts],
        "train": data.counts, "also_in_training": data.shared,
    }  # fmt: skip
    train_labels = [example.label for example in data.train if example.label is not None]
    results = results_of(
        data.spec, data.held_out, predictions, model=str(config.out), tokenizer=lm.tokenizer.fingerprint(),
        train_labels=train_labels, machine=about,
    )  # fmt: skip
    task = replace(results.tasks[data.spec.name], notes=data.cut)
    save_results(replace(results, tasks={data.spec.name: task}), config.out / EVALUATION)
    result.scores = {
        "task": task.task, "n": task.n, "classes": about["classes"], "file": str(config.out / EVALUATION),
        "metrics": {name: measured.to_dict() for name, measured in task.measurements.items()},
    }  # fmt: skip
    result.lines = score_lines(task, counts)


def score_lines(task: TaskResult, counts: Sequence[ClassCount]) -> list[str]:
    """The metrics with their intervals beside the majority baseline, and what became of each class. F1 is of one class,
    which is named."""
    lines = [f"{task.task}, {task.n:,} held-out examples:"]
    for name, found in task.measurements.items():
        baseline = "" if found.baseline is None else f"; always the same: {found.baseline:.4f}"
        spread = f"{found.level:.0%} interval {found.low:.4f} to {found.high:.4f}"
        of = f" of {counts[1].name}" if name == "f1" and len(counts) == 2 else ""
        lines.append(f"  {name}{of} {found.value:.4f}, {spread}{baseline}")
        lines += [f"    note: {note}" for note in found.notes]
    width = max((len(one.name) for one in counts), default=0)
    lines += [f"  {one.name:<{width}}  {one.right:,} of {one.examples:,} right, given {one.predicted:,} times"
              for one in counts]  # fmt: skip
    return lines
