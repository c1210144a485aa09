"""Rules that a text must keep while it grows: scores of tokens that would break one become -inf.

Shapes: B rows, V vocabulary. The meaning of each rule is that of `transformers`' generation_config.json.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seodang.inference.sampling import NEVER, Settings


def repeated_ends(ids: Sequence[int], n: int) -> set[int]:
    """The tokens that would make the last `n` tokens of `ids` a repetition of earlier ones (Paulus et al. 2017, sec.
    2.5, who forbid trigrams)."""
    if len(ids) < n:
        return set()
    end = tuple(ids[len(ids) - n + 1 :])
    return {ids[at + n - 1] for at in range(len(ids) - n + 1) if tuple(ids[at : at + n - 1]) == end}


def constrain(
    scores: Tensor, texts: Sequence[Sequence[int]], n_new: Sequence[int], limits: Sequence[int], settings: Settings
) -> Tensor:
    """Scores (B, V) of the next token in which only what the settings allow can still be chosen.

    texts: what each row's decoder has read, its prompt included; n_new: how many of these tokens were generated;
    limits: how many will be at most.
    """
    if not settings.has_rules:
        return scores
    rows = []
    for row, text, new, limit in zip(scores, texts, n_new, limits, strict=True):
        forced = settings.forced_first_id if new == 0 else None
        if new == limit - 1 and settings.forced_last_id is not None:
            forced = settings.forced_last_id
        if forced is not None:
            rows.append(torch.full_like(row, NEVER).index_fill_(0, torch.tensor([forced], device=row.device), 0.0))
            continue
        never = set(settings.banned_ids)
        if new < settings.min_new_tokens:
            never |= set(settings.stop_ids)
        if settings.no_repeat_ngram_size:
            never |= repeated_ends(text, settings.no_repeat_ngram_size)
        banned = torch.tensor(sorted(id for id in never if id < len(row)), dtype=torch.long, device=row.device)
        rows.append(row.index_fill(0, banned, NEVER))
    return torch.stack(rows)
