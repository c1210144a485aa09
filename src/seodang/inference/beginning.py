"""How a continuation begins: a decoder goes on with the prompt, an encoder-decoder answers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from seodang.errors import DataError, FitError
from seodang.inference.inputs import pad_right
from seodang.inference.sampling import Settings
from seodang.models.base import Model
from seodang.models.cache import Cache
from seodang.models.encoder_decoder import EncoderDecoder, Memory


@dataclass
class Beginning:
    """What the decoder of each row reads first, and what it has been told."""

    model: Model
    prompts: list[list[int]]
    """The prompts themselves, or the token that an encoder-decoder's texts begin with."""
    memory: Memory | None = None
    """The encoded prompts of an encoder-decoder."""

    def new_cache(self, capacity: int) -> Cache:
        """An empty cache for all rows; that of an encoder-decoder holds what it needs of the memory."""
        if isinstance(self.model, EncoderDecoder):
            cache: Cache = self.model.new_cache(len(self.prompts), capacity, self.memory)
            return cache
        return self.model.new_cache(len(self.prompts), capacity)

    def limits(self, max_new_tokens: int) -> list[int]:
        """How many tokens each row can still be given."""
        return [min(max_new_tokens, self.model.max_tokens - len(prompt)) for prompt in self.prompts]


@torch.inference_mode()
def begin(model: Model, prompts: Sequence[Sequence[int]], settings: Settings) -> Beginning:
    """Check the prompts and, for an encoder-decoder, encode them, in one batch that is padded in here.

    Raises DataError for an empty prompt, foreign ids, or a decoder without a start token, FitError for a prompt that
    is too long.
    """
    check_prompts(model, prompts)
    if not isinstance(model, EncoderDecoder):
        return Beginning(model, [list(prompt) for prompt in prompts])
    start = model.config.start_id if settings.start_id is None else settings.start_id
    if start is None:
        raise DataError(
            "the decoder has no token to begin with",
            "neither generation_config.json nor config.json names a decoder_start_token_id",
            "put the id that its texts began with in training into generation_config.json",
        )
    ids, mask = pad_right(prompts, model.output_weight.device)
    return Beginning(model, [[start] for _ in prompts], model.encode(ids, mask=mask))


def check_prompts(model: Model, prompts: Sequence[Sequence[int]]) -> None:
    """Raise DataError for a prompt that is empty or has foreign ids, FitError for one that fills the context."""
    n_ids = model.config.vocab_size
    # a decoder's prompt shares its context with the answer
    room = model.max_source_tokens if isinstance(model, EncoderDecoder) else model.max_tokens - 1
    for row, prompt in enumerate(prompts, start=1):
        if not prompt:
            raise DataError(
                f"prompt {row} is empty", "the model needs at least one token to continue", "give it some text"
            )
        if min(prompt) < 0 or max(prompt) >= n_ids:
            raise DataError(
                f"prompt {row} has token {max(prompt)}",
                f"the model knows {n_ids} tokens: this tokenizer belongs to another model",
                "use the tokenizer in the model's own folder",
            )
        if len(prompt) > room:
            decoder = not isinstance(model, EncoderDecoder)
            raise FitError(
                f"prompt {row} has {len(prompt)} tokens",
                f"the model's context holds {model.max_tokens}, which leaves no room for an answer"
                if decoder else f"the model reads {room}",
                "shorten the prompt, or use a model with a longer context",
            )  # fmt: skip
