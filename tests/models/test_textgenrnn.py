"""textgenrnn's windows: the battery of causal models, as far as its sizes allow, and windows by hand."""

from __future__ import annotations

import pytest
import torch

from seodang.models.cost import n_parameters
from seodang.models.sizes import SIZES
from tests.models import test_decoders as battery
from tests.training.helpers import tiny

NAME = "textgenrnn"


def test_the_battery_of_causal_models() -> None:
    battery.test_packed_equals_alone(NAME)
    battery.test_packed_gradients_equal_alone(NAME)
    battery.test_left_padding_changes_nothing(NAME)
    battery.test_the_future_is_not_seen(NAME)
    battery.test_a_cache_can_be_cut_and_reordered(NAME)


@pytest.mark.parametrize("cuts", [(1,) * 14, (6, 1, 1, 6), (3, 11)])
def test_cached_equals_uncached(cuts: tuple[int, ...]) -> None:
    battery.test_cached_equals_uncached(NAME, cuts)


@torch.no_grad()
def test_a_window_is_all_that_is_seen() -> None:
    """Of a text of 20, the last place sees 16; before the text stand zeros."""
    model = tiny(NAME).eval()
    ids = torch.randint(1, 40, (1, 20), generator=torch.Generator().manual_seed(0))
    found = model(ids)
    torch.testing.assert_close(found[:, -1], model.average(ids[:, -16:]))
    early = torch.cat((torch.zeros(1, 14, dtype=torch.long), ids[:, :2]), dim=1)
    torch.testing.assert_close(found[:, 1], model.average(early))


def test_the_published_number_of_parameters() -> None:
    assert n_parameters(SIZES[NAME]) == 462_717
