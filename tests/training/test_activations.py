"""Activations that are computed twice or kept elsewhere: the same gradients from less memory."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import CheckpointPolicy

from seodang.data.batch import Batch
from seodang.models.base import Model
from seodang.models.cache import KVCache
from seodang.objectives.language import LanguageModelling
from seodang.training.activations import Mode, OffloadActivations, Offloaded, _policy, checkpoint_activations
from tests.training.helpers import one_step, ragged_batch, tiny

FAMILIES = ["gpt1-mini", "gpt2-mini", "gpt3-mini", "neox-mini", "llama-mini", "gemma2-mini", "gemma3-mini"]


def _documents(batch: Batch) -> Batch:
    """The batch with two documents in each row, which asks for an explicit mask."""
    documents = (torch.arange(batch.ids.shape[1]) > 4).long().expand_as(batch.ids).contiguous()
    return Batch(batch.ids, batch.targets, documents=documents)


def _step(model: Model, mode: Mode, dtype: torch.dtype) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients of one step in training mode, so that dropout draws."""
    checkpoint_activations(model, mode)
    torch.manual_seed(7)
    result = one_step(model.train(), [ragged_batch(), _documents(ragged_batch(seed=1))], dtype)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) == len(list(model.parameters()))
    return result.loss, gradients


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", ["blocks", "selective"])
@pytest.mark.parametrize("family", [*FAMILIES, "rnn-mini", "lstm-mini", "gru-mini"])
def test_the_gradients_are_the_same_with_dropout_too(family: str, mode: Mode, dtype: torch.dtype) -> None:
    changes = {"embedding_dropout": 0.1, "attention_dropout": 0.1, "residual_dropout": 0.1}
    loss, gradients = _step(tiny(family, **changes), "none", dtype)
    again, recomputed = _step(tiny(family, **changes), mode, dtype)
    assert loss == again
    assert all(torch.equal(a, b) for a, b in zip(gradients, recomputed, strict=True))


def _kept_bytes(model: Model, mode: Mode, batch: Batch) -> int:
    """Bytes that live between the forward and the backward pass: storages autograd or the checkpoints hold."""
    checkpoint_activations(model.train(), mode)
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model(batch.ids)
    del hidden
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_less_is_kept(family: str) -> None:
    model = tiny(family, n_layers=6)
    batch = ragged_batch(rows=4)
    everything, blocks = _kept_bytes(model, "none", batch), _kept_bytes(model, "blocks", batch)
    one_input = batch.ids.numel() * 16 * 4
    assert blocks < 0.25 * everything
    assert blocks <= (6 + 4) * one_input  # a block's input each; embedding, final norm, ids


def test_selective_computes_no_matrix_product_twice() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    def flops(mode: Mode) -> int:
        model = tiny("llama-mini").train()
        checkpoint_activations(model, mode)
        with FlopCounterMode(display=False) as counter:
            one_step(model, [ragged_batch()])
        return int(counter.get_total_flops())

    none, selective, blocks = flops("none"), flops("selective"), flops("blocks")
    assert none == selective < blocks


@torch.no_grad()
def test_names_and_generation_are_unaffected() -> None:
    plain, model = tiny("llama-mini").eval(), tiny("llama-mini").eval()
    checkpoint_activations(model, "blocks")
    assert list(plain.state_dict()) == list(model.state_dict())
    ids = ragged_batch(rows=2).ids
    caches = [KVCache(m.config, 2, 12) for m in (plain, model)]
    for part in (ids[:, :8], ids[:, 8:]):
        a, b = (m(part, cache=cache) for m, cache in zip((plain, model), caches, strict=True))
        assert torch.equal(a, b)
        for cache in caches:
            cache.advance(part.shape[1])


def test_offloaded_activations_come_back_the_same() -> None:
    changes = {"d_model": 64, "n_heads": 4, "d_head": 16, "n_kv_heads": 4, "d_ff": 256}
    gradients = []
    for objective in (LanguageModelling(), Offloaded(LanguageModelling())):
        model = tiny(**changes)
        torch.manual_seed(0)
        loss = objective(model, ragged_batch(rows=64))
        torch.autograd.backward(loss.total(objective.weights(ragged_batch(rows=64))))
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("mode", ["none", "blocks"])
def test_what_is_offloaded(mode: Mode) -> None:
    model = tiny(n_layers=4)
    checkpoint_activations(model, mode)
    moved = OffloadActivations(model, smallest=4096)
    with moved:
        hidden = model(ragged_batch().ids)
    stream = 8 * 12 * 16 * 4  # one residual stream: rows, positions, width, bytes
    if mode == "blocks":
        assert moved.moved_bytes <= 6 * stream  # every block's input, and the final norm's
    else:
        assert moved.moved_bytes > 6 * stream
    torch.autograd.backward(hidden.sum())


@pytest.mark.parametrize("mode", ["blocks", "selective"])
def test_a_compiled_model_keeps_less_too(mode: Mode) -> None:
    plain, compiled = tiny(n_layers=1), tiny(n_layers=1)
    checkpoint_activations(compiled, mode)
    compiled.compile(backend="aot_eager", fullgraph=True)
    one_step(plain, [ragged_batch()])
    one_step(compiled, [ragged_batch()])
    for p, q in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kernel", ["flash", "efficient", "cudnn"])
def test_selective_keeps_attention_but_not_where_its_kernel_draws_dropout(kernel: str) -> None:
    operator = getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}_attention").default
    q = torch.zeros(1, 2, 4, 8)
    bias = () if kernel == "flash" else (None, True)
    assert _policy(None, operator, q, q, q, *bias) == CheckpointPolicy.MUST_SAVE
    assert _policy(None, operator, q, q, q, *bias, 0.0, True) == CheckpointPolicy.MUST_SAVE
    assert _policy(None, operator, q, q, q, *bias, 0.1, True) == CheckpointPolicy.PREFER_RECOMPUTE
    assert _policy(None, operator, q, q, q, *bias, dropout_p=0.1) == CheckpointPolicy.PREFER_RECOMPUTE
