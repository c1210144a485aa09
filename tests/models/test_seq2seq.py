"""Recurrent encoder-decoders: scores by hand, cached = uncached, padding, one step of each in plain numpy, learning."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seodang.checkpoints.huggingface import load_folder, save_folder
from seodang.checkpoints.verify import verify
from seodang.data.batch import Batch
from seodang.errors import UsageError
from seodang.models.cost import n_parameters
from seodang.models.families import build_model
from seodang.models.seq2seq import Seq2Seq, additive_scores, general_scores, weighted
from seodang.models.sizes import SIZES, published
from seodang.objectives.seq2seq import TeacherForcing
from seodang.training.step import train_step
from tests.training.helpers import CPU

NAMES = ["seq2seq-mini", "seq2seq-bahdanau-mini", "seq2seq-luong-mini"]
ATTENTIVE = NAMES[1:]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def tiny(name: str, **changes: Any) -> Seq2Seq:
    model = build_model(published(name, **{"vocab_size": 40, "d_model": 8, "d_head": 0, "d_embed": 6, **changes}))
    assert isinstance(model, Seq2Seq)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def _ids(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(3, 40, shape, generator=torch.Generator().manual_seed(seed))


def test_additive_scores_by_hand() -> None:
    """v = (2, -1), query (0.5, 0), keys (0.5, 1) and (-0.5, 0): 2·tanh 1 - tanh 1 and 2·tanh 0 - tanh 0."""
    query, keys = torch.tensor([[0.5, 0.0]]), torch.tensor([[[0.5, 1.0], [-0.5, 0.0]]])
    assert additive_scores(query, keys, torch.tensor([2.0, -1.0]))[0].tolist() == pytest.approx([math.tanh(1), 0.0])


def test_general_scores_and_weights_by_hand() -> None:
    """h = (1, 2) against (0, 1), (1, 0), (3, 3): scores 2, 1, 9; of the first two, e/(e + 1) and 1/(e + 1)."""
    scores = general_scores(torch.tensor([[1.0, 2.0]]), torch.tensor([[[0.0, 1.0], [1.0, 0.0], [3.0, 3.0]]]))
    assert scores[0].tolist() == [2.0, 1.0, 9.0]
    states = torch.tensor([[[10.0], [20.0], [99.0]]])
    weights, context = weighted(scores, states, torch.tensor([[True, True, False]]))
    share = math.e / (math.e + 1)
    assert weights[0].tolist() == pytest.approx([share, 1 - share, 0.0])
    assert context.item() == pytest.approx(10 * share + 20 * (1 - share))


@torch.no_grad()
@pytest.mark.parametrize("left", [True, False])
def test_padding_of_the_source_changes_nothing(name: str, left: bool) -> None:
    model = tiny(name)
    source, target = _ids(1, 9), _ids(1, 6, seed=1)
    filler = torch.full((1, 4), 39)
    padded = torch.cat((filler, source) if left else (source, filler), dim=1)
    documents = torch.tensor([[-1] * 4 + [0] * 9 if left else [0] * 9 + [-1] * 4])
    expected = model(target, memory=model.encode(source))
    for memory in (model.encode(padded, documents=documents), model.encode(padded, mask=documents >= 0)):
        torch.testing.assert_close(model(target, memory=memory), expected, rtol=0, atol=1e-6)
    assert (model(target, memory=model.encode(padded)) - expected).abs().max() > 1e-3
    nothing = model.encode(_ids(2, 5), documents=torch.tensor([[0] * 5, [-1] * 5]))
    assert torch.isfinite(model(_ids(2, 4), memory=nothing)).all()


@torch.no_grad()
def test_left_padding_of_the_target_changes_nothing(name: str) -> None:
    model = tiny(name)
    memory, target = model.encode(_ids(1, 9)), _ids(1, 6, seed=1)
    padded = torch.cat((torch.full((1, 4), 39), target), dim=1)
    found = model(padded, memory=memory, mask=torch.tensor([[False] * 4 + [True] * 6]))
    torch.testing.assert_close(found[:, 4:], model(target, memory=memory), rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("cuts", [(1,) * 8, (3, 1, 4)])
def test_cached_equals_uncached(name: str, cuts: tuple[int, ...]) -> None:
    model = tiny(name)
    target = _ids(2, 8, seed=1)
    memory = model.encode(_ids(2, 9), mask=torch.tensor([[True] * 9, [True] * 5 + [False] * 4]))
    cache = model.new_cache(2, 8, memory)
    pieces, at = [], 0
    for size in cuts:
        model(_ids(2, 2, seed=7), cache=cache)  # looking ahead changes nothing
        pieces.append(model(target[:, at : at + size], cache=cache))
        cache.advance(size)
        at += size
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(target, memory=memory), rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_cache_is_reordered_and_begins_again(name: str) -> None:
    model = tiny(name)
    sources, target = _ids(2, 9), _ids(2, 8, seed=1)
    memory = model.encode(sources, mask=torch.tensor([[True] * 9, [False] * 3 + [True] * 6]))
    cache = model.new_cache(2, 12, memory)
    model(target[:, :5], cache=cache)
    cache.advance(5)
    before, rows = cache.n_bytes(), torch.tensor([1, 1, 1])
    cache.select(rows)
    assert cache.batch == 3 and cache.n_bytes() * 2 == before * 3
    expected = model(target[rows], memory=memory.select(rows))
    torch.testing.assert_close(model(target[rows, 5:], cache=cache), expected[:, 5:], rtol=0, atol=1e-6)
    assert cache.truncate(2) == 0
    torch.testing.assert_close(model(target[rows], cache=cache), expected, rtol=0, atol=1e-6)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _lstm(layer: Any, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    w, u, b, d = (p.numpy() for p in layer.parameters())
    i, f, g, o = np.split(w @ x + u @ h + b + d, 4)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def _gru(layer: Any, x: Any, h: Any) -> Any:
    w, u, b, d = (p.numpy() for p in layer.parameters())
    (rx, zx, nx), (rh, zh, nh) = np.split(w @ x + b, 3), np.split(u @ h + d, 3)
    z = _sigmoid(zx + zh)
    return (1 - z) * np.tanh(nx + _sigmoid(rx + rh) * nh) + z * h


def _softmax(x: Any) -> Any:
    return np.exp(x) / np.exp(x).sum()


@torch.no_grad()
def test_sutskever_in_plain_numpy() -> None:
    model = tiny("seq2seq-mini", n_layers=1, n_encoder_layers=1)
    source, target, table = [5, 9, 7], [0, 12], model.embed.weight.numpy()
    h = c = np.zeros(8)
    for token in reversed(source):  # sec. 3.3
        h, c = _lstm(model.encoder.layers[0], table[token], h, c)
    expected = []
    for token in target:
        h, c = _lstm(model.layers[0], table[token], h, c)
        expected.append(h @ model.project.weight.numpy().T @ table.T + model.token_bias.numpy())
    found = model.logits(model(torch.tensor([target]), memory=model.encode(torch.tensor([source]))))
    np.testing.assert_allclose(found[0].numpy(), np.array(expected), atol=1e-5)


@torch.no_grad()
def test_bahdanau_in_plain_numpy() -> None:
    """Appendix A of the paper, one vector after another."""
    model = tiny("seq2seq-bahdanau-mini")
    source, target, table = [5, 9, 7], [0, 12], model.embed.weight.numpy()
    forward, backward, h = [], [], np.zeros(8)
    for token in source:
        h = _gru(model.encoder.layers[0], table[token], h)
        forward.append(h)
    h = np.zeros(8)
    for token in reversed(source):
        h = _gru(model.backward_encoder.layers[0], table[token], h)
        backward.insert(0, h)
    annotations = np.array([np.concatenate(pair) for pair in zip(forward, backward, strict=True)])
    s = np.tanh(model.start.weight.numpy() @ backward[0] + model.start.bias.numpy())
    expected, seen = [], []
    for token in target:
        scores = [
            model.score.weight.numpy()[0] @ np.tanh(model.query.weight.numpy() @ s + model.key.weight.numpy() @ a)
            for a in annotations
        ]
        seen.append(_softmax(np.array(scores)))
        context = seen[-1] @ annotations
        s = _gru(model.layers[0], np.concatenate((table[token], context)), s)
        t = model.project.weight.numpy() @ np.concatenate((s, table[token], context)) + model.project.bias.numpy()
        expected.append(table @ t.reshape(-1, 2).max(axis=1) + model.token_bias.numpy())
    memory, ids = model.encode(torch.tensor([source])), torch.tensor([target])
    np.testing.assert_allclose(model.logits(model(ids, memory=memory))[0].numpy(), np.array(expected), atol=1e-5)
    np.testing.assert_allclose(model.attention_weights(ids, memory)[0].numpy(), np.array(seen), atol=1e-6)


@torch.no_grad()
def test_luong_in_plain_numpy() -> None:
    model = tiny("seq2seq-luong-mini", n_layers=1, n_encoder_layers=1)
    source, target, table = [5, 9, 7], [0, 12], model.embed.weight.numpy()
    h, c, states = np.zeros(8), np.zeros(8), []
    for token in source:
        h, c = _lstm(model.encoder.layers[0], table[token], h, c)
        states.append(h)
    attentional, expected, seen = np.zeros(8), [], []
    for token in target:
        h, c = _lstm(model.layers[0], np.concatenate((table[token], attentional)), h, c)
        seen.append(_softmax(np.array([h @ model.key.weight.numpy() @ state for state in states])))
        context = seen[-1] @ np.array(states)
        attentional = np.tanh(model.combine.weight.numpy() @ np.concatenate((context, h)))
        expected.append(attentional @ model.project.weight.numpy().T @ table.T + model.token_bias.numpy())
    memory, ids = model.encode(torch.tensor([source])), torch.tensor([target])
    np.testing.assert_allclose(model.logits(model(ids, memory=memory))[0].numpy(), np.array(expected), atol=1e-5)
    np.testing.assert_allclose(model.attention_weights(ids, memory)[0].numpy(), np.array(seen), atol=1e-6)


def test_without_attention_there_are_no_weights() -> None:
    model = tiny("seq2seq-mini")
    with pytest.raises(UsageError, match="no attention"):
        model.attention_weights(_ids(1, 3), model.encode(_ids(1, 4)))


def test_sizes_that_do_not_go_together_are_told() -> None:
    with pytest.raises(UsageError, match="n_encoder_layers = 1 with n_layers = 2"):
        build_model(published("seq2seq-luong-mini", n_encoder_layers=1), "meta")
    with pytest.raises(UsageError, match="one layer"):
        build_model(published("seq2seq-bahdanau-mini", n_layers=2), "meta")


def test_minis_have_gpt2_minis_parameters(name: str) -> None:
    assert n_parameters(SIZES[name]) == pytest.approx(n_parameters(SIZES["gpt2-mini"]), rel=0.02)


@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_gives_back_what_was_saved(name: str, tied: bool, tmp_path: Path) -> None:
    model = tiny(name, tied=tied)
    save_folder(tmp_path / "m", model, None)
    loaded, _, _ = load_folder(tmp_path / "m")
    assert loaded.config == model.config
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    (report,) = verify(tmp_path / "m")
    assert report.passed, report.to_dict()


# -- learning ----------------------------------------------------------------------------------------------------------

LENGTH, VOCABULARY, STEPS = 6, 10, 120


def reversals(generator: torch.Generator, rows: int, shortest: int, longest: int) -> Batch:
    """Sources of random tokens, padded on the right, and their reversals as targets, which end with token 1."""
    source = torch.randint(3, VOCABULARY, (rows, LENGTH), generator=generator)
    lengths = torch.randint(shortest, longest + 1, (rows,), generator=generator)
    documents = torch.full((rows, LENGTH), -1)
    targets, decoder = torch.full((rows, LENGTH + 1), -100), torch.zeros(rows, LENGTH + 1, dtype=torch.long)
    for row, n in enumerate(lengths.tolist()):
        documents[row, :n] = 0
        targets[row, :n] = decoder[row, 1 : n + 1] = source[row, :n].flip(0)
        targets[row, n] = 1
    return Batch(source, targets, documents, decoder_ids=decoder)


def _accuracy(model: Seq2Seq, shortest: int, longest: int) -> float:
    batch = reversals(torch.Generator().manual_seed(9), 100, shortest, longest)
    with torch.no_grad():
        term = TeacherForcing()(model.eval(), batch)["token_accuracy"]
    model.train()
    return float(term.sum) / term.weight


@pytest.mark.parametrize("name", NAMES)
def test_reversing_is_learned_and_longer_texts_need_attention(name: str) -> None:
    model = build_model(published(name, vocab_size=VOCABULARY, d_model=32, d_embed=16, init_std=0.5))
    assert isinstance(model, Seq2Seq)
    model.init_weights(torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.train().parameters())
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        batch = reversals(generator, 32, 1, LENGTH)
        train_step(model, TeacherForcing(), [batch], optimizer, lr=1e-2, grad_clip=1.0, device=CPU, dtype=torch.float32)
    short, long = _accuracy(model, 1, 2), _accuracy(model, LENGTH - 1, LENGTH)
    assert short > 0.95
    if name in ATTENTIVE:
        assert long > 0.93
        weights = model.attention_weights(torch.tensor([[0, 3, 9]]), model.encode(torch.tensor([[4, 9, 3]])))
        assert weights.shape == (1, 3, 3) and weights.sum(-1).allclose(torch.ones(1, 3))
    else:
        assert long < 0.88
