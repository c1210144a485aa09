"""Hyper-parameters where the user names none: the papers' for their own sizes, Kaplan's rule below them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from seodang.models.config import ModelConfig
from seodang.models.cost import n_parameters
from seodang.objectives.replaced import LAMBDA
from seodang.training.moments import StateKind
from seodang.training.optimizer import OptimizerKind
from seodang.training.schedule import Kind


@dataclass(frozen=True)
class Hyperparameters:
    """Of one training run. `warmup` below 1 is a share of the run, otherwise steps."""

    lr: float
    batch_tokens: int
    betas: tuple[float, float]
    weight_decay: float
    warmup: float
    min_lr_ratio: float
    schedule: Kind = "cosine"
    source: str = ""
    optimizer: OptimizerKind = "adamw"
    muon_lr: float | None = None
    """Peak rate of Muon's matrices; `lr` when not given."""
    optimizer_state: StateKind = "float32"
    eps: float = 1e-8


SMALL = 50_000_000
"""Parameters below which no paper of the lineage trained anything, and Kaplan's rule is used."""


def kaplan_lr(n: int) -> float:
    """Kaplan et al. 2020, eq. D.1: LR(N) ≈ 0.003239 − 0.0001395·ln N for N parameters."""
    return 0.003239 - 0.0001395 * math.log(n)


def pretraining(config: ModelConfig) -> Hyperparameters:
    """The family's own paper; below the sizes that papers train, its optimiser with Kaplan's rate and a small batch.

    Where a paper is silent (GPT-2's), GPT-3's table 2.1 speaks for its sizes.
    """
    n = n_parameters(config)
    if n >= SMALL:
        return PAPERS[config.family](config, n) if config.family in PAPERS else gpt3(config, n)
    small = Hyperparameters(
        kaplan_lr(n), 2048 if n < 8_000_000 else 8192, (0.9, 0.95), 0.1, 0.05, 0.1,
        source="Kaplan et al. 2020, eq. D.1; the rest as GPT-3",
    )  # fmt: skip
    if config.family in _RECURRENT:
        return replace(small, lr=_RECURRENT[config.family], source="measured on the mini sizes; the rest as GPT-3")
    if config.family not in ("transformer", *_ENCODERS):
        return small
    paper = PAPERS[config.family](config, n)
    # 50 times the discriminator's loss diverges at Kaplan's rates (docs/log.md): the paper's own for its small model
    lr = min(small.lr, paper.lr) if config.family == "electra" and discriminator_weight(config) > 1 else small.lr
    # half as many masked tokens in a step, twice as often, and encoders learn later (docs/log.md)
    batch_tokens = max(small.batch_tokens, 4096) if config.family in _ENCODERS else small.batch_tokens
    return replace(
        small, lr=lr, batch_tokens=batch_tokens, betas=paper.betas, eps=paper.eps, weight_decay=paper.weight_decay,
        schedule=paper.schedule, min_lr_ratio=paper.min_lr_ratio,
        source=f"Kaplan et al. 2020, eq. D.1; the optimiser as {paper.source}",
    )  # fmt: skip


def discriminator_weight(config: ModelConfig) -> float:
    """λ of ELECTRA's objective: app. A's 50 from the width of its smallest model on, below it 1, the lowest value that
    the authors tried. The weights that the discriminator has alone learn as fast with any λ, for Adam divides it out;
    in the embeddings, which both read, 50 drowns what the generator learns when they are narrow (docs/log.md)."""
    return LAMBDA if config.d_model >= 256 else 1.0


def gpt3(config: ModelConfig, n: int) -> Hyperparameters:
    """Brown et al. 2020, table 2.1 and appendix B, by the number of parameters."""
    rows = [(200e6, 6e-4, 0.5e6), (500e6, 3e-4, 0.5e6), (1e9, 2.5e-4, 0.5e6), (2e9, 2e-4, 1e6), (4e9, 1.6e-4, 1e6),
            (9e9, 1.2e-4, 2e6), (5e10, 1e-4, 2e6), (math.inf, 0.6e-4, 3.2e6)]  # fmt: skip
    lr, batch = next((lr, batch) for limit, lr, batch in rows if n < limit)
    warmup = 375e6 / batch
    return Hyperparameters(lr, int(batch), (0.9, 0.95), 0.1, warmup, 0.1, source="GPT-3, table 2.1 and appendix B")


def _gpt1(config: ModelConfig, n: int) -> Hyperparameters:
    return Hyperparameters(2.5e-4, 64 * 512, (0.9, 0.999), 0.01, 2000, 0.0, source="GPT-1, sec. 4.1")


def _llama(config: ModelConfig, n: int) -> Hyperparameters:
    lr = 3e-4 if n < 20e9 else 1.5e-4
    return Hyperparameters(lr, 4_000_000, (0.9, 0.95), 0.1, 2000, 0.1, source="LLaMA, table 2 and sec. 2.3")


def _like_llama(report: str) -> Callable[[ModelConfig, int], Hyperparameters]:
    """Of a family whose report states no rate and no batch."""
    source = f"LLaMA, table 2 and sec. 2.3 ({report} states neither rate nor batch)"
    return lambda config, n: replace(_llama(config, n), source=source)


def _gptneox(config: ModelConfig, n: int) -> Hyperparameters:
    rows = [(100e6, 1e-3), (300e6, 6e-4), (1.2e9, 3e-4), (2e9, 2e-4), (4e9, 1.6e-4), (math.inf, 1.2e-4)]
    lr = next(lr for limit, lr in rows if n < limit)
    return Hyperparameters(lr, 1024 * 2048, (0.9, 0.95), 0.1, 0.01, 0.1, source="Pythia's published configs")


def _bert(config: ModelConfig, n: int) -> Hyperparameters:
    return Hyperparameters(
        1e-4, 256 * 512, (0.9, 0.999), 0.01, 10_000, 0.0, "linear", "BERT, appendix A.2", eps=1e-6
    )


def _roberta(config: ModelConfig, n: int) -> Hyperparameters:
    large = n > 200e6
    return Hyperparameters(
        4e-4 if large else 6e-4, 8192 * 512, (0.9, 0.98), 0.01, 30_000 if large else 24_000, 0.0, "linear",
        "RoBERTa, table 9", eps=1e-6,
    )  # fmt: skip


def _albert(config: ModelConfig, n: int) -> Hyperparameters:
    # the paper's LAMB at 1.76e-3 with 4,096 rows is not ours: BERT's optimiser and batch, which it compares itself with
    return replace(_bert(config, n), source="BERT, appendix A.2 (ALBERT, sec. 4.1 uses LAMB)")


def _electra(config: ModelConfig, n: int) -> Hyperparameters:
    rows = 128 if config.d_model < 512 else 256 if n < 200e6 else 2048
    lr = 5e-4 if config.d_model < 512 else 2e-4
    return Hyperparameters(
        lr, rows * 512, (0.9, 0.999), 0.01, 10_000, 0.0, "linear", "ELECTRA, table 6", eps=1e-6
    )


def _transformer(config: ModelConfig, n: int) -> Hyperparameters:
    peak = config.d_model**-0.5 * 4000**-0.5
    return Hyperparameters(
        peak, 25_000, (0.9, 0.98), 0.0, 4000, 0.0, "inverse-sqrt", "the Transformer, sec. 5.1 to 5.3", eps=1e-9
    )


def _t5(config: ModelConfig, n: int) -> Hyperparameters:
    # its Adafactor steps are relative to the weights' size; no such rate exists for AdamW
    return replace(gpt3(config, n), batch_tokens=128 * 512, schedule="inverse-sqrt", warmup=10_000,
                   source="T5, sec. 3.1.2 (batch, schedule); the rate as GPT-3, table 2.1")  # fmt: skip


def _bart(config: ModelConfig, n: int) -> Hyperparameters:
    return replace(_roberta(config, n), source="RoBERTa, table 9 (BART, sec. 3 names its batch of 8,000 and no rate)")


PAPERS: dict[str, Callable[[ModelConfig, int], Hyperparameters]] = {
    "gpt1": _gpt1, "gptneox": _gptneox, "llama": _llama, "mistral": _like_llama("Mistral 7B's paper"),
    "qwen2": _like_llama("Qwen 2's report"), "qwen3": _like_llama("Qwen 3's report"),
    "gemma2": _like_llama("Gemma 2's report"), "gemma3": _like_llama("Gemma 3's report"),
    "bert": _bert, "roberta": _roberta, "albert": _albert, "electra": _electra,
    "transformer": _transformer, "t5": _t5, "t5v11": _t5, "bart": _bart,
}  # fmt: skip
"""Family → what its paper says of a model of `n` parameters; of the others, GPT-3 speaks."""

_RECURRENT = {"rnn": 1e-3, "lstm": 5e-3, "gru": 5e-3}
"""Rates of small recurrent models: no paper trains them with AdamW. Measured in runs of a few hundred steps."""

_ENCODERS = ("bert", "roberta", "albert", "electra")


@dataclass(frozen=True)
class FineTuning:
    """Of fine-tuning on labelled examples."""

    hyper: Hyperparameters
    rows: int
    """Examples of a step."""
    epochs: float
    aux_weight: float
    """λ of the auxiliary objective (GPT-1, eq. 5)."""
    head_dropout: float = 0.1


def fine_tuning(config: ModelConfig) -> FineTuning:
    """GPT-1, sec. 4.1, for causal models; BERT, appendix A.3, for encoders, which have no auxiliary objective.

    Below the sizes that papers train, and for recurrent models, the rate is a quarter of the pre-training rate, as
    GPT-1's 6.25e-5 is of its 2.5e-4.
    """
    if config.family in _ENCODERS:
        hyper = Hyperparameters(3e-5, 0, (0.9, 0.999), 0.01, 0.1, 0.0, "linear", "BERT, appendix A.3", eps=1e-6)
        found = FineTuning(hyper, 32, 3, 0.0)
    else:
        hyper = Hyperparameters(6.25e-5, 0, (0.9, 0.999), 0.01, 0.002, 0.0, "linear", "GPT-1, sec. 4.1")
        found = FineTuning(hyper, 32, 3, 0.5)
    if n_parameters(config) >= SMALL and config.family not in _RECURRENT:
        return found
    source = f"{hyper.source}; the rate a quarter of the pre-training rate, as GPT-1's"
    return replace(found, hyper=replace(hyper, lr=pretraining(config).lr / 4, source=source))


def instruction_tuning(config: ModelConfig) -> Hyperparameters:
    """InstructGPT's shape (appendix C.1: cosine to 10 %), at a tenth of the pre-training rate for small models."""
    n = n_parameters(config)
    lr = kaplan_lr(n) / 10 if n < 1_000_000_000 else 9.65e-6
    return Hyperparameters(
        lr, 4096 if n < SMALL else 8192, (0.9, 0.95), 0.0, 0.03, 0.1, source="InstructGPT, appendix C.1"
    )
