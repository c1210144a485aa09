"""What stands in a blank: the most probable tokens at each mask of a text, seen from both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from seodang.errors import FitError, UsageError
from seodang.models.base import Model
from seodang.models.encoder import Encoder
from seodang.text.tokenizer import Tokenizer

MASK = "[MASK]"
"""What stands for a blank in a text, whatever the tokenizer calls its mask; its own name does as well."""


@dataclass(frozen=True)
class Guess:
    """One token for a blank.

    token: as people read it. id: its number. probability: among all tokens, given everything else in the text.
    """

    token: str
    id: int
    probability: float


def refuse_masked(model: Model) -> None:
    """Raise UsageError for a model that fills blanks and goes on with no text."""
    if model.kind == "masked":
        raise UsageError(
            f"going on with a text by a model of the family {model.config.family!r}",
            "it guesses masked tokens from both sides and was never trained to predict what comes next",
            f'fill a blank: seodang fill --text "The capital of {MASK} is …"; or use a decoder',
        )


def masked_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of `text` with all that the tokenizer puts around a text, its blanks as mask tokens.

    Raises UsageError where the tokenizer has no mask, or the text no blank.
    """
    mask = tokenizer.mask_id
    if mask is None:
        raise UsageError("the model's tokenizer has no mask token", "nothing stands for a blank", "use an encoder")
    name = tokenizer.token_of(mask)
    ids = tokenizer.encode(text.replace(MASK, name), allow_special=True)
    if mask not in ids:
        raise UsageError("the text has no blank", f"nothing in it is {MASK}", f'write "The capital of {MASK} is …"')
    frame, _ = tokenizer.encode_pair("")
    start = 1 if frame[:1] == [tokenizer.cls_id] else 0
    return [*frame[:start], *ids, *frame[start:]]


@torch.inference_mode()
def fill(
    model: Model, tokenizer: Tokenizer, text: str, n: int = 5, *, spell: Callable[[int], str]
) -> list[list[Guess]]:
    """For each blank of `text`, from left to right, the `n` most probable tokens, as `spell` writes them.

    Every blank is filled by itself, the others staying blank (BERT, sec. 3.1).

    Raises UsageError for a model that fills no blanks, FitError for a text longer than the context.
    """
    if not isinstance(model, Encoder):
        raise UsageError(
            f"filling in a blank with a model of the family {model.config.family!r}",
            "it was not trained to guess masked tokens from both sides",
            "use an encoder (BERT, RoBERTa, ALBERT, ELECTRA); of a decoder, ask for continuations: seodang suggest",
        )
    if n < 1:
        raise UsageError(f"n = {n}", "it counts the guesses for a blank", "choose 1 or more")
    ids = masked_ids(tokenizer, text)
    if len(ids) > model.max_tokens:
        raise FitError(f"a text of {len(ids)} tokens", f"the model takes {model.max_tokens}", "shorten it")
    row = torch.tensor([ids], device=model.output_weight.device)
    predictor = model.predictor
    states = predictor(row)[row == tokenizer.mask_id]
    scores = predictor.logits(states)[:, : tokenizer.vocab_size].float()
    chances, tokens = scores.softmax(dim=-1).topk(min(n, scores.shape[-1]))
    return [
        [Guess(spell(id), id, chance) for id, chance in zip(*pair, strict=True)]
        for pair in zip(tokens.tolist(), chances.tolist(), strict=True)
    ]
