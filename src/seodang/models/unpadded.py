"""Hidden states of a padded batch; on a CPU without computing its padding: the texts are packed into few full rows.

Shapes: N texts, T positions, D model width, R packed rows of W positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seodang.data.packing import pack
from seodang.models.base import Model

WIDTH = 256
"""Positions of a packed row, where no text is longer: attention within it costs little beside the matrices."""
WORTH = 0.85
"""Share of real positions below which packing saves more than it costs."""


def states_of_texts(model: Model, ids: Tensor, mask: Tensor | None, segments: Tensor | None = None) -> Tensor:
    """Hidden states (N, T, D) of texts; what stands at padding means nothing.

    ids (N, T); mask (N, T): True for real tokens, on whichever side the padding is; segments (N, T) of an encoder. A
    text's states are those that it has alone: attention and positions keep to it wherever it is packed.
    """
    extra = {} if segments is None or model.kind == "causal" else {"segments": segments}
    if mask is None or bool(mask.all()):
        return model(ids, **extra)
    # a GPU has time to spare for padding, and kernels that are compiled anew for every width
    if ids.device.type == "cpu" and not model.recurrent and float(mask.float().mean()) < WORTH:
        return _packed(model, ids, mask, extra)
    if model.kind == "causal" and bool(mask[:, 0].all()) and bool((mask.long().diff(dim=1) <= 0).all()):
        return model(ids)  # what is padded on the right is seen by nothing in front of it
    return model(ids, mask=mask, **extra)


def _packed(model: Model, ids: Tensor, mask: Tensor, extra: dict[str, Tensor]) -> Tensor:
    lengths = mask.sum(dim=1)
    width = max(WIDTH, int(lengths.max()))
    rows = pack(lengths.tolist(), width)
    width = max(sum(int(lengths[text]) for text in row) for row in rows)
    order = torch.tensor([text for row in rows for text in row], device=ids.device)
    counts = lengths[order]
    row_of = torch.repeat_interleave(torch.tensor([len(row) for row in rows], device=ids.device))
    # where in its packed row a text begins: behind those before it there
    ends = counts.cumsum(0)
    filled = torch.zeros(len(rows), dtype=torch.long, device=ids.device).index_add(0, row_of, counts)
    starts = ends - counts - (filled.cumsum(0) - filled)[row_of]
    real = mask[order].nonzero()  # (text in `order`, position), text by text
    text, position = real[:, 0], torch.arange(len(real), device=ids.device) - (ends - counts)[real[:, 0]]
    places = row_of[text] * width + starts[text] + position
    source = order[text] * ids.shape[1] + real[:, 1]

    def moved(values: Tensor, rest: int) -> Tensor:
        return values.new_full((len(rows) * width,), rest).index_copy(0, places, values).view(len(rows), width)

    packed = {name: moved(value.flatten()[source], 0) for name, value in extra.items()}
    hidden = model(
        moved(ids.flatten()[source], 0), positions=moved(position, 0), documents=moved(text, -1), **packed
    )
    flat = hidden.new_zeros(ids.numel(), hidden.shape[-1])
    return flat.index_copy(0, source, hidden.flatten(0, 1)[places]).view(*ids.shape, -1)
