"""Pre-training: text → token shards → a model that has learned what its family's paper teaches it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from seodang.checkpoints.layouts import layout_of_family
from seodang.checkpoints.resolve import Loaded, Source, fresh_weights, resolve
from seodang.data.loader import permutation
from seodang.data.readers import read_rows
from seodang.data.shards import TokenShards, build_shards
from seodang.data.sources import expand
from seodang.data.special import SpecialIds
from seodang.data.text_pairs import TextPair, read_pairs
from seodang.errors import UsageError
from seodang.files import remove_leftovers
from seodang.models.config import ModelConfig
from seodang.models.cost import n_parameters
from seodang.models.families import build_model
from seodang.models.sizes import NOTES, published
from seodang.recipes.config import PretrainConfig, PretrainingTask
from seodang.recipes.defaults import SMALL, pretraining
from seodang.recipes.heads import with_heads_for
from seodang.recipes.plan import Machine, make_plan, require_memory, rows_per_forward, sequence_length, with_options
from seodang.recipes.pretraining import (
    Dealing,
    Material,
    from_pairs,
    from_shards,
    require_length,
    require_special,
    task_of,
)
from seodang.recipes.run import (
    Prepared,
    RunResult,
    check_options,
    load_start,
    open_run,
    run,
    say,
    with_dropout,
)
from seodang.recipes.vocabulary import tokenizer_for
from seodang.text.tokenizer import Tokenizer


def pretrain(config: PretrainConfig) -> RunResult:
    """Train a model on text files and publish it in `config.out`.

    The model is a published size with fresh weights, or trained weights to continue from. Without a tokenizer of
    its own or a named one, one of the family's kind is learned from the data. Raises UsageError and DataError for what
    the user can mend, FitError (4) when it will not fit, DivergedError (5).
    """
    check_options(config)
    if not config.dry_run:
        return _pretrain(config, config.out / "shards")
    with TemporaryDirectory(prefix="seodang-", ignore_cleanup_errors=True) as scratch:  # --out stays untouched
        return _pretrain(config, Path(scratch))


def _pretrain(config: PretrainConfig, shards: Path) -> RunResult:
    machine = Machine.choose(config)
    checkpoint = open_run(config, machine.ranks)
    source = resolve(checkpoint or config.model)  # what a run started from may be gone when it is resumed
    expand((*config.data, *config.eval))  # a missing file is said before anything is made
    if checkpoint is None:
        _remark(config, source)
    loaded = _start(config, checkpoint, source, machine)
    assert loaded.tokenizer is not None
    task = task_of(config.task, loaded.model, expand(config.data))
    loaded = with_heads_for(task, loaded, config.seed)
    length = sequence_length(config, loaded.model.config)
    require_length(task, length)
    fresh = checkpoint is None and (source.kind == "size" or config.from_scratch)
    if fresh and loaded.model.kind == "masked" and length > 64 and n_parameters(loaded.model.config) < SMALL:
        say("note: a small encoder learns sooner from short rows: --max-length 32 first, then on with longer ones")
    hyper = with_options(pretraining(loaded.model.config), config)
    batch_tokens = config.batch_tokens or hyper.batch_tokens
    micro_rows = rows_per_forward(config, loaded.model.config, length, max(1, batch_tokens // length), machine)
    deal = Dealing(
        batch_tokens, length, micro_rows, config.seed, machine.ranks.data_rank, machine.ranks.data_size,
        config.document_mask,
    )  # fmt: skip
    data = _read(config, task, loaded, machine, shards, deal)
    prepared = Prepared(
        verb="pretrain",
        loaded=loaded,
        objective=data.material.objective,
        loader=data.material.loader,
        plan=make_plan(config, hyper, data.material.loader.steps_per_epoch, {"minutes": 10}),
        hyper=hyper,
        micro_rows=micro_rows,
        evaluation=data.material.evaluation,
        prompts=_beginnings(config, loaded),
        data=data.files,
        data_fingerprint=data.fingerprint,
        facts={"task": task, **data.facts},
        lines=[f"task       {task}", *data.lines],
    )
    return run(config, prepared, machine, checkpoint)


@dataclass(frozen=True)
class _Data:
    """The run's material and what is said of where it comes from."""

    material: Material
    files: list[str]
    fingerprint: str
    facts: dict[str, Any]
    lines: list[str]


def _read(
    config: PretrainConfig, task: PretrainingTask, loaded: Loaded, machine: Machine, folder: Path, deal: Dealing
) -> _Data:
    """The data as the task's rows: from token shards, or of rows of two texts."""
    tokenizer, model = loaded.tokenizer, loaded.model
    assert tokenizer is not None
    ids = SpecialIds.of(tokenizer)
    if task == "pairs":
        pairs, held_out, lines = _pairs(config, tokenizer, deal.length)
        material = from_pairs(pairs, held_out, ids, model, deal)
        facts = {"train_rows": len(pairs), "held_out_rows": len(held_out)}
        return _Data(material, [str(file) for file in config.data], material.loader.fingerprint, facts, lines)
    train, held = _shards(config, tokenizer, machine, folder)
    material = from_shards(task, train, held, ids, model, deal, must_evaluate=bool(config.eval))
    facts = {"train_tokens": train.n_tokens, "train_bytes": train.n_bytes, "train_documents": train.n_documents}
    return _Data(material, train.meta["files"], train.fingerprint, facts, _describe_data(train, held))


def _pairs(
    config: PretrainConfig, tokenizer: Tokenizer, length: int
) -> tuple[list[TextPair], list[TextPair], list[str]]:
    """Training pairs, held-out pairs, and what is said of them."""
    read = partial(read_pairs, tokenizer=tokenizer, max_source=length - 2, max_target=length - 2)
    pairs, lines = read(read_rows(config.data))
    if config.eval:
        held_out, more = read(read_rows(config.eval))
        lines += [f"--eval: {line}" for line in more]
    else:
        order = permutation(len(pairs), config.seed)
        n_held = round(config.eval_fraction * len(pairs)) if len(pairs) > 1 else 0
        held_out = [pairs[int(i)] for i in sorted(order[:n_held])]
        pairs = [pairs[int(i)] for i in sorted(order[n_held:])]
    said = f"data       {len(pairs):,} pairs of texts"
    return pairs, held_out, [said, *(f"data       {line}" for line in lines), f"held out   {len(held_out):,} pairs"]


def _remark(config: PretrainConfig, source: Source) -> None:
    """Say what is odd about the published size, and which options change nothing."""
    if source.kind == "size" and source.name in NOTES:
        say(f"note: {NOTES[source.name]}")
    if config.vocab_size is not None and (config.tokenizer is not None or source.kind != "size"):
        say("note: --vocab-size has no effect: the tokenizer is given")
    if config.from_scratch and source.kind == "size":
        say("note: --from-scratch has no effect: a size has no trained weights")
    if config.zero_init and source.kind != "size" and not config.from_scratch:
        say("note: --zero-init has no effect: the weights are trained ones")


def _start(config: PretrainConfig, checkpoint: Path | None, source: Source, machine: Machine) -> Loaded:
    """The model and tokenizer to train: from the checkpoint, from trained weights, or fresh at a published size."""
    deferred = machine.ranks.shards
    if checkpoint is not None:
        return load_start(config, checkpoint, deferred=deferred)
    if source.kind != "size":
        loaded = load_start(
            config, None, from_scratch=config.from_scratch, seed=config.seed, zero_residual=config.zero_init,
            deferred=deferred,
        )  # fmt: skip
        if loaded.tokenizer is None:
            raise UsageError(f"{config.model} has no tokenizer", "text cannot be encoded", "add its tokenizer files")
        if config.tokenizer is not None:
            named = Tokenizer.load(Path(config.tokenizer)).fingerprint()
            if named != loaded.tokenizer.fingerprint():
                raise UsageError(
                    f"--tokenizer {config.tokenizer}",
                    "a trained model keeps the tokenizer it was trained with",
                    "leave the option out, or train a published size from scratch",
                )
        return loaded
    sizes = published(config.model)
    task = task_of(config.task, build_model(sizes, "meta"), expand(config.data))  # before anything is learned or read
    tokenizer = tokenizer_for(config, machine, pairs=task == "pairs")
    require_special(task, tokenizer, sizes.family, config.tokenizer)
    length = max(config.max_length or 0, sizes.context_length)
    model_config = with_vocabulary(replace(sizes, context_length=length), tokenizer)
    # before anything so large is built
    if not config.dry_run:
        layout_of_family(model_config.family).from_config(model_config)  # says what could never be saved
    require_memory(config, model_config, 1, 1, machine)
    model = build_model(model_config, "meta" if deferred else "cpu")
    weights = partial(fresh_weights, model_config, config.seed, config.zero_init) if deferred else None
    if not deferred:
        model.init_weights(torch.Generator().manual_seed(config.seed), zero_residual=config.zero_init)
    lineage = {"model": config.model, "path": None, "from_scratch": True}
    return Loaded(with_dropout(model, config.dropout), tokenizer, {}, source, lineage, weights=weights)


def with_vocabulary(config: ModelConfig, tokenizer: Tokenizer) -> ModelConfig:
    """The same sizes for this vocabulary: its number of entries, and the ids that the model itself must know."""
    if config.pad_id is None and config.start_id is None:
        return replace(config, vocab_size=tokenizer.vocab_size)
    # BART begins with the end of a text, the others with padding
    starts_with_end = config.start_id is not None and config.start_id != config.pad_id
    start = None if config.start_id is None else tokenizer.eos_id if starts_with_end else tokenizer.pad_id
    return replace(config, vocab_size=tokenizer.vocab_size, pad_id=tokenizer.pad_id, start_id=start)


def _shards(
    config: PretrainConfig, tokenizer: Tokenizer, machine: Machine, folder: Path
) -> tuple[TokenShards, TokenShards | None]:
    """Training and held-out token streams, kept in `folder`. Rank 0 encodes; the others wait and read."""
    shards = {}
    if machine.ranks.speaks:
        remove_leftovers(folder)  # of a run that was stopped while it encoded
    wanted = {"train": config.data, "eval": config.eval} if config.eval else {"train": config.data}
    for turn in (True, False):
        if machine.ranks.speaks == turn:
            for name, files in wanted.items():
                shards[name] = build_shards(files, tokenizer, folder / name, note=say)
        machine.ranks.barrier()
    if config.eval:
        return shards["train"], shards["eval"]
    if not config.eval_fraction:
        return shards["train"], None
    return shards["train"].split(config.eval_fraction, seed=config.seed)


def _beginnings(config: PretrainConfig, loaded: Loaded) -> dict[str, list[int]]:
    """The --sample prompts as ids; an empty one is the beginning of a document."""
    tokenizer = loaded.tokenizer
    assert tokenizer is not None
    if config.sample and loaded.model.kind != "causal":
        say(f"note: --sample has no effect: a {loaded.model.config.family} model does not continue texts")
        return {}
    start = [tokenizer.end_of_text_id] if tokenizer.end_of_text_id is not None else []
    return {prompt: tokenizer.encode(prompt) or start for prompt in config.sample}


def _describe_data(train: TokenShards, held_out: TokenShards | None) -> list[str]:
    def line(name: str, shards: TokenShards) -> str:
        return (
            f"{name:<10} {shards.n_documents:,} documents, {shards.n_tokens:,} tokens, {shards.n_bytes / 1e6:.2f} MB "
            f"({shards.n_bytes / max(1, shards.n_tokens):.2f} bytes a token)"
        )

    return [line("data", train), *([line("held out", held_out)] if held_out is not None else [])]
