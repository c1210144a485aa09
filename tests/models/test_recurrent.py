"""Cells worked by hand, states that are carried, runs of documents, what a state costs. Beside the battery of every
causal model (test_decoders.py)."""

from __future__ import annotations

import math

import pytest
import torch

from seodang.errors import UsageError
from seodang.models.base import UNLIMITED
from seodang.models.cost import n_matmul_parameters, n_parameters, training_bytes, training_flops_per_token
from seodang.models.families import build_model
from seodang.models.recurrent import Recurrent, Runs
from seodang.models.sizes import SIZES, published
from tests.training.helpers import tiny

NAMES = ["rnn-mini", "lstm-mini", "gru-mini"]


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest) -> Recurrent:
    made = tiny(str(request.param)).eval()
    assert isinstance(made, Recurrent)
    return made


def _ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 40, shape, generator=torch.Generator().manual_seed(seed))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("family", ["rnn", "lstm", "gru"])
def test_one_cell_by_hand(family: str) -> None:
    """One unit, two tokens: x = 0.5, then -1.0, with every gate's W, U and both its biases another number."""
    model = build_model(published(f"{family}-mini", vocab_size=2, d_embed=1, d_model=1, n_layers=1, tied=False)).eval()
    gates = {"rnn": 1, "lstm": 4, "gru": 3}[family]
    w, u, b, d = ([value * (n + 1) for n in range(gates)] for value in (0.3, -0.2, 0.1, 0.05))
    layer = model.layers[0]
    with torch.no_grad():
        model.embed.weight.copy_(torch.tensor([[0.5], [-1.0]]))
        for parameter, numbers in zip(layer.parameters(), (w, u, b, d), strict=True):
            parameter.copy_(torch.tensor(numbers).view_as(parameter))
        found = model(torch.tensor([[0, 1]]))[0, :, 0].tolist()
    h = c = 0.0
    expected = []
    for x in (0.5, -1.0):
        z = [w[n] * x + u[n] * h + b[n] + d[n] for n in range(gates)]
        if family == "rnn":
            h = math.tanh(z[0])
        elif family == "lstm":
            i, f, g, o = _sigmoid(z[0]), _sigmoid(z[1]), math.tanh(z[2]), _sigmoid(z[3])
            c = f * c + i * g
            h = o * math.tanh(c)
        else:
            reset, update = _sigmoid(z[0]), _sigmoid(z[1])
            new = math.tanh(w[2] * x + b[2] + reset * (u[2] * h + d[2]))
            h = (1 - update) * new + update * h
        expected.append(h)
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_output_is_the_embedding_behind_a_projection_and_a_bias(model: Recurrent) -> None:
    hidden = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.token_bias.copy_(torch.arange(40.0))
        expected = hidden @ model.project.weight.T @ model.embed.weight.T + torch.arange(40.0)
        torch.testing.assert_close(model.logits(hidden), expected)


def test_runs_by_hand() -> None:
    """Rows of 7: documents of 3 and 4 tokens; padding, then 5 tokens and padding; nothing at all."""
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [-1, 2, 2, 2, 2, 2, -1], [-1] * 7])
    runs = Runs.of(documents, None)
    assert runs is not None
    assert runs.rows.tolist() == [0, 0, 1]
    assert runs.first.tolist() == [True, False, True] and runs.last.tolist() == [False, True, True]
    # 3 = 2 + 1, 4 = 4, 5 = 4 + 1
    assert [(size, chosen.tolist()) for size, chosen in runs.pieces] == [(4, [1, 2]), (2, [0]), (1, [0, 2])]
    assert runs.places.tolist() == [3, 4, 5, 6, 8, 9, 10, 11, 0, 1, 2, 12]
    assert Runs.of(None, torch.ones(2, 3, dtype=torch.bool)) is None and Runs.of(None, None) is None


@torch.no_grad()
def test_holes_in_a_mask_leave_the_state_alone(model: Recurrent) -> None:
    ids = _ids(2, 9)
    mask = torch.tensor([[0, 1, 1, 0, 1, 1, 1, 0, 1], [1] * 9], dtype=torch.bool)
    cache = model.new_cache(2, 9)
    found = model(ids, mask=mask, cache=cache)
    cache.advance(9)
    alone, alone_cache = ids[:1, mask[0]], model.new_cache(1, 9)
    torch.testing.assert_close(found[0, mask[0]], model(alone, cache=alone_cache)[0], rtol=0, atol=1e-6)
    alone_cache.advance(6)
    torch.testing.assert_close(cache.state[:, :, :1], alone_cache.state, rtol=0, atol=1e-6)
    assert not found[0, ~mask[0]].any()


@torch.no_grad()
def test_a_batch_of_padding_changes_no_state(model: Recurrent) -> None:
    cache = model.new_cache(2, 9)
    model(_ids(2, 5), cache=cache)
    cache.advance(5)
    before = cache.state.clone()
    assert not model(_ids(2, 4), documents=torch.full((2, 4), -1), cache=cache).any()
    cache.advance(4)
    assert torch.equal(cache.state, before)


@torch.no_grad()
def test_a_cache_and_documents_together(model: Recurrent) -> None:
    """The first document goes on from the cache, the second begins anew, and its end is what is remembered."""
    ids, more, last = _ids(1, 6), _ids(1, 8, seed=1), _ids(1, 3, seed=2)
    cache = model.new_cache(1, 30)
    model(ids, cache=cache)
    cache.advance(6)
    found = model(more, documents=torch.tensor([[0] * 3 + [1] * 5]), cache=cache)
    cache.advance(8)
    found = torch.cat((found, model(last, cache=cache)), dim=1)
    first = model(torch.cat((ids, more[:, :3]), dim=1))[:, 6:]
    second = model(torch.cat((more[:, 3:], last), dim=1))
    torch.testing.assert_close(found, torch.cat((first, second), dim=1), rtol=0, atol=1e-6)


@torch.no_grad()
def test_looking_ahead_changes_nothing(model: Recurrent) -> None:
    ids = _ids(2, 8)
    cache = model.new_cache(2, 20)
    model(ids[:, :5], cache=cache)
    cache.advance(5)
    model(_ids(2, 3, seed=9), cache=cache)  # not advanced
    assert cache.truncate(5) == 5
    found = model(ids[:, 5:], cache=cache)
    torch.testing.assert_close(found, model(ids)[:, 5:], rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_state_does_not_go_back(model: Recurrent) -> None:
    cache = model.new_cache(2, 20)
    model(_ids(2, 5), cache=cache)
    cache.advance(5)
    assert cache.truncate(4) == 0 and cache.length == 0 and not cache.state.any()
    n_states = 2 if model.config.family == "lstm" else 1
    assert cache.n_bytes() == 4 * 2 * n_states * 2 * 16 and cache.capacity == model.max_tokens == UNLIMITED


def test_initialisation() -> None:
    model = build_model(published("lstm-mini"))
    model.init_weights(torch.Generator().manual_seed(0))
    state, width = model.state_dict(), 232
    for n in range(2):
        bias = state[f"layers.{n}.bias_ih_l0"] + state[f"layers.{n}.bias_hh_l0"]
        assert bool((bias[width : 2 * width] == 1).all()) and bias.sum() == width  # forget gates alone
        weight = state[f"layers.{n}.weight_hh_l0"]
        assert weight.abs().max() <= 1 / math.sqrt(width)
        assert weight.std().item() == pytest.approx(1 / math.sqrt(3 * width), rel=0.01)
    assert state["embed.weight"].std().item() == pytest.approx(0.1, rel=0.01)
    gru = tiny("gru-mini")
    assert not gru.layers[0].bias_ih_l0.any()


def test_dropout_is_between_layers_and_not_from_token_to_token() -> None:
    """With everything between the layers dropped, the only thing left is what a layer makes of its own past."""
    model = tiny("lstm-mini", residual_dropout=0.999, embedding_dropout=0.0).train()
    cache = model.new_cache(1, 8)
    ids = _ids(1, 8)
    model(ids, cache=cache)
    cache.advance(8)
    plain = tiny("lstm-mini").eval()
    plain_cache = plain.new_cache(1, 8)
    plain(ids, cache=plain_cache)
    plain_cache.advance(8)
    torch.testing.assert_close(cache.state[0], plain_cache.state[0])  # the first layer's input was not dropped
    assert not torch.allclose(cache.state[1], plain_cache.state[1])


def test_minis_have_gpt2_minis_parameters() -> None:
    wanted = n_parameters(SIZES["gpt2-mini"])
    for name in NAMES:
        assert n_parameters(SIZES[name]) == pytest.approx(wanted, rel=0.02)


def test_zarembas_medium_lstm_by_hand() -> None:
    """Two tables of 10,000 × 650, two layers of 4 gates with 650 inputs, 650 states and two biases, an output bias."""
    assert n_parameters(SIZES["lstm-zaremba-medium"]) == 2 * 6_500_000 + 2 * 4 * 650 * (650 + 650 + 2) + 10_000


def test_cost_by_hand() -> None:
    config = published("lstm-mini")
    matrices = 4 * 232 * (128 + 232) + 4 * 232 * 464 + 232 * 128 + 8192 * 128
    assert n_matmul_parameters(config) == matrices
    assert training_flops_per_token(config, 100_000) == 6 * matrices  # however long the text is
    less, more = (training_bytes(config, n, low_precision=False) for n in (1000, 3000))
    # a token keeps, in each of two layers, its input, four gates and two states, the states twice
    kept = 4 * 2 * (4 + 2 * 2 + 1) * 232
    assert 2000 * kept < more - less < 2000 * (2 * kept + 4 * 8192)


def test_recomputed_layers_give_the_same_gradients() -> None:
    from seodang.training.activations import checkpoint_activations

    documents = torch.tensor([[0] * 4 + [1] * 5] * 2)
    grads = []
    for mode in ("none", "blocks", "selective"):
        model = tiny("lstm-mini", residual_dropout=0.2).train()
        checkpoint_activations(model, mode)  # type: ignore[arg-type]
        torch.manual_seed(3)
        model(_ids(2, 9), documents=documents).square().sum().backward()
        grads.append([p.grad for p in model.parameters() if p.grad is not None])
    for other in grads[1:]:
        assert all(torch.equal(a, b) for a, b in zip(grads[0], other, strict=True))


def test_an_unknown_size_of_this_kind_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        published("lstm-mni")
    assert "lstm-mini" in caught.value.fix
