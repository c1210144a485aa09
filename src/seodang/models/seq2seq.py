"""Recurrent encoder-decoders: without attention (Sutskever et al. 2014), with additive attention (Bahdanau et al.
2015) and with multiplicative attention (Luong et al. 2015).

Shapes: B batch, S source tokens, T new target tokens, E width of the embedding, H = d_model width of a cell, A width of
what is attended to, L decoder layers, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seodang.errors import UsageError
from seodang.models.base import UNLIMITED
from seodang.models.config import ModelConfig
from seodang.models.encoder_decoder import EncoderDecoder, Memory
from seodang.models.layers import Dropout
from seodang.models.recurrent import Runs, StateCache, flatten_weights, init_recurrent, over_pieces, read


def additive_scores(query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
    """vᵀ tanh(query + key) (Bahdanau et al. 2015, app. A.1.2, eq. of e_ij): (B, A), (B, S, A), (A,) → (B, S)."""
    return torch.tanh(query[:, None] + keys) @ v


def general_scores(query: Tensor, keys: Tensor) -> Tensor:
    """query · key, the key being W h̄ (Luong et al. 2015, sec. 3.1, "general"): (B, H), (B, S, H) → (B, S)."""
    return torch.einsum("bh,bsh->bs", query, keys)


def weighted(scores: Tensor, states: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Softmax of scores (B, S) over real tokens, and the states (B, S, A) in these proportions: (B, A)."""
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(dim=-1)
    return weights, torch.einsum("bs,bsa->ba", weights, states)


@dataclass(frozen=True)
class StateMemory(Memory):
    """The encoder's states, what their scores are computed from, and the state that the decoder begins with."""

    begin: Tensor | None = None
    """(B, …, H): the decoder's first state, rows first."""
    keys: Tensor | None = None
    """(B, S, A); None without attention."""


class SourceCache(StateCache):
    """The decoder's state, and the memory of the sources."""

    def __init__(self, memory: StateMemory) -> None:
        self.memory = memory
        super().__init__(self.empty())

    def empty(self) -> Tensor:
        """The state that the encoder gave."""
        assert self.memory.begin is not None
        return self.memory.begin.movedim(0, 2)

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order; of one source's beams, any number."""
        super().select(rows)
        memory = self.memory.select(rows)
        assert isinstance(memory, StateMemory)
        self.memory = memory

    def n_bytes(self) -> int:
        """Size of the state and of what is held of the source."""
        held = [value for value in vars(self.memory).values() if isinstance(value, Tensor)]
        return super().n_bytes() + sum(tensor.numel() * tensor.element_size() for tensor in held)


class Reader(nn.Module):
    """A stack of recurrent layers over the source."""

    def __init__(self, cell: Any, widths: list[int]) -> None:
        super().__init__()
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.layers = nn.ModuleList(cell(n_in, n_out, batch_first=True) for n_in, n_out in pairs)


class Seq2Seq(EncoderDecoder):
    """An LSTM reads the source backwards, and its last state is where another one begins to write (Sutskever et al.
    2014, sec. 2 and 3.3). One table serves both sides and, tied, the output."""

    cell: ClassVar[Any] = nn.LSTM
    n_states: ClassVar[int] = 2
    backwards: ClassVar[bool] = True
    fed: ClassVar[int] = 0
    """How many times H the first decoder layer reads beside the embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.check(config)
        self.d_embed = config.d_embed or config.d_model
        self.dropout, self.between = Dropout(config.embedding_dropout), Dropout(config.residual_dropout)
        self.encoder = Reader(self.cell, [self.d_embed, *[config.d_model] * config.n_encoder_layers])
        self.furnish_attention(config)
        first = self.d_embed + self.fed * config.d_model
        widths = [first, *[config.d_model] * config.n_layers]
        self.layers = nn.ModuleList(self.cell(width, config.d_model, batch_first=True) for width in widths[:-1])
        self.project = self.before_output(config)
        self.head = self.own_head()
        self.token_bias = nn.Parameter(torch.empty(config.vocab_size))
        self.register_load_state_dict_post_hook(flatten_weights)

    # -- what a family says ----------------------------------------------------------------------------------------

    def check(self, config: ModelConfig) -> None:
        """Raise UsageError for sizes that do not go together."""
        if config.n_encoder_layers != config.n_layers:
            raise UsageError(
                f"n_encoder_layers = {config.n_encoder_layers} with n_layers = {config.n_layers}",
                "each layer of the decoder begins with the state of one of the encoder's",
                "make them equal",
            )

    def furnish_attention(self, config: ModelConfig) -> None:
        """The parts that this family has between encoder and decoder."""

    def before_output(self, config: ModelConfig) -> nn.Module | None:
        """What makes a hidden state as wide as the embedding."""
        return None if self.d_embed == config.d_model else nn.Linear(config.d_model, self.d_embed, bias=False)

    def remember(self, states: Tensor, end: Tensor, mask: Tensor | None) -> StateMemory:
        """The memory, from the encoder's states (B, S, H) and last states (L, P, B, H)."""
        return StateMemory(states, mask, end.movedim(2, 0))

    def write(
        self, x: Tensor, state: Tensor, memory: StateMemory, mask: Tensor | None, seen: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Decoder: embedded targets x (B, T, E) from `state` (…, B, H) → hidden states, the new state. `seen` gets the
        attention weights (B, S) of each token."""
        return read(self.layers, x, state, Runs.of(None, mask), self.between, self.run_block)

    # -- the two passes --------------------------------------------------------------------------------------------

    def encode(self, ids: Tensor, *, mask: Tensor | None = None, documents: Tensor | None = None) -> StateMemory:
        """What the sources `ids` (B, S) say. mask (B, S): True for real tokens; documents: -1 is padding."""
        if mask is None and documents is not None:
            mask = documents >= 0
        states, end = self.read_source(self.encoder, self.dropout(self.embed(ids)), mask, self.backwards)
        return self.remember(states, end, self.source_mask(mask, None))

    def read_source(self, side: Reader, x: Tensor, mask: Tensor | None, backwards: bool) -> tuple[Tensor, Tensor]:
        """x (B, S, E) through the layers of one side → states (B, S, H) in the source's order, last states."""
        if backwards:
            x, mask = x.flip(1), None if mask is None else mask.flip(1)
        empty = self.token_bias.new_zeros(len(side.layers), self.n_states, len(x), self.config.d_model)
        states, end = read(side.layers, x, empty, Runs.of(None, mask), self.between, self.run_block)
        return states.flip(1) if backwards else states, end

    def forward(
        self,
        ids: Tensor,
        *,
        memory: StateMemory | None = None,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: SourceCache | None = None,
    ) -> Tensor:
        """Hidden states (B, T, …), for `to_output`, of the targets' tokens `ids` (B, T), which know those before them
        and the source.

        memory: what `encode` gave; not needed with a cache, which holds it. mask (B, cached + T): True for real tokens;
        others leave the state alone. positions mean nothing to a recurrent network.
        """
        return self._written(ids, memory, mask, cache, [])

    def attention_weights(self, ids: Tensor, memory: StateMemory) -> Tensor:
        """How much each target token (T) looks at each source token: (B, T, S), for the plot of an alignment.

        Raises UsageError for a family without attention.
        """
        seen: list[Tensor] = []
        self._written(ids, memory, None, None, seen)
        if not seen:
            raise UsageError(f"{self.config.family} has no attention", "its decoder sees one state of the source", "")
        return torch.stack(seen, dim=1)

    def _written(
        self, ids: Tensor, memory: StateMemory | None, mask: Tensor | None, cache: SourceCache | None,
        seen: list[Tensor],
    ) -> Tensor:  # fmt: skip
        memory = memory if cache is None else cache.memory
        assert memory is not None and memory.begin is not None, "a decoder needs a memory or a cache"
        state = memory.begin.movedim(0, 2) if cache is None else cache.state
        mask = None if mask is None else mask[:, -ids.shape[1] :]
        hidden, state = self.write(self.dropout(self.embed(ids)), state, memory, mask, seen)
        if cache is not None:
            cache.write(state)
        return hidden

    def new_cache(self, batch: int, capacity: int, memory: Memory | None = None) -> SourceCache:
        """The state in which `batch` targets of any length begin."""
        assert isinstance(memory, StateMemory) and memory.batch == batch, "a cache needs the memory of as many sources"
        return SourceCache(memory)

    def to_output(self, hidden: Tensor) -> Tensor:
        return hidden if self.project is None else self.project(hidden)

    @property
    def output_bias(self) -> nn.Parameter:
        return self.token_bias

    @property
    def max_tokens(self) -> int:
        return UNLIMITED

    def keys_seen(self, length: int) -> int:
        return 0

    def numbers_kept(self) -> int:
        """A layer's input, gates and states, of either side."""
        return 2 * (5 + 2 * self.n_states) * self.config.d_model

    def init_parameter(
        self, name: str, parameter: Tensor, generator: torch.Generator | None, zero_residual: bool
    ) -> None:
        """As the recurrent language models'."""
        gates = 4 if self.cell is nn.LSTM else 3
        init_recurrent(name, parameter, self.config.d_model, self.config.init_std, gates, generator)


def held(mask: Tensor | None, place: int, new: Tensor, old: Tensor) -> Tensor:
    """The new state (…, B, H) of rows whose token at `place` is real, the old one of others."""
    return new if mask is None else torch.where(mask[:, place, None], new, old)


class Bahdanau(Seq2Seq):
    """RNNsearch (Bahdanau et al. 2015): GRUs of both directions annotate the source; at every step the decoder looks
    for what it needs there, with its state before the step. A maxout layer makes the output (app. A.2.2, with s_i as in
    eq. 4)."""

    cell = nn.GRU
    n_states = 1
    backwards = False
    fed = 2  # the context, both directions of it

    def check(self, config: ModelConfig) -> None:
        """Raise UsageError for a decoder of several layers, which the paper does not have."""
        if config.n_layers != 1:
            raise UsageError(f"n_layers = {config.n_layers}", "Bahdanau's decoder has one layer", "use n_layers = 1")

    def furnish_attention(self, config: ModelConfig) -> None:
        width = config.d_model
        self.backward_encoder = Reader(self.cell, [self.d_embed, *[width] * config.n_encoder_layers])
        self.key = nn.Linear(2 * width, width, bias=False)
        self.query = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)
        self.start = nn.Linear(width, width)

    def before_output(self, config: ModelConfig) -> nn.Module:
        return nn.Linear(3 * config.d_model + self.d_embed, 2 * self.d_embed)

    def encode(self, ids: Tensor, *, mask: Tensor | None = None, documents: Tensor | None = None) -> StateMemory:
        """Annotations (B, S, 2·H) of the sources `ids` (B, S) by what stands before and behind each token."""
        if mask is None and documents is not None:
            mask = documents >= 0
        x = self.dropout(self.embed(ids))
        forward, _ = self.read_source(self.encoder, x, mask, False)
        backward, end = self.read_source(self.backward_encoder, x, mask, True)
        states = torch.cat((forward, backward), dim=-1)
        begin = torch.tanh(self.start(end[-1:, :1])).movedim(2, 0)
        return StateMemory(states, self.source_mask(mask, None), begin, self.key(states))

    def write(
        self, x: Tensor, state: Tensor, memory: StateMemory, mask: Tensor | None, seen: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        assert memory.keys is not None
        found = []
        for place in range(x.shape[1]):
            scores = additive_scores(self.query(state[0, 0]), memory.keys, self.score.weight[0])
            weights, context = weighted(scores, memory.states, memory.mask)
            token = x[:, place]
            y, new = over_pieces(self.layers[0], torch.cat((token, context), dim=-1)[:, None], state[0])
            state = held(mask, place, new[None].to(state.dtype), state)
            found.append(torch.cat((y[:, 0], token, context), dim=-1))
            seen.append(weights)
        return torch.stack(found, dim=1), state

    def to_output(self, hidden: Tensor) -> Tensor:
        assert self.project is not None
        return self.project(hidden).unflatten(-1, (-1, 2)).amax(dim=-1)


class Luong(Seq2Seq):
    """LSTMs whose decoder attends with its state behind each step, "general" score over the whole source, and reads the
    attentional state h̃ = tanh(W [context; h]) again with the next token: input feeding (Luong et al. 2015, eq. 5-8 and
    sec. 3.3). The state is that of all layers, h before c, and h̃."""

    backwards = False
    fed = 1

    def furnish_attention(self, config: ModelConfig) -> None:
        self.key = nn.Linear(config.d_model, config.d_model, bias=False)
        self.combine = nn.Linear(2 * config.d_model, config.d_model, bias=False)

    def remember(self, states: Tensor, end: Tensor, mask: Tensor | None) -> StateMemory:
        nothing_yet = torch.zeros_like(end[:1, :1])
        begin = torch.cat((end.flatten(0, 1)[:, None], nothing_yet))  # (2·L + 1, 1, B, H)
        return StateMemory(states, mask, begin.movedim(2, 0), self.key(states))

    def write(
        self, x: Tensor, state: Tensor, memory: StateMemory, mask: Tensor | None, seen: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        assert memory.keys is not None
        found = []
        for place in range(x.shape[1]):
            cells, fed = state[:-1].squeeze(1).unflatten(0, (-1, 2)), state[-1, 0]
            token = torch.cat((x[:, place], fed.to(x.dtype)), dim=-1)[:, None]
            h, ends = read(self.layers, token, cells, None, self.between)
            weights, context = weighted(general_scores(h[:, 0], memory.keys), memory.states, memory.mask)
            attentional = torch.tanh(self.combine(torch.cat((context, h[:, 0]), dim=-1)))
            new = torch.cat((ends.flatten(0, 1)[:, None], attentional[None, None].to(ends.dtype)))
            state = held(mask, place, new, state)
            found.append(attentional)
            seen.append(weights)
        return torch.stack(found, dim=1), state
