"""Every objective teaches: the alphabet, in circles from any letter on, can be guessed from what is left of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seodang.data.masked_rows import MaskedRows
from seodang.data.rows import RowLoader, Rows, row_batches
from seodang.data.seq2seq_rows import ContinuationRows, InfillingRows, SpanCorruptionRows
from seodang.data.shards import TokenShards, build_shards
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.objectives.loss import Objective
from seodang.objectives.masked import MaskedLanguageModelling
from seodang.objectives.replaced import ReplacedTokenDetection
from seodang.objectives.seq2seq import TeacherForcing
from seodang.training.step import evaluate, train_step
from tests.data.conftest import ByteTokenizer
from tests.data.test_rows import special
from tests.training.helpers import CPU

LENGTH = 32
Make = Callable[[TokenShards, int], Rows]


def masked(mode: Any) -> Make:
    return lambda shards, start: MaskedRows(shards, special(), length=LENGTH, mode=mode, short=0)


def spans(shards: TokenShards, start: int) -> Rows:
    return SpanCorruptionRows(shards, special(), length=LENGTH, start=start)


def infilling(shards: TokenShards, start: int) -> Rows:
    return InfillingRows(shards, special(), length=LENGTH, start=start)


def continuation(shards: TokenShards, start: int) -> Rows:
    return ContinuationRows(shards, special(), length=LENGTH, start=start)


# What 500 steps reach, with room to spare. A guesser has 1/26, 1/2 and, of replaced tokens, a recall of 0.
CASES: dict[str, tuple[str, Make, Objective, dict[str, float]]] = {
    "masked": ("bert-tiny", masked("plain"), MaskedLanguageModelling(), {"masked_accuracy": 0.6}),
    "next sentence": (
        "bert-tiny", masked("nsp"), MaskedLanguageModelling("next_sentence"), {"next_sentence_accuracy": 0.6}
    ),
    "replaced": (
        "electra-mini", masked("plain"), ReplacedTokenDetection(), {"replaced_recall": 0.15, "replaced_accuracy": 0.88}
    ),
    "spans": ("t5v1.1-mini", spans, TeacherForcing(), {"token_accuracy": 0.7}),
    "infilling": ("bart-mini", infilling, TeacherForcing(), {"token_accuracy": 0.9}),
    "continuation": ("t5v1.1-mini", continuation, TeacherForcing(label_smoothing=0.1), {"token_accuracy": 0.9}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_alphabet_is_learned(tmp_path: Path, case: str) -> None:
    name, rows, objective, least = CASES[case]
    letters = "abcdefghijklmnopqrstuvwxyz" * 4
    texts = [letters[i % 26 :][: 60 + i % 7] for i in range(300)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    shards = build_shards(tmp_path / "a.jsonl", ByteTokenizer(), tmp_path / "shards")
    sizes: dict[str, Any] = {"vocab_size": 300, "context_length": LENGTH, "d_model": 64, "d_ff": 128, "n_layers": 2}
    sizes |= {"n_heads": 2, "n_kv_heads": 2, "d_head": 32, "n_encoder_layers": 2 * name.startswith(("t5", "bart"))}
    sizes |= {"init_std": 0.1} if name.startswith(("bert", "electra")) else {}  # 0.02 is for larger widths
    sizes |= {"d_embed": 64, "generator_share": 0.5} if name[0] == "e" else {}
    model = build_model(published(name, **sizes).with_dropout(0.0))
    model.init_weights(torch.Generator().manual_seed(0))
    loader = RowLoader(rows(shards, 1), tokens_per_step=16 * LENGTH, micro_batch_size=16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(500):
        lr = 3e-3 * min(1, (step + 1) / 50) * (1 - step / 500)
        train_step(
            model.train(), objective, loader.next_step(), optimizer, lr=lr, grad_clip=1, device=CPU, dtype=torch.float32
        )
    batches = list(row_batches(rows(shards, 1), 32, max_tokens=3000))
    found = evaluate(model.eval(), objective, batches, CPU, torch.float32).parts
    assert all(found[key] > value for key, value in least.items()), found
