"""The options of a run, typed and small. No torch here: `seodang pretrain --help` reads this file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DType = Literal["auto", "float32", "bfloat16"]
Schedule = Literal["cosine", "linear", "constant", "wsd", "inverse-sqrt"]
DecayShape = Literal["linear", "cosine", "1-sqrt"]
Optimizer = Literal["adamw", "muon"]
PretrainingTask = Literal[
    "auto", "language", "masked", "next-sentence", "sentence-order", "replaced", "spans", "infilling", "continuation",
    "pairs",
]  # fmt: skip
OptimizerState = Literal["float32", "bfloat16", "8bit"]


@dataclass(kw_only=True)
class RunConfig:
    """What every training run shares."""

    model: str
    """Published name (bert-base), one of ours (gpt2-mini, lstm-mini, bert-tiny, t5-mini, transformer-mini …), a folder,
    a GGUF file, an installed model (smollm2), or a hub id."""
    data: tuple[Path, ...]
    """Files to train on."""
    out: Path
    """Folder for the model, its checkpoints and metrics.jsonl."""
    eval: tuple[Path, ...] = ()
    """Files to evaluate on; without them a part of the data is held out."""
    eval_fraction: float = 0.02
    """Share of the data held out when no --eval files are given; 0 for none."""
    steps: int | None = None
    """Stop after this many optimiser steps."""
    epochs: float | None = None
    """Stop after this many passes over the data."""
    minutes: float | None = None
    """Stop after this much time; the schedule follows the clock."""
    batch_tokens: int | None = None
    """Tokens per optimiser step over all processes; accumulation is derived from it."""
    micro_batch: int | None = None
    """Rows per forward pass; chosen when not given, halved where memory runs out. Never changes the result."""
    max_length: int | None = None
    """Context length in tokens; the model's own by default."""
    lr: float | None = None
    """Peak learning rate; the recipe's own by default."""
    schedule: Schedule | None = None
    """Learning-rate schedule; the recipe's own by default."""
    decay_share: float | None = None
    """Share of the run, at its end, in which --schedule wsd decays; 0.2 by default."""
    decay_shape: DecayShape | None = None
    """How --schedule wsd decays; linear by default."""
    warmup: float | None = None
    """Warm-up, in steps, or below 1 as a share of the run."""
    min_lr_ratio: float | None = None
    """Learning rate at the end as a share of the peak."""
    optimizer: Optimizer = "adamw"
    """adamw, or muon for the matrices inside the layers and AdamW for everything else."""
    muon_lr: float | None = None
    """Peak rate of Muon's matrices; --lr's by default, as updates are scaled to the size of AdamW's."""
    optimizer_state: OptimizerState = "float32"
    """How the optimiser keeps its running means: bfloat16 takes half the memory, 8bit a quarter."""
    weight_decay: float | None = None
    """Decoupled weight decay on matrices."""
    beta2: float | None = None
    """AdamW's second-moment decay."""
    grad_clip: float = 1.0
    """Clip the gradient to this norm; 0 for no clipping."""
    dropout: float | None = None
    """Dropout probability; the model's own by default."""
    seed: int = 0
    """Seed of initialisation, data order and dropout."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    dtype: DType = "auto"
    """Compute type under autocast; weights stay float32."""
    shard: Literal["none", "full", "hybrid"] = "none"
    """Under torchrun each process holds the whole model (none: DDP), a part of it (full: FSDP), or a part of a copy,
    one copy a machine (hybrid)."""
    shard_size: int | None = None
    """Processes that share a copy under --shard hybrid; those of one machine by default."""
    tensor_parallel: int = 1
    """Neighbouring processes that share every matrix, and the rows, for models that do not fit otherwise."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile: auto uses it for pre-training that is long enough to repay it, where a compiler exists."""
    checkpoint_activations: Literal["none", "blocks", "selective"] = "none"
    """Keep less for the backward pass and compute it again: all but each block's input, or the cheap parts alone."""
    offload: Literal["none", "activations", "optimizer"] = "none"
    """On a GPU: keep activations, or the optimiser and its step, in main memory."""
    freeze: str | None = None
    """Parameters not to train, such as "embed,layers.0-3" or "layers.*.mlp"; kept in the compute type."""
    save_every: int | None = None
    """Checkpoint every so many steps; every 10 minutes by default."""
    keep: int = 2
    """Checkpoints to keep."""
    eval_every: int | None = None
    """Evaluate every so many steps; about 20 times in a run by default."""
    sample: tuple[str, ...] = ()
    """Prompts to continue at every evaluation."""
    profile: bool = False
    """After a warm-up, watch a few steps: OUT/profile/table.md and trace.json say where time and memory went."""
    profile_steps: int = 3
    """Steps to watch with --profile."""
    tensorboard: bool = False
    """Also write TensorBoard scalars."""
    dry_run: bool = False
    """Say what would happen and stop."""
    resume: bool = False
    """Continue from the newest whole checkpoint in --out."""
    json: bool = False
    """Print the result as JSON."""
    quiet: bool = False
    """No live progress."""


@dataclass(kw_only=True)
class PretrainConfig(RunConfig):
    """Train a model on plain text, as its family's paper does: to predict the next token, masked ones, spans …"""

    task: PretrainingTask = "auto"
    """What to learn: language (next token), masked (RoBERTa), next-sentence (BERT: masked, too), sentence-order
    (ALBERT), replaced (ELECTRA), spans (T5), infilling (BART), continuation, pairs (rows of two texts); auto: the
    family's own."""

    tokenizer: str | None = None
    """Tokenizer folder; otherwise the model's own, or one is learned from the data."""
    vocab_size: int | None = None
    """Size of the vocabulary when one is learned."""
    from_scratch: bool = False
    """Fresh weights even if the model has trained ones."""
    zero_init: bool = False
    """Fresh weights: projections that write into the residual stream start at zero, not as the paper's."""
    document_mask: bool = True
    """Attention never crosses from one document into the next."""


@dataclass(kw_only=True)
class SFTConfig(RunConfig):
    """Instruction-tune: teacher forcing on questions and answers or dialogues; only answers carry loss."""

    train_on: Literal["all", "last", "flags"] = "all"
    """Assistant turns that carry loss: all, the last one, or those flagged in the data."""
    too_long: Literal["drop", "truncate", "error"] = "drop"
    """Rows longer than the context: drop and say so, cut the prompt from the left, or stop."""
    max_lost: float = 0.1
    """Stop (exit 3) when more than this share of rows would be lost."""
    system: str | None = None
    """System prompt put before rows that have none."""


@dataclass(kw_only=True)
class FinetuneConfig(RunConfig):
    """Fine-tune on labelled examples: a class head on the last token (decoders) or on [CLS] (encoders)."""

    task: str = "classify"
    """A published set (sst2, cola, kobest-boolq …), or classify, entail, similar, choice or regress for tables of your
    own."""
    columns: tuple[str, ...] = ()
    """Columns of your own tables that are not found by their names: text=review,label=stars, answers=a+b+c."""
    eval_fraction: float = 0.1
    """Share of the data held out when no --eval files are given; 0 for none."""
    too_long: Literal["cut", "drop", "error"] = "cut"
    """Examples longer than --max-length: cut their texts (never answers), drop them and say so, or stop."""
    max_lost: float = 0.1
    """Stop (exit 3) when --too-long drop would lose more than this share of the examples."""
    batch_rows: int | None = None
    """Examples per optimiser step; 32 by default, as in the papers."""
    aux_weight: float | None = None
    """λ of GPT-1's auxiliary language-model loss on the texts; 0.5 by default, 0 for encoders."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: a class counts inversely to how often it occurs."""
    head_dropout: float | None = None
    """Dropout before the class head; 0.1 by default."""
    from_scratch: bool = False
    """Fresh weights even if the model has trained ones: the baseline without pre-training."""
    transfer_layers: int | None = None
    """Keep the embeddings and so many of the model's first layers as they were trained; the others are fresh."""
