"""Twenty losses of every family, kept. A change of these numbers is explained in the changelog.

To make them anew: `python -m tests.golden.test_losses` prints the table.
"""

from __future__ import annotations

import pytest
import torch

from seodang.objectives.language import LanguageModelling
from seodang.training.optimizer import build_optimizer
from seodang.training.schedule import Schedule
from seodang.training.step import train_step
from tests.training.helpers import CPU, cut, ragged_batch, tiny

GOLDEN: dict[str, list[float]] = {
    "gpt1-mini": [
        3.714059511820475,
        3.7513569725884333,
        3.4940239588419595,
        3.540732913547092,
        3.3168346087137857,
        3.379836082458496,
        3.181841638353136,
        3.237948735555013,
        3.063180022769504,
        3.114533848232693,
        2.9623416794670954,
        3.016513188680013,
        2.8832591904534235,
        2.944211588965522,
        2.825744046105279,
        2.8944542143079968,
        2.7872225443522134,
        2.8629289203219943,
        2.762920273674859,
        2.84267086452908,
    ],
    "gpt2-mini": [
        3.693483034769694,
        3.7016471227010093,
        3.5564854939778647,
        3.5365381240844727,
        3.4095418718126087,
        3.3835776646931968,
        3.2702844407823353,
        3.251017040676541,
        3.1340638796488443,
        3.1379624472724066,
        3.0227206548055015,
        3.0482099850972495,
        2.9317937427096896,
        2.975939909617106,
        2.8676112492879233,
        2.924860636393229,
        2.824982166290283,
        2.890934467315674,
        2.7987886004977756,
        2.8678581449720593,
    ],
    "llama-mini": [
        3.6976573732164173,
        3.7209548950195312,
        3.538762516445584,
        3.582104788886176,
        3.4060807757907443,
        3.4379554324679904,
        3.274235407511393,
        3.3067301644219294,
        3.1598104900783963,
        3.192954911126031,
        3.057715786827935,
        3.095305972629123,
        2.9760354359944663,
        3.019508891635471,
        2.9165225558810763,
        2.9674549102783203,
        2.8773829672071667,
        2.934261586931017,
        2.8527665668063693,
        2.91239325205485,
    ],
}


def losses(name: str) -> list[float]:
    """Twenty steps over two batches in turn, so that there is something to learn."""
    model = tiny(name)
    optimizer = build_optimizer(model, lr=1e-2, weight_decay=0.1)
    schedule = Schedule(peak=1e-2, warmup=0.1)
    return [
        train_step(
            model, LanguageModelling(), cut(ragged_batch(seed=step % 2), 4), optimizer,
            lr=schedule.learning_rate((step + 1) / 20), grad_clip=1.0, device=CPU, dtype=torch.float32,
        ).loss
        for step in range(20)
    ]  # fmt: skip


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_twenty_losses(name: str) -> None:
    # other processors add in another order, which twenty steps carry to the sixth digit
    assert losses(name) == pytest.approx(GOLDEN[name], rel=2e-5)


if __name__ == "__main__":
    for name in ("gpt1-mini", "gpt2-mini", "llama-mini"):
        print(f'    "{name}": {losses(name)!r},')
