"""One step of every objective, however its rows are cut into micro-batches; what an evaluation's rows hold."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing
from torch import nn

from seodang.checkpoints.weights import fill
from seodang.data.batch import Batch
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.objectives.loss import Objective
from seodang.objectives.masked import MaskedLanguageModelling
from seodang.objectives.recurrent import CarriedState
from seodang.objectives.replaced import ReplacedTokenDetection
from seodang.objectives.seq2seq import TeacherForcing
from seodang.training.parallel import Ranks, join_ranks
from seodang.training.schedule import Schedule
from seodang.training.sharding import shard_model
from seodang.training.step import StepResult, evaluate, train_step
from seodang.training.trainer import Plan, Trainer
from tests.objectives import test_recurrent
from tests.objectives.helpers import Bag, Electra, Pair, V, batch_of_masks, batch_of_pairs, batch_of_targets
from tests.training.helpers import CPU

Case = tuple[Callable[[], nn.Module], Objective, Callable[[], Batch]]
SMALL: dict[str, Any] = {"vocab_size": V, "context_length": 16, "d_model": 16, "n_heads": 2, "d_head": 8}


def real(name: str, **sizes: Any) -> nn.Module:
    """A small model of a family, without dropout."""
    config = published(name, **{**SMALL, "n_kv_heads": 2, "d_ff": 32, "n_layers": 2, **sizes}).with_dropout(0.0)
    model = build_model(config)
    model.init_weights(torch.Generator().manual_seed(0))
    return model


CASES: dict[str, Case] = {
    "bert": (lambda: real("bert-tiny"), MaskedLanguageModelling("next_sentence"), batch_of_pairs),
    "albert": (lambda: real("albert-mini", d_embed=8), MaskedLanguageModelling("sentence_order"), batch_of_pairs),
    "electra": (lambda: real("electra-mini", d_embed=8), ReplacedTokenDetection(), batch_of_masks),
    "t5": (lambda: real("t5-mini", n_encoder_layers=2, init_std=0.3), TeacherForcing(), batch_of_targets),
    "bert-unpaired": (lambda: real("bert-tiny"), MaskedLanguageModelling(), batch_of_masks),
    "masked": (Bag, MaskedLanguageModelling(), batch_of_masks),
    "next-sentence": (Bag, MaskedLanguageModelling("next_sentence"), batch_of_pairs),
    "replaced": (Electra, ReplacedTokenDetection(), batch_of_masks),
    "seq2seq": (Pair, TeacherForcing(), batch_of_targets),
    "smoothed": (Pair, TeacherForcing(label_smoothing=0.1), batch_of_targets),
}


SHARDED = ("bert", "albert", "electra", "t5")


def step(case: str, micro_batches: list[Batch], model: nn.Module, ranks: Ranks | None = None) -> StepResult:
    return train_step(
        model, CASES[case][1], micro_batches, torch.optim.SGD(model.parameters()), lr=0.0, grad_clip=0, device=CPU,
        dtype=torch.float32, ranks=ranks,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rows", [1, 4])
def test_accumulation_changes_nothing(case: str, rows: int) -> None:
    make, _, batch = CASES[case]
    whole, pieces = make(), make()
    a, b = step(case, [batch()], whole), step(case, batch().split(rows), pieces)
    assert a.weights == b.weights and math.isfinite(a.loss) and not a.skipped
    assert a.loss == pytest.approx(b.loss, rel=1e-5) and a.n_tokens == b.n_tokens and a.n_bytes == b.n_bytes == 11
    for p, q in zip(whole.parameters(), pieces.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None and q.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_an_evaluation_does_not_depend_on_how_it_is_cut(case: str) -> None:
    make, objective, batch = CASES[case]
    model = make().eval()
    whole = evaluate(model, objective, [batch()], CPU, torch.float32)
    cut = evaluate(model, objective, batch().split(1), CPU, torch.float32)
    assert whole.weights == cut.weights and whole.loss == pytest.approx(cut.loss, rel=1e-5)
    for name, value in whole.parts.items():
        assert cut.parts[name] == pytest.approx(value, rel=1e-5)


def evaluated_streams(ranks: Ranks | None = None) -> list[float]:
    """The loss over windows whose states are carried on, and the tokens counted."""
    model, windows = test_recurrent.lively("lstm-mini"), [test_recurrent.window(step) for step in range(5)]
    total = evaluate(model.eval(), CarriedState(), windows, CPU, torch.float32, ranks)
    return [total.loss, float(total.n_tokens), total.weights["language"]]


def _rank_step(rank: int, folder: str) -> None:
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    ranks, found = join_ranks(CPU), {}
    for case, (make, objective, batch) in CASES.items():
        model, mine = make(), batch().split(1)[rank::2]
        result = step(case, mine, model, ranks)
        found[f"{case}/loss"] = torch.tensor(result.loss, dtype=torch.float64)
        found |= {f"{case}/{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
        total = evaluate(model.eval(), objective, batch().split(1), CPU, torch.float32, ranks)
        found |= {f"{case}/eval/{name}": torch.tensor(value) for name, value in total.parts.items()}
    found["streams"] = torch.tensor(evaluated_streams(ranks))
    for case in SHARDED:  # the same with every process holding half of each matrix
        model, sharded = CASES[case][0](), join_ranks(CPU, "full")
        weights = dict(model.named_parameters())
        model = build_model(model.config, "meta")
        shard_model(model, sharded)
        model.to_empty(device="cpu")
        with torch.no_grad():
            fill(model, weights.items(), origin="the test")
        result = step(case, CASES[case][2]().split(1)[rank::2], model, sharded)
        found[f"{case}/sharded/loss"] = torch.tensor(result.loss, dtype=torch.float64)
        for name, p in model.named_parameters():
            if p.grad is not None:
                found[f"{case}/sharded/{name}"] = p.grad.full_tensor()
    save_file(found, f"{folder}/{rank}.safetensors")
    torch.distributed.destroy_process_group()


def test_two_ranks_are_one(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    torch.multiprocessing.spawn(_rank_step, args=(str(tmp_path),), nprocs=2)
    found = [load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1)]
    for ours in found:
        assert ours["streams"].tolist() == pytest.approx(evaluated_streams(), rel=1e-6)
    for case, (make, objective, batch) in CASES.items():
        model = make()
        result = step(case, [batch()], model)
        alone = evaluate(model.eval(), objective, [batch()], CPU, torch.float32)
        for ours, way in product(found, ("", "sharded/") if case in SHARDED else ("",)):
            assert ours[f"{case}/{way}loss"].item() == pytest.approx(result.loss, rel=1e-5)
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    torch.testing.assert_close(ours[f"{case}/{way}{name}"], parameter.grad, rtol=1e-4, atol=1e-5)
                else:  # a gradient of 0 would be decayed
                    assert f"{case}/{way}{name}" not in ours
            for name, value in alone.parts.items():
                assert ours[f"{case}/eval/{name}"].item() == pytest.approx(value, rel=1e-5)


class _Loader:
    """The same batch for ever."""

    micro_batch_size = 8

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __iter__(self) -> Any:
        while True:
            yield [self.batch]

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def test_rows_of_an_evaluation_say_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, batch = Electra(), batch_of_masks()
    plan = Plan(Schedule("constant", 0.01), steps=3, eval_every=1)
    trainer = Trainer(
        model=model, objective=ReplacedTokenDetection(), loader=_Loader(batch), plan=plan, out=tmp_path,
        optimizer=torch.optim.SGD(model.parameters()), write_model=lambda folder: None, device=CPU, evaluation=[batch],
    )  # fmt: skip
    trainer._evaluate(None)
    result = trainer._evaluate(None)
    expected = {"masked_accuracy", "replaced_accuracy", "replaced_share", "replaced_recall"}
    assert set(result) == {"loss_per_token", "bits_per_byte", "generator_loss", "replaced_loss", *expected}
    trainer.save = lambda: None  # type: ignore[method-assign]
    trainer.fit()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    looked = [row for row in rows if row.get("split") == "eval"]
    assert looked and all(0 <= row[name] <= 1 for row in looked for name in expected)
    trained = [row for row in rows if "split" not in row]
    assert trained and all("replaced_loss" in row and "replaced_accuracy" not in row for row in trained)
    assert "replaced accuracy" in capsys.readouterr().err
