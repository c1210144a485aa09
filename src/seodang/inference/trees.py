"""Texts that share their beginnings, each token computed once: rows of a forward pass that hold trees of tokens.

Sorted texts that begin alike stand together, so each is a path that leaves that of the text before it. A token sees its
own path alone and stands where it stands in its text (the attention of SpecInfer's token trees, Miao et al. 2024, sec.
4.2), so nothing is padded and no text depends on its neighbours.

Shapes: T tokens of a tree, P tokens of a beginning that all have, kept in a cache; S = P + T.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seodang.inference.decode import common_prefix

_WORTH_SHARING = 8
"""Tokens; fewer, and less than an eighth of a text, are computed again: the keys between them and their text, which
attention would have to pass over, cost more."""


@dataclass
class Tree:
    """Tokens of several texts without the first `start` ones, which are everybody's and kept elsewhere."""

    start: int = 0
    ids: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    """Of each token the place of the one before it; -1 at the beginning. Parents come first."""
    depths: list[int] = field(default_factory=list)
    """Places in the texts."""
    paths: list[tuple[int, list[int]]] = field(default_factory=list)
    """(number of the text, places of its tokens)."""

    def add(self, number: int, text: Sequence[int], shared: int) -> None:
        """Add a text that has its first `shared` tokens in common with the one before it."""
        path = self.paths[-1][1][: max(0, shared - self.start)] if self.paths else []
        for depth in range(self.start + len(path), len(text)):
            self.parents.append(path[-1] if path else -1)
            path.append(len(self.ids))
            self.ids.append(text[depth])
            self.depths.append(depth)
        self.paths.append((number, path))

    @property
    def is_chain(self) -> bool:
        """Whether it holds one text alone: every token sees all before it."""
        return all(parent == place - 1 for place, parent in enumerate(self.parents))

    def visible(self, device: torch.device | str = "cpu") -> Tensor:
        """(1, T, S): which tokens each token sees, the beginning among them."""
        rows = torch.zeros(len(self.ids), self.start + len(self.ids), dtype=torch.bool)
        rows[:, : self.start] = True
        array = rows.numpy()
        for place, parent in enumerate(self.parents):
            if parent >= 0:
                array[place] = array[parent]
            array[place, self.start + place] = True
        return rows[None].to(device)


def plant(texts: Sequence[tuple[int, ...]], budget: int, start: int = 0) -> Iterator[Tree]:
    """Trees of about `budget` tokens that hold all texts; the first `start` tokens are common to all of them.

    Texts that share more than half of themselves stay together up to twice the budget.
    """
    order = sorted(range(len(texts)), key=lambda number: texts[number])
    tree, before = Tree(start), None
    for number in order:
        text = texts[number]
        shared = common_prefix(before, text) if before is not None else start
        if shared - start < min(_WORTH_SHARING, (len(text) - start) / 8):
            shared = start
        limit = budget if 2 * (shared - start) < len(text) - start else 2 * budget
        if tree.paths and len(tree.ids) + len(text) - shared > limit:
            yield tree
            tree, shared = Tree(start), start
        tree.add(number, text, shared)
        before = text
    if tree.paths:
        yield tree
