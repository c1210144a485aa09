"""A loaded model → one for a task: a decoder's delimiter tokens, the class head, what the folder says of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from seodang.checkpoints.resolve import Loaded
from seodang.data.labelled import TaskSpec
from seodang.data.task_settings import MARKS, PAD, TaskSettings
from seodang.errors import UsageError
from seodang.models.base import Model
from seodang.models.encoder import Encoder
from seodang.models.families import more_rows, with_classes, with_parts, with_rows
from seodang.recipes.plan import say


def model_for_task(loaded: Loaded, spec: TaskSpec, *, max_length: int, head_dropout: float, seed: int) -> Loaded:
    """The model with all that `spec` needs and it lacks: tokens with fresh rows, a class head drawn with `seed`.

    This is the place between loading a model and making its optimiser. A head for the same classes is gone on with.
    Raises UsageError for an encoder-decoder, and for a model without a tokenizer.
    """
    if loaded.tokenizer is None:
        raise UsageError(f"{loaded.source.name} has no tokenizer", "text cannot be encoded", "add its tokenizer files")
    goes_on = loaded.task is not None and _same_outputs(TaskSettings.from_dict(loaded.task).spec, spec)
    loaded = with_marks(loaded)
    assert loaded.tokenizer is not None
    marks = None if isinstance(loaded.model, Encoder) else MARKS
    settings = TaskSettings(spec, max_length, marks)
    if not goes_on:
        loaded = with_head(loaded, spec.n_outputs, head_dropout, seed)
    elif loaded.model.config.head_dropout != head_dropout:
        config = replace(loaded.model.config, head_dropout=head_dropout)
        loaded = replace(loaded, model=with_parts(loaded.model, config, None)[0])
    return replace(loaded, task=settings.to_dict())


def _same_outputs(before: TaskSpec, now: TaskSpec) -> bool:
    """Whether the head of one task means the same in the other."""
    kinds = {before.kind, now.kind}
    alike = before.labels == now.labels and before.regression == now.regression
    return alike and (len(kinds) == 1 or "choice" not in kinds)


def with_marks(loaded: Loaded) -> Loaded:
    """A causal model with the start, delimiter and extract tokens, and with padding that ends no text; each that is
    new gets a row of embeddings. An encoder has tokens of its own for this."""
    tokenizer, model = loaded.tokenizer, loaded.model
    assert tokenizer is not None
    if isinstance(model, Encoder):
        return loaded
    marks = [mark for mark in MARKS.values() if tokenizer.id_of(mark) is None]
    ends = (tokenizer.eos_id, tokenizer.end_of_text_id, tokenizer.end_of_turn_id, tokenizer.bos_id)
    pad = PAD if tokenizer.pad_id is None or tokenizer.pad_id in ends else None
    if not marks and pad is None:
        return loaded
    tokenizer = tokenizer.with_special([*marks, *([pad] if pad else [])], pad=pad)
    generation = {key: value for key, value in loaded.generation.items() if key != "pad_token_id" or pad is None}
    never = {tokenizer.id_of(mark) for mark in (*MARKS.values(), *([pad] if pad else []))}
    generation["suppress_tokens"] = sorted({*(generation.get("suppress_tokens") or ()), *never})
    size, old = tokenizer.vocab_size, loaded.weights
    weights = old
    if size > model.config.vocab_size:
        model = with_rows(model, size)
        weights = None if old is None else lambda: more_rows(old(), size)
    return replace(loaded, model=model, tokenizer=tokenizer, generation=generation, weights=weights)


def with_head(loaded: Loaded, n_outputs: int, dropout: float, seed: int) -> Loaded:
    """The model with a fresh class head, drawn with `seed`."""
    model, fresh = with_classes(loaded.model, n_outputs, dropout, torch.Generator().manual_seed(seed))
    if "pooler.weight" in fresh:
        say(f"note: {loaded.source.name} has no pooler; the class head gets a fresh one")
    old = loaded.weights
    return replace(loaded, model=model, weights=None if old is None else lambda: _with_fresh(old(), model, fresh, seed))


def _with_fresh(
    old: Iterable[tuple[str, Tensor]], model: Model, fresh: list[str], seed: int
) -> Iterable[tuple[str, Tensor]]:
    """The old weights, and then the fresh ones as `with_classes` draws them."""
    yield from ((name, value) for name, value in old if name not in fresh)
    generator = torch.Generator().manual_seed(seed)
    for name in fresh:
        value = torch.empty(model.get_parameter(name).shape)
        model.init_parameter(name, value, generator, False)
        yield name, value
