"""log P of the last tokens of many rows of ids, as fast as the machine allows.

Rows that begin alike are computed together (`inference/trees.py`); what all of them begin with is kept in a cache; only
the states that predict a counted token are multiplied with the vocabulary. Where a model's memory cannot branch
(recurrent networks) rows are padded on the right, where no real token looks.

Shapes: B rows, T tokens of a pass, P tokens in the cache, N states that predict something, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seodang.inference.beginning import begin
from seodang.inference.decode import common_prefix
from seodang.inference.sampling import Settings
from seodang.inference.scoring import pad_right
from seodang.inference.trees import Tree, plant
from seodang.models.base import Model
from seodang.models.decoder import Decoder

BUDGET = {"cpu": 512}
"""Tokens of a pass: enough for the processor's peak, few enough for its caches."""
_BUDGET = 8192
_STATES = 256
"""States whose scores over the vocabulary are alive at a time."""
_WORTH_A_CACHE = 16
"""Tokens that all rows must have in common to be computed apart."""

Found = tuple[float, bool]
"""log P of the counted tokens together, and whether each is the most probable one."""


@dataclass(frozen=True, slots=True)
class Row:
    """Ids of a text, of which the last `n_counted` are predicted; of an encoder-decoder the ids of the answer."""

    ids: tuple[int, ...]
    n_counted: int
    source: tuple[int, ...] = ()

    @property
    def read(self) -> tuple[int, ...]:
        """What the model reads: the last id is only predicted."""
        return self.ids[:-1]


@torch.inference_mode()
def logprobs(model: Model, rows: Sequence[Row], *, budget: int | None = None) -> list[Found]:
    """(log P of its counted ids, whether all are the most probable ones) of each row, by a causal model.

    Every row has at least one id before its counted ones. No result depends on the other rows, up to rounding.
    budget: about how many tokens go through the model at a time; chosen by the device where not given.
    """
    device = model.output_weight.device
    budget = budget or BUDGET.get(device.type, _BUDGET)
    return _in_trees(model, rows, budget) if can_branch(model) else _padded(model, rows, budget)


def can_branch(model: Model) -> bool:
    """Whether a forward pass can hold texts that share a beginning: attention that can be told what it sees, and
    positions that do not depend on how long a text is."""
    return isinstance(model, Decoder) and not _adaptive(model)


def _adaptive(model: Model) -> bool:
    return any(
        rope is not None and rope.scaling in ("dynamic", "longrope")
        for rope in (model.config.rope, model.config.rope_local)
    )


def _in_trees(model: Model, rows: Sequence[Row], budget: int) -> list[Found]:
    # a row that only counts other ids of a text that is already there needs no pass of its own
    texts = sorted({row.read for row in rows})
    owners: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(rows):
        owners.setdefault(row.read, []).append(number)
    start = _common(texts, min((len(row.ids) - row.n_counted - 1 for row in rows), default=0))
    if start < _WORTH_A_CACHE or model.config.local_layers:  # a local layer's memory cannot be used twice
        start = 0
    cache = None
    if start:
        longest = max(map(len, texts)) - start
        cache = model.new_cache(1, start + max(2 * budget, longest))
        for first in range(0, start, budget):
            piece = texts[0][first : min(first + budget, start)]
            model(torch.tensor([piece], device=model.output_weight.device), cache=cache)
            cache.advance(len(piece))
    found: dict[int, Found] = {}
    for tree in plant(texts, budget, start):
        states = _states(model, tree, cache)
        asked = [
            (number, path[len(path) - rows[number].n_counted :])
            for text, path in tree.paths
            for number in owners[texts[text]]
        ]
        for (number, _), value in zip(asked, _found(model, states, rows, asked), strict=True):
            found[number] = value
    return [found[number] for number in range(len(rows))]


def _common(texts: Sequence[tuple[int, ...]], limit: int) -> int:
    """How many tokens all sorted texts begin with, at most `limit`."""
    return min(limit, common_prefix(texts[0], texts[-1])) if texts else 0


def _states(model: Model, tree: Tree, cache: object) -> Tensor:
    """The hidden states of a tree's tokens (T, D). The cache is written to, and not advanced."""
    device = model.output_weight.device
    ids = torch.tensor([tree.ids], device=device)
    if tree.is_chain:
        return model(ids, cache=cache)[0]
    positions = torch.tensor([tree.depths], device=device)
    return model(ids, positions=positions, visible=tree.visible(device), cache=cache)[0]


def _found(
    model: Model, states: Tensor, rows: Sequence[Row], asked: Sequence[tuple[int, Sequence[int]]]
) -> list[Found]:
    """What is found of each (number of the row, places of the states that predict its counted ids)."""
    places = sorted({place for _, path in asked for place in path})
    slot = {place: number for number, place in enumerate(places)}
    by_place: list[list[tuple[int, int]]] = [[] for _ in places]  # (which of `asked`, token)
    for number, (row, path) in enumerate(asked):
        for place, token in zip(path, rows[row].ids[-rows[row].n_counted :], strict=True):
            by_place[slot[place]].append((number, token))
    wanted = states[torch.tensor(places, device=states.device)]
    sums, greedy = [0.0] * len(asked), [True] * len(asked)
    for first in range(0, len(places), _STATES):
        scores = model.logits(wanted[first : first + _STATES]).float()
        asked_here = [
            (at, number, token)
            for at, tokens in enumerate(by_place[first : first + _STATES])
            for number, token in tokens
        ]
        at, tokens = (torch.tensor([one[i] for one in asked_here], device=scores.device) for i in (0, 2))
        best = (scores.argmax(-1)[at] == tokens).tolist()
        # torch's float32 log_softmax is 1e-5 too high for 50,000 tokens; whoever we are compared with has it as well
        values = scores.log_softmax(-1)[at, tokens].tolist()
        for (_, number, _), value, is_best in zip(asked_here, values, best, strict=True):
            sums[number] += value
            greedy[number] &= is_best
    return list(zip(sums, greedy, strict=True))


def _padded(model: Model, rows: Sequence[Row], budget: int) -> list[Found]:
    """The same for models whose memory cannot branch: rows of like length side by side, equal rows once."""
    texts = sorted({row.read for row in rows}, key=len)
    owners: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(rows):
        owners.setdefault(row.read, []).append(number)
    found: dict[int, Found] = {}
    first = 0
    while first < len(texts):
        last = first + 1
        while last < len(texts) and (last - first + 1) * len(texts[last]) <= budget and (
            not _adaptive(model) or len(texts[last]) == len(texts[first])
        ):  # fmt: skip
            last += 1
        batch = texts[first:last]
        hidden = model(pad_right(batch, model.output_weight.device))
        width = hidden.shape[1]
        asked = [
            (number, range(at * width + len(text) - rows[number].n_counted, at * width + len(text)))
            for at, text in enumerate(batch)
            for number in owners[text]
        ]
        for (number, _), value in zip(asked, _found(model, hidden.flatten(0, 1), rows, asked), strict=True):
            found[number] = value
        first = last
    return [found[number] for number in range(len(rows))]


@torch.inference_mode()
def answers(model: Model, rows: Sequence[Row], settings: Settings, *, budget: int | None = None) -> list[Found]:
    """The same by an encoder-decoder, of each row's whole answer; a source that several answer is encoded once.

    settings: what the decoder begins with. Raises DataError where neither they nor the model say.
    """
    budget = budget or BUDGET.get(model.output_weight.device.type, _BUDGET)
    order = sorted(range(len(rows)), key=lambda number: (len(rows[number].source), rows[number].source))
    found: dict[int, Found] = {}
    first = 0
    while first < len(order):
        last = first + 1
        while last < len(order) and (last - first + 1) * _width(rows, order[first : last + 1]) <= budget:
            last += 1
        numbers = order[first:last]
        found |= _answered(model, rows, numbers, settings)
        first = last
    return [found[number] for number in range(len(rows))]


def _width(rows: Sequence[Row], numbers: Sequence[int]) -> int:
    return max(len(rows[number].source) for number in numbers) + max(len(rows[number].ids) for number in numbers)


def _answered(model: Model, rows: Sequence[Row], numbers: list[int], settings: Settings) -> dict[int, Found]:
    sources = list(dict.fromkeys(rows[number].source for number in numbers))
    beginning = begin(model, sources, settings)
    assert beginning.memory is not None
    which = [sources.index(rows[number].source) for number in numbers]
    memory = beginning.memory.select(torch.tensor(which, device=model.output_weight.device))
    read = [[*beginning.prompts[0], *rows[number].read] for number in numbers]
    hidden = model(pad_right(read, model.output_weight.device), memory=memory)
    width = hidden.shape[1]
    asked = [(number, range(at * width, at * width + len(rows[number].ids))) for at, number in enumerate(numbers)]
    return dict(zip(numbers, _found(model, hidden.flatten(0, 1), rows, asked), strict=True))
