"""Local layers keep what their window can reach, and give what the whole text would."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seodang.models.base import Model
from seodang.models.cache import SLACK, KVCache
from seodang.models.config import ModelConfig
from seodang.models.families import build_model
from seodang.models.sizes import published

WINDOW, LENGTH = 20, 400


def config() -> ModelConfig:
    sizes = published("llama-mini", vocab_size=40, d_model=16, n_layers=3, n_heads=4, n_kv_heads=2, d_head=4, d_ff=24)
    return replace(sizes, context_length=500, window=WINDOW, local_layers=(0, 2), init_std=0.3)


@pytest.fixture
def model() -> Model:
    made = build_model(config())
    made.init_weights(torch.Generator().manual_seed(0))
    return made.eval()


def ids(rows: int = 2) -> Tensor:
    return torch.randint(40, (rows, LENGTH), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("cuts", [(LENGTH,), (300, *(1,) * 100), (7, 150, 1, 1, 141, 100), (1,) * LENGTH])
def test_a_windowed_cache_changes_nothing(model: Model, cuts: tuple[int, ...]) -> None:
    text, at, pieces = ids(), 0, []
    cache = model.new_cache(2, 500)
    for size in cuts:
        pieces.append(model(text[:, at : at + size], cache=cache))
        cache.advance(size)
        at += size
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(text), rtol=0, atol=2e-5)


@torch.no_grad()
def test_the_window_is_what_is_seen(model: Model) -> None:
    one = build_model(replace(config(), n_layers=1, local_layers=(0,)))
    one.init_weights(torch.Generator().manual_seed(0))
    text, other = ids(1), ids(1)
    other[0, 100] = (other[0, 100] + 1) % 40
    changed = (one(text) - one(other)).abs().amax(dim=-1)[0] > 1e-6
    assert changed.nonzero().flatten().tolist() == list(range(100, 100 + WINDOW))


@torch.no_grad()
def test_left_padding_and_a_window(model: Model) -> None:
    text = ids(1)[:, :60]
    padded = torch.cat((torch.zeros(1, 9, dtype=torch.long), text), dim=1)
    mask = torch.arange(69)[None] >= 9
    cache = model.new_cache(1, 500)
    pieces = [model(padded[:, :50], mask=mask[:, :50], cache=cache)]
    cache.advance(50)
    for at in range(50, 69):
        pieces.append(model(padded[:, at : at + 1], mask=mask[:, : at + 1], cache=cache))
        cache.advance(1)
    torch.testing.assert_close(torch.cat(pieces, dim=1)[:, 9:], model(text), rtol=0, atol=2e-5)


def test_local_layers_cost_less() -> None:
    local = KVCache(config(), 2, 500).n_bytes()
    whole = KVCache(replace(config(), local_layers=()), 2, 500).n_bytes()
    assert local == whole * (500 + 2 * (WINDOW - 1 + 2 * SLACK)) // (3 * 500)


@torch.no_grad()
def test_what_can_be_taken_back(model: Model) -> None:
    text = ids(1)
    cache = model.new_cache(1, 500)
    model(text[:, :300], cache=cache)
    cache.advance(300)
    assert cache.truncate(300 - SLACK) == 300 - SLACK
    found = model(text[:, 300 - SLACK : 300], cache=cache)
    torch.testing.assert_close(found, model(text[:, :300])[:, -SLACK:], rtol=0, atol=2e-5)
    assert cache.truncate(100) == 0  # forgotten: the caller begins again
    torch.testing.assert_close(model(text[:, :50], cache=cache), model(text[:, :50]), rtol=0, atol=2e-5)


def test_fewer_keys_are_counted() -> None:
    made = build_model(config(), "meta")
    assert made.keys_seen(400) == 400 + 2 * WINDOW and made.keys_seen(10) == 30


@torch.no_grad()
def test_a_long_pass_that_was_not_counted_is_noticed(model: Model) -> None:
    """It has overwritten what the window before it needs."""
    cache, text = model.new_cache(1, 500), ids(1)
    model(text[:, :90], cache=cache)
    cache.advance(90)
    model(text[:, 90:215], cache=cache)
    with pytest.raises(AssertionError, match="truncate"):
        model(text[:, 90:91], cache=cache)
    assert cache.truncate(90) == 0
    torch.testing.assert_close(model(text[:, :90], cache=cache), model(text[:, :90]), rtol=0, atol=2e-5)
