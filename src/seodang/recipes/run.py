"""What all training runs share: choosing the machine, planning, saying what will happen, training, publishing."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from seodang.checkpoints.huggingface import read_metadata, save_folder, write_model
from seodang.checkpoints.resolve import PACKAGED, Loaded, load_model
from seodang.checkpoints.sharded import is_sharded
from seodang.checkpoints.training import newest_checkpoint
from seodang.checkpoints.weights import fill
from seodang.data.batch import Batch
from seodang.data.loader import StepLoader
from seodang.errors import SeodangError, UsageError
from seodang.files import atomic_write
from seodang.inference.decode import generate
from seodang.inference.sampling import Settings
from seodang.models.base import Model
from seodang.models.families import build_model
from seodang.models.sizes import SIZES
from seodang.objectives.loss import Objective
from seodang.recipes.compiling import compiled, compiling_repays
from seodang.recipes.config import RunConfig
from seodang.recipes.defaults import Hyperparameters
from seodang.recipes.plan import Machine, announce, describe, say
from seodang.text.tokenizer import Tokenizer
from seodang.training.activations import Offloaded, checkpoint_activations
from seodang.training.freeze import FILE as FROZEN
from seodang.training.freeze import computing, freeze, frozen_matrices, keep_frozen_low
from seodang.training.offload import HostOptimizer
from seodang.training.optimizer import build_optimizer, hidden_matrices
from seodang.training.parallel import Ranks, begin, restarted
from seodang.training.profile import Profiler
from seodang.training.sharding import load_model_shards, shard_model
from seodang.training.step import autocast
from seodang.training.trainer import Plan, Summary, Trainer

RUN = "run.json"
"""The resolved options of a run, from which it can be resumed."""


@dataclass
class RunResult:
    """How a run ended."""

    out: Path
    summary: Summary
    dry_run: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    """What was planned: data, tokens, parameters, batch, memory."""
    speaks: bool = True
    """Whether this process, of several, is the one that prints."""
    scores: dict[str, Any] = field(default_factory=dict)
    """What a task's metrics say of the finished model."""
    lines: list[str] = field(default_factory=list)
    """The same in words."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        summary = dataclasses.asdict(self.summary)
        for name in ("evaluation", "first_evaluation"):  # JSON has no NaN: an unknown number is null
            summary[name] = {k: v if math.isfinite(v) else None for k, v in summary[name].items()}
        scores = {"scores": self.scores} if self.scores else {}
        return {"out": str(self.out), "dry_run": self.dry_run, "plan": self.facts, **summary, **scores}


def check_options(config: RunConfig) -> None:
    """Refuse options that cannot be meant, before anything is read or written."""
    positive = ("steps", "epochs", "minutes", "batch_tokens", "micro_batch", "max_length", "lr", "muon_lr")
    others = ("decay_share", "save_every", "eval_every", "keep", "profile_steps", "shard_size", "tensor_parallel")
    for name in (*positive, *others):
        value = getattr(config, name)
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"--{name.replace('_', '-')} {value}", "it must be above 0", "correct the value")
    for name in ("warmup", "min_lr_ratio", "weight_decay", "grad_clip", "seed"):
        value = getattr(config, name)
        if value is not None and not 0 <= value < math.inf:
            raise UsageError(f"--{name.replace('_', '-')} {value}", "it cannot be negative", "correct the value")
    if config.beta2 is not None and not 0 <= config.beta2 < 1:
        raise UsageError(f"--beta2 {config.beta2}", "it is a share", "choose 0.9 to 0.999")
    if config.decay_share is not None and config.decay_share > 1:
        raise UsageError(f"--decay-share {config.decay_share}", "it is a share", "choose 0.1 to 0.5")
    if not 0 <= config.eval_fraction < 1:
        raise UsageError(f"--eval-fraction {config.eval_fraction}", "it is a share", "choose 0 to 0.5")
    if config.steps is not None and config.epochs is not None:
        raise UsageError("--steps with --epochs", "both say how long to train", "give one of them")
    constant, wsd = config.schedule == "constant", config.schedule == "wsd"
    for option, without_effect, because in (
        ("--eval-fraction", config.eval and config.eval_fraction != type(config).eval_fraction, "beside --eval"),
        ("--min-lr-ratio", constant and config.min_lr_ratio is not None, "with --schedule constant"),
        ("--decay-share", not wsd and config.decay_share is not None, "without --schedule wsd"),
        ("--decay-shape", not wsd and config.decay_shape is not None, "without --schedule wsd"),
        ("--muon-lr", config.optimizer != "muon" and config.muon_lr is not None, "without --optimizer muon"),
        ("--shard-size", config.shard != "hybrid" and config.shard_size is not None, "without --shard hybrid"),
        (
            "--profile-steps",
            not config.profile and config.profile_steps != type(config).profile_steps,
            "without --profile",
        ),
    ):
        if without_effect:
            say(f"note: {option} has no effect {because}")


def open_run(config: RunConfig, ranks: Ranks) -> Path | None:
    """The checkpoint to resume from, if that was asked for and there is one; rank 0 looks, for all.

    A job that torchrun has started again goes on by itself. Raises UsageError when a new run would overwrite another
    run or a model.
    """
    chosen = ranks.tell(str(_choose_checkpoint(config) or "") if ranks.speaks else "")
    return Path(chosen) if chosen else None


def _choose_checkpoint(config: RunConfig) -> Path | None:
    folder = config.out
    resumes = config.resume or restarted(str(folder))
    if not resumes and ((folder / "checkpoints").is_dir() or (folder / "config.json").exists()):
        raise UsageError(
            f"{folder} already holds a run or a model",
            "it would be overwritten",
            f"continue it with: seodang resume {folder}, or choose another --out",
        )
    begin(str(folder))
    if not resumes:
        return None
    checkpoint = newest_checkpoint(folder, damaged=lambda error: say(f"passed over: {error.what} ({error.why})"))
    if checkpoint is None:
        say(f"{folder} has no whole checkpoint: starting from the beginning")
    return checkpoint


def write_run(config: RunConfig, verb: str) -> None:
    """Write run.json: the resolved options, with which `seodang resume` takes the run up."""
    options = {name: _plain(value) for name, value in dataclasses.asdict(config).items() if name != "resume"}
    for name in ("model", "tokenizer"):  # a name stays a name; a relative path would be another one elsewhere
        value = options.get(name)
        if value is not None and value not in (*SIZES, *PACKAGED) and Path(value).expanduser().exists():
            options[name] = str(Path(value).expanduser().resolve())
    atomic_write(config.out / RUN, json.dumps({"verb": verb, "options": options}, indent=1, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.resolve())
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def load_start(config: RunConfig, checkpoint: Path | None, **changes: Any) -> Loaded:
    """The model to train: the checkpoint's when resuming, otherwise the one that --model names."""
    loaded = load_model(str(checkpoint or config.model), **changes)
    if checkpoint is not None:  # a run's checkpoints are itself, not its parents
        parent = read_metadata(checkpoint).get("lineage", {}).get("parent")
        loaded = replace(loaded, lineage=parent or loaded.lineage)
    return replace(loaded, model=with_dropout(loaded.model, config.dropout))


def with_dropout(model: Model, probability: float | None) -> Model:
    """The same weights in a model with this dropout everywhere; None leaves it as it is."""
    if probability is None:
        return model
    changed = build_model(model.config.with_dropout(probability), "meta")
    changed.load_state_dict(model.state_dict(), assign=True)
    return changed


@dataclass
class Prepared:
    """Everything a run needs, put together by its recipe."""

    verb: str
    loaded: Loaded
    objective: Objective
    loader: StepLoader
    plan: Plan
    hyper: Hyperparameters
    micro_rows: int
    evaluation: Sequence[Batch]
    prompts: dict[str, list[int]]
    """Texts to continue at every evaluation, and their ids."""
    data: list[str]
    data_fingerprint: str
    facts: dict[str, Any]
    """What the recipe knows of its data, for the plan and the lineage."""
    lines: list[str]
    """The same in words."""


def run(config: RunConfig, prepared: Prepared, machine: Machine, checkpoint: Path | None) -> RunResult:
    """Say what will happen, train, and publish the model folder in --out when the run has come to its end."""
    model = prepared.loaded.model
    if machine.ranks.shards and (model.kind != "causal" or model.recurrent):
        raise UsageError(
            f"a {model.config.family} model shared out over processes",
            "only decoders are cut up, block by block",
            "leave out --shard and --tensor-parallel: each process then holds the whole model",
        )
    if machine.ranks.shards and config.offload != "none":
        raise UsageError(
            f"--offload {config.offload} with a model that several processes share",
            "what is moved belongs to whole weights, and here each process has parts of them",
            "use --checkpoint-activations blocks, or more processes",
        )
    loaded, loader, speaks = prepared.loaded, prepared.loader, machine.ranks.speaks
    frozen = freeze(loaded.model, config.freeze) if config.freeze else []
    facts = (
        describe(config, loaded.model.config, loader, prepared.plan, prepared.hyper, machine, prepared.micro_rows)
        | prepared.facts
    )
    if speaks:
        notes = [f"note       {note}" for note in loader.notes]
        notes += _memory_lines(config, loaded.model, frozen, machine)
        announce(facts, [*prepared.lines, *notes], config)
    if config.dry_run:
        return RunResult(config.out, Summary(), dry_run=True, facts=facts, speaks=speaks)
    lineage = {
        "verb": prepared.verb,
        "parent": loaded.lineage,
        "data": prepared.data,
        "data_fingerprint": prepared.data_fingerprint,
        "plan": facts,
        "seed": config.seed,
    }
    if speaks:
        write_run(config, prepared.verb)
    try:
        summary = _train(config, prepared, machine, checkpoint, lineage)
        if speaks and not summary.interrupted:
            model = loaded.model.eval()
            if machine.ranks.shards:  # the last checkpoint, which the ranks have just written, put together
                model = load_model(newest_checkpoint(config.out) or config.out).model
            save_folder(
                config.out, model, loaded.tokenizer, generation=loaded.generation, metadata=lineage, task=loaded.task
            )
    finally:
        if speaks:
            (config.out / FROZEN).unlink(missing_ok=True)
    machine.ranks.barrier()
    return RunResult(config.out, summary, facts=facts, speaks=speaks)


def _memory_lines(config: RunConfig, model: Model, frozen: Sequence[str], machine: Machine) -> list[str]:
    """What is not trained, and options that change nothing here."""
    lines = []
    if model.recurrent and config.checkpoint_activations == "selective":
        lines.append("note       --checkpoint-activations selective is blocks here: a recurrent layer is one kernel")
    if frozen:
        count = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
        tied = ", and with the embedding the output matrix, which is the same" if model.head is None else ""
        lines.append(f"frozen     {count:,} parameters{tied if 'embed.weight' in frozen else ''}")
    if config.optimizer == "muon" and not hidden_matrices(model):
        lines.append("note       --optimizer muon has no effect: the matrices inside the layers are not trained")
    if config.offload != "none" and machine.device.type != "cuda":
        lines.append(f"note       --offload {config.offload} has no effect on {machine.device.type}: it has one memory")
    return lines


def _train(
    config: RunConfig, prepared: Prepared, machine: Machine, checkpoint: Path | None, lineage: dict[str, Any]
) -> Summary:
    loaded, plan, hyper = prepared.loaded, prepared.plan, prepared.hyper
    model, tokenizer = loaded.model, loaded.tokenizer
    assert tokenizer is not None
    _place(loaded, machine, checkpoint)
    offload = config.offload if machine.device.type == "cuda" else "none"  # elsewhere there is one memory
    checkpoint_activations(model, config.checkpoint_activations)
    if config.freeze and machine.dtype != torch.float32 and not machine.ranks.shards:  # parts are of one type
        keep_frozen_low(model, machine.dtype, config.out if machine.ranks.speaks else None)

    def optimise(of: torch.nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(
            of, lr=plan.schedule.peak, weight_decay=hyper.weight_decay, betas=hyper.betas, eps=hyper.eps,
            kind=hyper.optimizer, muon_lr=hyper.muon_lr, states=hyper.optimizer_state, dtype=machine.dtype,
            ranks=machine.ranks,
        )  # fmt: skip

    def write(folder: Path) -> None:
        write_model(folder, model, tokenizer, generation=loaded.generation, metadata=lineage, task=loaded.task)

    profiled = config.profile and machine.ranks.speaks
    compiling = (config.compile == "on" and prepared.verb != "finetune") or (
        config.compile == "auto"
        and model.kind == "causal" and not model.recurrent  # others have rows of all lengths, or fast kernels already
        and prepared.verb == "pretrain"  # so has instruction tuning, and each length would be compiled anew
        and compiling_repays(model.config, lineage["plan"], machine)
    )
    trainer = Trainer(
        model=compiled(model, (prepared.micro_rows, prepared.loader.context_length), machine) if compiling else model,
        objective=Offloaded(prepared.objective) if offload == "activations" else prepared.objective,
        loader=prepared.loader,
        optimizer=HostOptimizer(model, optimise) if offload == "optimizer" else optimise(model),
        plan=plan,
        out=config.out,
        write_model=write,
        device=machine.device,
        dtype=machine.dtype,
        evaluation=prepared.evaluation,
        sample=sampler(
            model, tokenizer, _drawable(prepared.prompts, machine.ranks), config.seed,
            machine.dtype if machine.ranks.shards else None,
        ),  # fmt: skip
        ranks=machine.ranks,
        quiet=config.quiet,
        tensorboard=config.tensorboard,
        profiler=Profiler(config.out / "profile", machine.device, config.profile_steps) if profiled else None,
        flops_per_token=lineage["plan"]["flops_per_token"] - 2 * frozen_matrices(model),
        peak_flops_per_second=lineage["plan"]["matmul_flops_per_second"],
    )
    torch.manual_seed(config.seed + machine.ranks.data_rank)  # dropout differs from rank to rank, as from row to row
    if checkpoint is not None:
        trainer.resume(checkpoint)
        say(f"resumed from {checkpoint} at step {trainer.summary.steps}")
    return trainer.fit()


def _place(loaded: Loaded, machine: Machine, checkpoint: Path | None) -> None:
    """Bring the model to the device; share it out first where the ranks share one, before it has weights."""
    model = loaded.model
    if not machine.ranks.shards:
        model.to(machine.device)
        return
    shard_model(model, machine.ranks, machine.dtype)
    model.to_empty(device=machine.device)
    if checkpoint is not None and is_sharded(checkpoint):
        load_model_shards(checkpoint, model)
    else:
        assert loaded.weights is not None
        fill(model, loaded.weights(), origin=loaded.source.name)


def _drawable(prompts: dict[str, list[int]], ranks: Ranks) -> dict[str, list[int]]:
    if prompts and ranks.tensor_parallel > 1:
        say("note: --sample has no effect beside --tensor-parallel: the cache of keys and values is not shared out")
        return {}
    return prompts


def sampler(
    model: Model, tokenizer: Tokenizer, prompts: dict[str, list[int]], seed: int, shared: torch.dtype | None = None
) -> Callable[[], list[dict[str, Any]]] | None:
    """A function that continues the prompts (text → ids), greedily and at temperature 0.8, for samples.jsonl.

    shared: of a model that is shared out over processes, the type that its blocks are put together in.
    """
    if not prompts:
        return None
    room = max(1, model.config.context_length // 2)
    encoded = [ids[-room:] for ids in prompts.values()]
    stop = tuple(end for end in (tokenizer.end_of_text_id, tokenizer.end_of_turn_id) if end is not None)

    def sample() -> list[dict[str, Any]]:
        if model._compiled_call_impl is None:
            return continuations()
        with torch.compiler.set_stance("force_eager"):  # a growing cache would use up the recompilations of training
            return continuations()

    def continuations() -> list[dict[str, Any]]:
        rows = []
        for temperature in (0.0, 0.8):
            settings = Settings(max_new_tokens=min(80, room), temperature=temperature, seed=seed, stop_ids=stop)
            with computing(model) if shared is None else autocast(model.embed.weight.device, shared):
                results = generate(model, encoded, settings)
            for prompt, result in zip(prompts, results, strict=True):
                text = tokenizer.decode(result.tokens, skip_special=True)
                rows.append({"prompt": prompt, "temperature": temperature, "text": text})
        return rows

    return sample


def read_run(folder: Path) -> tuple[str, dict[str, Any]]:
    """The verb and the options of a run folder. Raises SeodangError when it is none."""
    try:
        stored = json.loads((folder / RUN).read_text(encoding="utf-8"))
        return stored["verb"], stored["options"]
    except FileNotFoundError:
        raise UsageError(f"{folder} is not a run", f"it has no {RUN}", "give the --out folder of a run") from None
    except (ValueError, KeyError, TypeError):
        raise SeodangError(f"{folder / RUN} is damaged", "it is not what was written", "start the run anew") from None
