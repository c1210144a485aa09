"""Ids as people hand them over, in any form, as one checked tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seodang.errors import DataError


def id_rows(
    ids: Tensor | Sequence[int] | Sequence[Sequence[int]], vocab_size: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """A tensor (B, T) or (T,), a list of ids, or lists of unequal length, as a tensor (B, T) and its mask.

    The mask (B, T; True for real tokens) is None when nothing was padded. Raises DataError for ids that are none of
    the `vocab_size`, and for no ids.
    """
    mask = None
    if isinstance(ids, Tensor):
        rows = ids.to(device, torch.long)
    else:
        lists = [list(row) if isinstance(row, Sequence) else [int(row)] for row in ids]
        flat = not any(isinstance(row, Sequence) for row in ids)
        rows, mask = pad_right([sum(lists, [])] if flat else lists, device)
    rows = rows[None] if rows.dim() == 1 else rows
    if rows.dim() != 2 or not rows.numel():
        raise DataError(f"ids of shape {tuple(rows.shape)}", "they must be (B, T), and not empty", "pass some ids")
    if int(rows.min()) < 0 or int(rows.max()) >= vocab_size:
        raise DataError(
            f"ids from {int(rows.min())} to {int(rows.max())}",
            f"the model has {vocab_size} tokens",
            "use the tokenizer in the model's own folder",
        )
    return rows, mask


def pad_right(prompts: Sequence[Sequence[int]], device: torch.device | str) -> tuple[Tensor, Tensor | None]:
    """Prompts as one tensor (B, T) and its mask (B, T; True for real tokens), None when nothing is padded."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([list(prompt) + [0] * (longest - len(prompt)) for prompt in prompts], device=device)
    if all(len(prompt) == longest for prompt in prompts):
        return ids, None
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    return ids, torch.arange(longest, device=device) < lengths[:, None]
