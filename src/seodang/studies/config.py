"""The options of the studies. No torch here: `seodang study VERB --help` reads this file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seodang.recipes.config import DType


@dataclass(kw_only=True)
class StudyConfig:
    """What every study shares."""

    out: Path
    """Folder of the study: its cells, tables, figure and commands. The same command goes on where it stopped."""
    eval: tuple[str, ...]
    """Files to evaluate on, with the task's name: sst2=dev.tsv cola=dev.tsv; several of a task are put together."""
    train: tuple[str, ...] = ()
    """Files to train on, in the same way."""
    max_length: int | None = None
    """Context length in tokens; the model's own by default."""
    micro_batch: int | None = None
    """Rows per forward pass. Never changes the result."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    dtype: DType = "auto"
    """Compute type; weights stay float32."""
    keep_models: bool = False
    """Keep each cell's model; otherwise its results and its commands stay."""
    dry_run: bool = False
    """Print the cells, their commands and about how long they take, and stop."""
    json: bool = False
    """Print the table as JSON."""
    quiet: bool = False
    """No line for each cell."""


@dataclass(kw_only=True)
class FinetuningStudyConfig(StudyConfig):
    """What the studies share that fine-tune."""

    model: str
    """The pre-trained Transformer: a folder, a run, or a name."""
    columns: tuple[str, ...] = ()
    """Columns of your own tables that are not found by their names, in all of them: text=review,label=stars."""
    seeds: int = 3
    """Runs of each cell, with the seeds 0, 1, …: of the fresh weights, the data's order and dropout."""
    epochs: float | None = None
    """Passes over the training data; 3 by default, as in the paper."""
    steps: int | None = None
    """Optimiser steps, in place of epochs."""
    batch_rows: int | None = None
    """Examples per step; 32 by default, as in the paper."""
    lr: float | None = None
    """Peak learning rate; the recipe's own by default."""
    aux_weight: float | None = None
    """λ of the auxiliary language-model loss; 0.5 by default, as in the paper."""


@dataclass(kw_only=True)
class TransferConfig(FinetuningStudyConfig):
    """Score against the number of transferred layers (GPT-1, fig. 2 left): embeddings alone, then layer by layer."""

    layers: tuple[int, ...] = ()
    """Numbers of layers to transfer; every one from 0 to the model's own by default."""


@dataclass(kw_only=True)
class AblationConfig(FinetuningStudyConfig):
    """Full, without the auxiliary loss, without pre-training, and an LSTM, fine-tuned alike (GPT-1, table 5)."""

    lstm: str | None = None
    """The pre-trained LSTM; without one, that row is left out."""


@dataclass(kw_only=True)
class ZeroShotConfig(StudyConfig):
    """The heuristics of GPT-1's sec. 5 along a pre-training run, Transformer against LSTM (fig. 2 right).

    Tasks: cola (by a threshold that fits the --train rows best), sst2, race, winogrande, pronouns. The models are sizes
    to pre-train on --data, or finished runs with the checkpoints they kept (seodang pretrain --save-every --keep).
    """

    transformer: str = "gpt1-mini"
    """Size to pre-train, or a run folder."""
    lstm: str = "lstm-mini"
    """Size to pre-train, or a run folder; none leaves it out."""
    data: tuple[Path, ...] = ()
    """Text to pre-train on."""
    tokenizer: str | None = None
    """Tokenizer folder; otherwise one is learned from the data, and both models share it."""
    vocab_size: int | None = None
    """Size of the vocabulary when one is learned."""
    steps: int | None = None
    """Optimiser steps of pre-training."""
    batch_tokens: int | None = None
    """Tokens per step."""
    points: int = 8
    """Checkpoints that are looked at, evenly spaced, besides the untrained model; all of a finished run's if 0."""
    seeds: int = 1
    """Pre-training runs of each model, with the seeds 0, 1, …"""
    rows: int = 1000
    """Rows of a task that are looked at, evenly spaced; 0 for all."""
    ceiling: tuple[str, ...] = ()
    """What counts as 1 in the figure, such as sst2=0.932; by default the best result before GPT-1 in its tables."""
