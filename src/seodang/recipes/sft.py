"""Instruction tuning: dialogues → a model that answers. Only answers carry loss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from seodang.checkpoints.resolve import Loaded, resolve
from seodang.data.batch import Batch
from seodang.data.examples import Example, Report, tokenize_conversations
from seodang.data.formats import Message
from seodang.data.loader import SFTLoader, example_batches, permutation
from seodang.data.readers import read_rows
from seodang.data.sources import expand
from seodang.errors import UsageError
from seodang.models.families import more_rows, with_rows
from seodang.objectives.language import LanguageModelling
from seodang.recipes.config import SFTConfig
from seodang.recipes.defaults import instruction_tuning
from seodang.recipes.plan import Machine, make_plan, rows_per_forward, say, sequence_length, with_options
from seodang.recipes.run import Prepared, RunResult, check_options, load_start, open_run, run
from seodang.text.chat import render
from seodang.text.tokenizer import Tokenizer


def sft(config: SFTConfig) -> RunResult:
    """Train a model on questions and answers or dialogues and publish it in `config.out`.

    Rows of any known format (data/formats.py); rows are packed, and no attention crosses from one into another.
    Raises UsageError and DataError (file:row) for what the user can mend, FitError (4), DivergedError (5).
    """
    check_options(config)
    machine = Machine.choose(config)
    checkpoint = open_run(config, machine.ranks)
    resolve(checkpoint or config.model)
    expand((*config.data, *config.eval))  # what is missing is said before anything is made
    loaded = load_start(config, checkpoint, deferred=machine.ranks.shards)
    if loaded.model.kind != "causal":
        raise UsageError(
            f"instruction tuning of {config.model}, a {loaded.model.config.family} model",
            "only a model that continues a text can learn to answer in a dialogue",
            "use a decoder; an encoder-decoder learns from pairs: seodang pretrain --task pairs",
        )
    loaded = _ready_for_chat(loaded)
    tokenizer = loaded.tokenizer
    assert tokenizer is not None
    length = sequence_length(config, loaded.model.config)
    train, held_out, report = _examples(config, loaded, length)
    hyper = with_options(instruction_tuning(loaded.model.config), config)
    batch_tokens = config.batch_tokens or _batch_tokens(train, hyper.batch_tokens)
    # A packed row must hold the longest example. It need not be longer than 512 positions beyond that: attention
    # costs the square of a row's length, most of it between examples that may not see each other.
    row_length = max(report.longest - 1, min(length, batch_tokens, 512))
    micro_rows = rows_per_forward(config, loaded.model.config, row_length, max(1, batch_tokens // row_length), machine)
    pad_id = tokenizer.pad_id if tokenizer.pad_id is not None else 0
    loader = SFTLoader(
        train,
        tokens_per_step=max(batch_tokens, row_length),
        context_length=row_length,
        micro_batch_size=micro_rows,
        seed=config.seed,
        rank=machine.ranks.data_rank,
        world_size=machine.ranks.data_size,
        pad_id=pad_id,
    )
    prepared = Prepared(
        verb="sft",
        loaded=loaded,
        objective=LanguageModelling(),
        loader=loader,
        plan=make_plan(config, hyper, loader.steps_per_epoch, {"epochs": 3}),
        hyper=hyper,
        micro_rows=micro_rows,
        evaluation=_evaluation(held_out, row_length, micro_rows, pad_id),
        prompts=_questions(config, tokenizer),
        data=[str(path) for path in config.data],
        data_fingerprint=loader.fingerprint,
        facts={"rows": len(train), "held_out_rows": len(held_out), "dropped_rows": report.lost},
        lines=[*(f"data       {line}" for line in report.lines()), f"held out   {len(held_out):,} rows"],
    )
    return run(config, prepared, machine, checkpoint)


def _evaluation(held_out: list[Example], row_length: int, micro_rows: int, pad_id: int) -> list[Batch]:
    """Held-out rows as batches; those of --eval files may be longer than every row that is trained on."""
    if not held_out:
        return []
    longest = max(len(example.ids) - 1 for example in held_out)
    return list(example_batches(held_out, max(row_length, longest), micro_rows, pad_id=pad_id))


def _ready_for_chat(loaded: Loaded) -> Loaded:
    """The model as it is, or, where its tokenizer has no chat template, with ChatML's tokens and rows for them."""
    tokenizer, model = loaded.tokenizer, loaded.model
    if tokenizer is None:
        raise UsageError(f"{loaded.source.name} has no tokenizer", "text cannot be encoded", "add its tokenizer files")
    if tokenizer.chat_template is not None:
        return loaded
    tokenizer = tokenizer.with_chatml()
    old, weights, size = loaded.weights, loaded.weights, tokenizer.vocab_size
    if size > model.config.vocab_size:
        model = with_rows(model, size)
        weights = None if old is None else lambda: more_rows(old(), size)
    say("note: the tokenizer has no chat template; it is given ChatML's, and the tokens <|im_start|> and <|im_end|>")
    return replace(loaded, model=model, weights=weights, tokenizer=tokenizer, generation={})


def _batch_tokens(examples: list[Example], usual: int) -> int:
    """The usual batch, or a smaller one where the data is so small that an epoch would have fewer than 16 steps."""
    total = sum(len(example.ids) - 1 for example in examples)
    return max(64, min(usual, total // 16 // 64 * 64))


def _examples(config: SFTConfig, loaded: Loaded, length: int) -> tuple[list[Example], list[Example], Report]:
    """Training examples, held-out examples, and what became of the training files' rows."""

    def read(files: Iterable[Path]) -> tuple[list[Example], Report]:
        return tokenize_conversations(
            read_rows(files),
            loaded.tokenizer,
            max_length=length + 1,  # an example of L tokens takes L - 1 positions
            train=config.train_on,
            too_long=config.too_long,
            max_lost=config.max_lost,
            system=config.system,
        )

    examples, report = read(config.data)
    if config.eval:
        held_out, of_eval = read(config.eval)
        report.notes = [f"--eval: {line}" for line in of_eval.losses()]
        return examples, held_out, report
    n_held = round(config.eval_fraction * len(examples)) if len(examples) > 1 else 0
    order = permutation(len(examples), config.seed)
    held = {int(i) for i in order[:n_held]}
    train = [example for i, example in enumerate(examples) if i not in held]
    return train, [examples[i] for i in sorted(held)], report


def _questions(config: SFTConfig, tokenizer: Tokenizer) -> dict[str, list[int]]:
    """The --sample prompts as first turns of a chat."""
    system: list[Message] = [{"role": "system", "content": config.system}] if config.system else []
    return {
        prompt: render(tokenizer, [*system, {"role": "user", "content": prompt}], add_generation_prompt=True)
        for prompt in config.sample
    }
