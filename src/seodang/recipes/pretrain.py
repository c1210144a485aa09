"""Pre-training: text → token shards → a language model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from seodang.checkpoints.layouts import layout_of_family
from seodang.checkpoints.resolve import Loaded, Source, fresh_weights, resolve
from seodang.data.batch import Batch
from seodang.data.loader import PretrainLoader, evaluation_batches
from seodang.data.readers import read_documents
from seodang.data.shards import TokenShards, build_shards
from seodang.data.sources import expand
from seodang.errors import UsageError
from seodang.files import remove_leftovers
from seodang.models.families import build_model
from seodang.models.sizes import NOTES, published
from seodang.objectives.language import LanguageModelling
from seodang.recipes.config import PretrainConfig
from seodang.recipes.defaults import pretraining
from seodang.recipes.plan import Machine, make_plan, require_memory, rows_per_forward, sequence_length, with_options
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
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer

EVALUATION_TOKENS = 100_000
"""Held-out tokens looked at in each evaluation, spread over the held-out part."""


def pretrain(config: PretrainConfig) -> RunResult:
    """Train a causal language model on text files and publish it in `config.out`.

    The model is a published size with fresh weights, or trained weights to continue from. Without a tokenizer of
    its own or a named one, a byte-level BPE is learned from the data. Raises UsageError and DataError for what
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
    tokenizer = loaded.tokenizer
    assert tokenizer is not None
    train, held_out = _shards(config, tokenizer, machine, shards)
    length = sequence_length(config, loaded.model.config)
    hyper = with_options(pretraining(loaded.model.config), config)
    batch_tokens = config.batch_tokens or hyper.batch_tokens
    micro_rows = rows_per_forward(config, loaded.model.config, length, max(1, batch_tokens // length), machine)
    loader = PretrainLoader(
        train,
        tokens_per_step=batch_tokens,
        context_length=length,
        micro_batch_size=micro_rows,
        seed=config.seed,
        rank=machine.ranks.data_rank,
        world_size=machine.ranks.data_size,
        document_mask=config.document_mask,
    )
    prepared = Prepared(
        verb="pretrain",
        loaded=loaded,
        objective=LanguageModelling(),
        loader=loader,
        plan=make_plan(config, hyper, loader.steps_per_epoch, {"minutes": 10}),
        hyper=hyper,
        micro_rows=micro_rows,
        evaluation=_evaluation(config, held_out, length, micro_rows),
        prompts=_beginnings(config, tokenizer),
        data=train.meta["files"],
        data_fingerprint=train.fingerprint,
        facts={"train_tokens": train.n_tokens, "train_bytes": train.n_bytes, "train_documents": train.n_documents},
        lines=_describe_data(train, held_out),
    )
    return run(config, prepared, machine, checkpoint)


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


def _evaluation(config: PretrainConfig, held_out: TokenShards | None, length: int, micro_rows: int) -> list[Batch]:
    if held_out is None:
        return []
    batches = evaluation_batches(
        held_out, length, micro_rows, document_mask=config.document_mask, max_tokens=EVALUATION_TOKENS
    )
    return list(batches)


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
    tokenizer = _tokenizer(config, machine)
    sizes = published(config.model)
    length = max(config.max_length or 0, sizes.context_length)
    model_config = replace(sizes, vocab_size=tokenizer.vocab_size, context_length=length)
    # before anything so large is built
    if not config.dry_run:
        layout_of_family(model_config.family).from_config(model_config)  # says what could never be saved
    require_memory(config, model_config, 1, 1, machine)
    model = build_model(model_config, "meta" if deferred else "cpu")
    weights = partial(fresh_weights, model_config, config.seed, config.zero_init) if deferred else None
    if not deferred:
        model.init_weights(torch.Generator().manual_seed(config.seed), zero_residual=config.zero_init)
    lineage = {"model": config.model, "path": None, "from_scratch": True}
    return Loaded(with_dropout(model, config.dropout), tokenizer, {}, source, lineage, weights)


def _tokenizer(config: PretrainConfig, machine: Machine) -> Tokenizer:
    """The named tokenizer, or a byte-level BPE learned from the data, sized by the amount of text."""
    if config.tokenizer is not None:
        return Tokenizer.load(Path(config.tokenizer))
    # with several processes rank 0 learns and the others wait and read
    if machine.ranks.world_size == 1:
        return _learn(config)
    folder = config.out / "tokenizer"
    if machine.ranks.speaks:
        _learn(config).save(folder)
    machine.ranks.barrier()
    return Tokenizer.load(folder)


def _learn(config: PretrainConfig) -> Tokenizer:
    files = expand(config.data)
    n_bytes = sum(file.stat().st_size for file in files)
    by_data = max(512, n_bytes // 500 // 64 * 64)  # about 500 bytes of text for every entry
    vocab_size = config.vocab_size or min(published(config.model).vocab_size, by_data)
    if not config.quiet:
        say(f"tokenizer  learning a byte-level BPE of {vocab_size:,} entries from {n_bytes / 1e6:.1f} MB")
    texts = (document.text for document in read_documents(files))
    return train_tokenizer(texts, kind="bpe", vocab_size=vocab_size)


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


def _beginnings(config: PretrainConfig, tokenizer: Tokenizer) -> dict[str, list[int]]:
    """The --sample prompts as ids; an empty one is the beginning of a document."""
    start = [tokenizer.end_of_text_id] if tokenizer.end_of_text_id is not None else []
    return {prompt: tokenizer.encode(prompt) or start for prompt in config.sample}


def _describe_data(train: TokenShards, held_out: TokenShards | None) -> list[str]:
    def line(name: str, shards: TokenShards) -> str:
        return (
            f"{name:<10} {shards.n_documents:,} documents, {shards.n_tokens:,} tokens, {shards.n_bytes / 1e6:.2f} MB "
            f"({shards.n_bytes / max(1, shards.n_tokens):.2f} bytes a token)"
        )

    return [line("data", train), *([line("held out", held_out)] if held_out is not None else [])]
