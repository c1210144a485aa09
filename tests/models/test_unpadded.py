"""A padded batch gives each text the states it has alone, packed or not."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest
import torch

from seodang.models import unpadded
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.models.unpadded import states_of_texts

LENGTHS = (3, 17, 1, 9, 30, 2)


@pytest.mark.parametrize("width", [32, 256])
@pytest.mark.parametrize("name", ["gpt1-mini", "gpt3-mini", "llama-mini", "gemma3-mini", "gru-mini", "textgenrnn",
                                  "bert-tiny", "roberta-mini", "albert-mini"])  # fmt: skip
def test_states_are_those_of_each_text_alone(name: str, width: int) -> None:
    config = replace(published(name), vocab_size=40).with_dropout(0)
    model = build_model(config)
    model.init_weights(torch.Generator().manual_seed(0))
    ids = torch.randint(4, 40, (len(LENGTHS), 40), generator=torch.Generator().manual_seed(1))
    segments = (ids > 20).long() if config.n_segments > 1 else None
    for right in (True, False):
        at = torch.arange(40) if right else torch.arange(40).flip(0)
        mask = at < torch.tensor(LENGTHS)[:, None]
        with patch.object(unpadded, "WIDTH", width), torch.no_grad():
            found = states_of_texts(model, ids, mask, segments)
            for row, n in enumerate(LENGTHS):
                part = slice(0, n) if right else slice(40 - n, 40)
                kinds = {} if segments is None else {"segments": segments[row : row + 1, part]}
                alone = model(ids[row : row + 1, part], **kinds)
                torch.testing.assert_close(found[row : row + 1, part], alone, rtol=1e-4, atol=1e-5)
        assert found.shape[:2] == ids.shape


def test_what_is_computed_is_little_more_than_the_texts() -> None:
    """62 tokens in 240 positions of a batch: two packed rows, of 32 positions at most."""
    model = build_model(replace(published("gpt2-mini"), vocab_size=40))
    model.init_weights()
    mask = torch.arange(40) < torch.tensor(LENGTHS)[:, None]
    seen = []
    model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].shape))
    with patch.object(unpadded, "WIDTH", 32):
        states_of_texts(model, torch.ones(6, 40, dtype=torch.long), mask)
    assert seen == [(2, 32)]
