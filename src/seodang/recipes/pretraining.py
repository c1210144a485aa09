"""What each family is pre-trained to do, and the rows and the loss that this takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from seodang.data.batch import Batch
from seodang.data.loader import PretrainLoader, StepLoader, evaluation_batches
from seodang.data.masked_rows import MaskedRows, Mode
from seodang.data.readers import read_rows
from seodang.data.rows import RowLoader, Rows, row_batches
from seodang.data.seq2seq_rows import ContinuationRows, InfillingRows, PairRows, SpanCorruptionRows
from seodang.data.shards import TokenShards
from seodang.data.sources import kind_of
from seodang.data.special import SpecialIds
from seodang.data.streams import StreamLoader, stream_batches
from seodang.data.text_pairs import TextPair, is_pair
from seodang.errors import DataError, UsageError
from seodang.models.base import Kind, Model
from seodang.objectives.language import LanguageModelling
from seodang.objectives.loss import Objective
from seodang.objectives.masked import MaskedLanguageModelling
from seodang.objectives.recurrent import CarriedState
from seodang.objectives.replaced import ReplacedTokenDetection
from seodang.objectives.seq2seq import TeacherForcing
from seodang.recipes.config import PretrainingTask
from seodang.recipes.defaults import discriminator_weight
from seodang.recipes.plan import say
from seodang.text.tokenizer import Tokenizer

EVALUATION_TOKENS = 100_000
"""Held-out tokens looked at in each evaluation, spread over the held-out part."""

EVALUATION_STREAMS = 16
"""Streams that a recurrent model is evaluated on, whatever the micro-batch: each begins with an empty state."""

OF_FAMILY: dict[str, PretrainingTask] = {
    "bert": "next-sentence",
    "roberta": "masked",
    "albert": "sentence-order",
    "electra": "replaced",
    "bart": "infilling",
    "t5": "spans",
    "t5v11": "spans",
}
"""What a family's paper pre-trains it to do; the others predict the next token, or a target from a source."""

OF_KIND: dict[Kind, tuple[PretrainingTask, ...]] = {
    "causal": ("language",),
    "masked": ("masked", "next-sentence", "sentence-order", "replaced"),
    "seq2seq": ("continuation", "pairs", "spans", "infilling"),
}
"""What a kind of model can be trained to do; the first where the family's paper has no word on it."""

_SPECIAL: dict[str, tuple[str, ...]] = {
    "language": (), "masked": ("cls", "sep", "mask"), "next-sentence": ("cls", "sep", "mask"),
    "sentence-order": ("cls", "sep", "mask"), "replaced": ("cls", "sep", "mask"), "spans": ("eos", "sentinels"),
    "infilling": ("bos", "eos", "mask"), "continuation": ("eos",), "pairs": ("eos",),
}  # fmt: skip
"""The tokens that a task's rows are made with."""
_STYLE = {"spans": "t5", "infilling": "bart"}
"""Whose kind of vocabulary has them, where the model's own family may not."""

_MODES: dict[PretrainingTask, Mode] = {
    "masked": "full-sentences", "next-sentence": "nsp", "sentence-order": "sop", "replaced": "plain",
}  # fmt: skip


def task_of(asked: PretrainingTask, model: Model, files: list[Path]) -> PretrainingTask:
    """What `model` is to be trained to do: as asked, or, with "auto", as its family's paper says.

    Encoder-decoders without a denoising of their own learn from pairs where the data has two texts in a row, and
    otherwise to continue. Raises UsageError for a task that the model has no parts for.
    """
    family = model.config.family
    if asked == "auto":
        task = OF_FAMILY.get(family, OF_KIND[model.kind][0])
        return "pairs" if model.kind == "seq2seq" and holds_pairs(files) else task
    if asked not in OF_KIND[model.kind] or (asked == "replaced") != (family == "electra"):
        able = [task for task in OF_KIND[model.kind] if (task == "replaced") == (family == "electra")]
        fix = "--task " + " or ".join(able)
        raise UsageError(f"--task {asked} with a model of the family {family!r}", "it has no parts for it", fix)
    return asked


def require_special(task: PretrainingTask, tokenizer: Tokenizer, family: str, named: str | None) -> None:
    """Raises UsageError when the vocabulary lacks what the task's rows are made with; `named` is --tokenizer."""
    ids, pair_of_bart = SpecialIds.of(tokenizer), task == "pairs" and family == "bart"
    needed = ("bos", "eos") if pair_of_bart else _SPECIAL[task]
    missing = [name for name in needed if getattr(ids, name) in (None, ())]
    if missing:
        what = "the vocabulary that is learned" if named is None else f"--tokenizer {named}"
        style = _STYLE.get(task, family)
        raise UsageError(
            f"{what} for --task {task} has no {' and no '.join(missing)}{'' if missing == ['sentinels'] else ' token'}",
            "the rows of this task are made with it",
            f"one that has: seodang tokenizer train --for {style} --data … --out TOKENIZER, then --tokenizer TOKENIZER",
        )


def require_length(task: PretrainingTask, length: int) -> None:
    """Raises UsageError when no text fits between the special tokens of a row."""
    pair, single, noised = 5, 4, 3
    least = {
        "next-sentence": pair, "sentence-order": pair, "masked": single, "replaced": single, "spans": noised,
        "infilling": noised,
    }.get(task, 1)  # fmt: skip
    if length < least:
        raise UsageError(
            f"--max-length {length} with --task {task}",
            "no text fits between the special tokens of a row",
            f"--max-length {least} or more; 64 and above are usual",
        )


def holds_pairs(files: list[Path]) -> bool:
    """Whether the first file's first row is two texts, and not a document."""
    if not files or kind_of(files[0]) == "text":
        return False
    first = next(iter(read_rows(files[:1])), None)
    return first is not None and is_pair(first)


@dataclass(frozen=True)
class Dealing:
    """How rows are dealt into steps."""

    tokens_per_step: int
    length: int
    micro_rows: int
    seed: int
    rank: int
    world_size: int
    document_mask: bool

    def options(self) -> dict[str, Any]:
        """Those that every loader takes."""
        return {
            "tokens_per_step": self.tokens_per_step,
            "micro_batch_size": self.micro_rows,
            "seed": self.seed,
            "rank": self.rank,
            "world_size": self.world_size,
        }


@dataclass(frozen=True)
class Material:
    """What a run reads and how it is judged."""

    objective: Objective
    loader: StepLoader
    evaluation: list[Batch]


def from_shards(
    task: PretrainingTask,
    train: TokenShards,
    held_out: TokenShards | None,
    ids: SpecialIds,
    model: Model,
    deal: Dealing,
    *,
    must_evaluate: bool,
) -> Material:
    """Objective and rows of a task on running text; what is held out of them may be too little for the task."""
    if task == "language":
        return _language(train, held_out, model, deal)
    make = partial(_rows, task, ids=ids, model=model, length=deal.length)
    loader = RowLoader(make(train), **deal.options())
    evaluation: list[Batch] = []
    if held_out is not None:
        try:
            evaluation = _held_out(make(held_out), deal)
        except DataError as error:
            if must_evaluate:
                raise
            say(f"note: the held-out part is too small to evaluate on: {error.why}")
    return Material(_objective(task, model), loader, evaluation)


def from_pairs(
    train: list[TextPair], held_out: list[TextPair], ids: SpecialIds, model: Model, deal: Dealing
) -> Material:
    """Objective and rows of source and target texts."""
    family, start = model.config.family, model.config.start_id
    make = partial(PairRows, ids=ids, length=deal.length, start=start, bos=family == "bart")
    loader = RowLoader(make(train), **deal.options())
    return Material(_objective("pairs", model), loader, _held_out(make(held_out), deal) if held_out else [])


def _language(train: TokenShards, held_out: TokenShards | None, model: Model, deal: Dealing) -> Material:
    options = {**deal.options(), "context_length": deal.length, "document_mask": deal.document_mask}
    batches: Iterator[Batch] = iter(())
    if model.recurrent:
        if held_out is not None:
            batches = stream_batches(
                held_out, deal.length, EVALUATION_STREAMS, document_mask=deal.document_mask,
                max_tokens=EVALUATION_TOKENS,
            )  # fmt: skip
        evaluation = [part for batch in batches for part in batch.split(deal.micro_rows)]
        return Material(CarriedState(), StreamLoader(train, **options), evaluation)
    if held_out is not None:
        batches = evaluation_batches(
            held_out, deal.length, deal.micro_rows, document_mask=deal.document_mask, max_tokens=EVALUATION_TOKENS
        )
    return Material(LanguageModelling(), PretrainLoader(train, **options), list(batches))


def _held_out(rows: Rows, deal: Dealing) -> list[Batch]:
    return list(row_batches(rows, deal.micro_rows, max_tokens=EVALUATION_TOKENS))


def _rows(task: PretrainingTask, shards: TokenShards, *, ids: SpecialIds, model: Model, length: int) -> Rows:
    if task in _MODES:
        config = model.config
        ngram = 3 if config.family == "albert" else 1  # ALBERT, sec. 4.1: n-gram masking
        share = 0.25 if config.family == "electra" and config.d_model >= 1024 else 0.15  # ELECTRA, table 6
        return MaskedRows(shards, ids, length=length, mode=_MODES[task], share=share, longest_ngram=ngram)
    rows = {"spans": SpanCorruptionRows, "infilling": InfillingRows, "continuation": ContinuationRows}[task]
    return rows(shards, ids, length=length, start=model.config.start_id)


def _objective(task: PretrainingTask, model: Model) -> Objective:
    if task == "replaced":
        return ReplacedTokenDetection(discriminator_weight(model.config))
    if task in _MODES:
        return MaskedLanguageModelling({"next-sentence": "next_sentence", "sentence-order": "sentence_order"}.get(task))
    # Vaswani et al. 2017, sec. 5.4
    return TeacherForcing(label_smoothing=0.1 if model.config.family == "transformer" else 0.0)
