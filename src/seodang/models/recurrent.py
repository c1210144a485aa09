"""Recurrent language models: Elman's network, the LSTM and the GRU, over embedded tokens.

    RNN   h = tanh(W x + U h′ + b)                                                    (Elman 1990)
    LSTM  i, f, o = σ(W x + U h′ + b);  g = tanh(W x + U h′ + b);  c = f·c′ + i·g;  h = o·tanh(c)
          (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000)
    GRU   r, z = σ(W x + U h′ + b);  n = tanh(W x + b + r·(U h′ + b));  h = (1 - z)·n + z·h′
          (Cho et al. 2014, with r behind the product with U, as the fused kernels have it)

h′ and c′ are those of the token before; every gate has its own W, U and b. x is the embedding, or h of the layer below.

Shapes: B batch, T new tokens, E width of the embedding, H = d_model width of the layers, L layers, V vocabulary,
P numbers a cell remembers (h; of an LSTM h and c), N real tokens of a batch, R runs of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seodang.models.base import UNLIMITED, Model
from seodang.models.config import ModelConfig
from seodang.models.layers import Dropout


class StateCache:
    """What a recurrent network remembers of the tokens so far: its state (L, P, B, H), however long the text is.

    A forward pass writes aside what `advance` makes the state, so that one can look ahead from it more than once.
    """

    capacity = UNLIMITED

    def __init__(self, state: Tensor) -> None:
        self.state = self._next = state
        self.length = 0

    @property
    def batch(self) -> int:
        """Rows."""
        return self.state.shape[2]

    def write(self, state: Tensor) -> None:
        """The state behind the tokens of this forward pass."""
        self._next = state

    def advance(self, n_tokens: int) -> None:
        """Count the tokens of the last forward pass as read."""
        self.state = self._next
        self.length += n_tokens

    def truncate(self, length: int) -> int:
        """Forget what was read behind `length` tokens: everything, as no state goes back. Returns what is left."""
        if length < self.length:
            self.state, self.length = self.empty(), 0
        self._next = self.state
        return self.length

    def empty(self) -> Tensor:
        """The state before any token."""
        return torch.zeros_like(self.state)

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order."""
        same = self._next is self.state
        self.state = self.state.index_select(2, rows)
        self._next = self.state if same else self._next.index_select(2, rows)

    def n_bytes(self) -> int:
        """Size of the state."""
        return self.state.numel() * self.state.element_size()


@dataclass(frozen=True)
class Runs:
    """The real tokens of a batch as R runs, each of one row and one document: what a state may be carried along.

    Every run is cut into pieces of 2^k tokens, the longest first, and all pieces of one length go through a layer
    together. Nothing is padded, and the kernels see whole rectangles.
    """

    places: Tensor
    """(N,) where the tokens stand in the flattened batch, piece by piece."""
    pieces: list[tuple[int, Tensor]]
    """(tokens of a piece, the runs that have one of this length), the longest first."""
    rows: Tensor
    """(R,) row of each run."""
    first: Tensor
    """(R,) whether it is the row's first run, which begins with the row's state."""
    last: Tensor
    """(R,) whether it is the row's last run, whose end is the row's state."""

    @classmethod
    def of(cls, documents: Tensor | None, mask: Tensor | None) -> Runs | None:
        """From document numbers (B, T; -1 is padding) and a mask (B, T; True for real tokens), either of them optional.

        None where every row is one run from its first to its last position.
        """
        given = documents if documents is not None else mask
        if given is None or (documents is None and bool(given.all())):
            return None
        number = torch.zeros(given.shape, dtype=torch.long) if documents is None else documents.cpu()
        real = number >= 0 if mask is None else (number >= 0) & mask.cpu()
        at = real.flatten().nonzero()[:, 0]
        row, count = at // given.shape[1], torch.arange(len(at))
        start = count[_differs(row) | _differs(number.flatten()[at])]
        lengths = torch.diff(start, append=start.new_tensor([len(at)]))
        rows, pieces, places = row[start], [], [at[:0]]
        for size in (1 << bit for bit in reversed(range(int(lengths.max()).bit_length() if len(at) else 0))):
            chosen = (lengths & size).nonzero()[:, 0]
            if len(chosen):
                pieces.append((size, chosen.to(given.device)))
                places.append(at[(start[chosen, None] + torch.arange(size)).flatten()])
                start[chosen] += size
        first = _differs(rows)
        last = first.roll(-1)
        moved = (part.to(given.device) for part in (torch.cat(places), rows, first, last))
        places_, rows, first, last = moved
        return cls(places_, pieces, rows, first, last)

    def pack(self, x: Tensor) -> Tensor:
        """x (B, T, E) → the runs' tokens (N, E)."""
        return x.flatten(0, 1)[self.places]

    def unpack(self, packed: Tensor, batch: int, length: int) -> Tensor:
        """Inverse of `pack` (B, T, H), with zeros at padding."""
        flat = packed.new_zeros(batch * length, packed.shape[-1])
        return flat.index_put((self.places,), packed).view(batch, length, -1)

    def begin(self, state: Tensor) -> Tensor:
        """The rows' state (L, P, B, H) → the state that each run begins with (L, P, R, H)."""
        return state[:, :, self.rows] * self.first[:, None]

    def end(self, state: Tensor, runs: Tensor) -> Tensor:
        """The rows' state behind the runs, whose last states are `runs`; as it was in a row without a real token."""
        return state.index_copy(2, self.rows[self.last], runs[:, :, self.last])


def _differs(values: Tensor) -> Tensor:
    """(N,) whether a value is another than the one before it; the first one is."""
    return torch.cat((values.new_ones(min(1, len(values)), dtype=torch.bool), values[1:] != values[:-1]))


class Recurrent(Model):
    """A causal model whose memory is a state. Dropout is on what goes from layer to layer, never from token to token
    (Zaremba et al. 2014, eq. 4 and fig. 2). The output has a bias, and a projection where H is not E."""

    kind = "causal"
    recurrent = True
    cell: ClassVar[Callable[..., nn.RNNBase]]
    n_states: ClassVar[int] = 1
    """P."""
    n_gates: ClassVar[int]

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        first = config.d_embed or config.d_model
        widths = [first, *[config.d_model] * config.n_layers]
        self.dropout = Dropout(config.embedding_dropout)
        self.layers = nn.ModuleList(self.cell(width, config.d_model, batch_first=True) for width in widths[:-1])
        self.between = Dropout(config.residual_dropout)
        self.project = None if first == config.d_model else nn.Linear(config.d_model, first, bias=False)
        self.head = self.own_head()
        self.token_bias = nn.Parameter(torch.empty(config.vocab_size))
        self.classifier = self.own_classifier()
        self.register_load_state_dict_post_hook(flatten_weights)

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        mask: Tensor | None = None,
        cache: StateCache | None = None,
    ) -> Tensor:
        """Hidden states (B, T, H) of the tokens `ids` (B, T); zeros at padding.

        documents (B, T): every document begins with an empty state; a row's first one goes on with the cache's.
        mask (B, S): True for real tokens, the cached ones counted; others leave the state alone. positions mean nothing
        to a recurrent network.
        """
        x = self.dropout(self.embed(ids))
        state = self.zero_state(len(ids)) if cache is None else cache.state
        runs = Runs.of(documents, None if mask is None else mask[:, -ids.shape[1] :])
        hidden, state = read(self.layers, x, state, runs, self.between, self.run_block)
        if cache is not None:
            cache.write(state)
        return hidden

    def zero_state(self, batch: int) -> Tensor:
        """The state (L, P, B, H) before any token."""
        size = (self.config.n_layers, self.n_states, batch, self.config.d_model)
        return torch.zeros(size, dtype=self.token_bias.dtype, device=self.token_bias.device)

    def to_output(self, hidden: Tensor) -> Tensor:
        return hidden if self.project is None else self.project(hidden)

    @property
    def output_bias(self) -> nn.Parameter:
        return self.token_bias

    def keys_seen(self, length: int) -> int:
        return 0

    def numbers_kept(self) -> int:
        """A layer's input, gates and states."""
        return (self.n_gates + 2 * self.n_states + 1) * self.config.d_model

    @property
    def max_tokens(self) -> int:
        return UNLIMITED

    def new_cache(self, batch: int, capacity: int) -> StateCache:
        """An empty state; texts of any length fit."""
        return StateCache(self.zero_state(batch))

    def init_parameter(
        self, name: str, parameter: Tensor, generator: torch.Generator | None, zero_residual: bool
    ) -> None:
        """Uniform in ±1/√H inside the layers (LeCun et al. 1998, *Efficient BackProp*, sec. 4.6, in its usual form),
        N(0, init_std) in the embedding, biases 0, an LSTM's forget gates 1 (Jozefowicz et al. 2015, sec. 2.2)."""
        init_recurrent(name, parameter, self.config.d_model, self.config.init_std, self.n_gates, generator)


def init_recurrent(
    name: str, parameter: Tensor, width: int, std: float, n_gates: int, generator: torch.Generator | None
) -> None:
    """`Recurrent.init_parameter` for layers of `width` with so many gates."""
    if parameter.dim() == 1:
        nn.init.zeros_(parameter)
        if n_gates == LSTM.n_gates and name.endswith("bias_ih_l0"):
            nn.init.ones_(parameter[width : 2 * width])  # gates are i, f, g, o
    elif name in ("embed.weight", "head.weight"):
        nn.init.normal_(parameter, std=std, generator=generator)
    else:
        nn.init.uniform_(parameter, -1 / math.sqrt(width), 1 / math.sqrt(width), generator=generator)


def read(
    layers: Iterable[nn.Module],
    x: Tensor,
    state: Tensor,
    runs: Runs | None = None,
    between: Callable[[Tensor], Tensor] | None = None,
    run_block: Callable[..., Any] | None = None,
) -> tuple[Tensor, Tensor]:
    """x (B, T, E) through all layers from `state` (L, P, B, H) → what the last one gives (B, T, H), and the new state.

    between: what is done to a layer's output. run_block: see training/activations.py.
    """
    y, begins, ends = x, state, []
    if runs is not None:
        y, begins = runs.pack(x), runs.begin(state)
    for layer, begin in zip(layers, begins, strict=True):
        inputs = (layer, y, begin, None if runs is None else runs.pieces)
        y, end = over_pieces(*inputs) if run_block is None else run_block(over_pieces, *inputs)
        y = y if between is None else between(y)
        ends.append(end)
    new = torch.stack(ends)
    return (y, new) if runs is None else (runs.unpack(y, *x.shape[:2]), runs.end(state, new))


def over_pieces(
    layer: nn.Module, x: Tensor, state: Tensor, pieces: list[tuple[int, Tensor]] | None = None
) -> tuple[Tensor, Tensor]:
    """One layer over x (B, T, E), or over the `pieces` of runs (N, E), from its state (P, B, H): what it gives (…, H),
    and its last state."""
    assert isinstance(layer, nn.RNNBase)
    if pieces is None:
        return _call(layer, x, state)
    given, done = [], 0
    for size, runs in pieces:
        part = x[done : done + size * len(runs)].view(len(runs), size, -1)
        y, end = _call(layer, part, state[:, runs])
        state = state.index_copy(1, runs, end)
        given.append(y.flatten(0, 1))
        done += size * len(runs)
    return torch.cat(given) if given else x.new_zeros(0, layer.hidden_size), state


def _call(layer: nn.RNNBase, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    begin = state.to(x.dtype).contiguous()
    if isinstance(layer, nn.LSTM):
        y, (h, c) = layer(x, (begin[:1], begin[1:]))
        end = torch.cat((h, c))
    else:
        y, end = layer(x, begin)
    return y, end.to(state.dtype)


def flatten_weights(model: nn.Module, keys: Any) -> None:
    """Loaded weights lie apart; on CUDA a layer's must lie together, or every call puts them there anew."""
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()


class RNN(Recurrent):
    """Elman's simple recurrent network (Elman 1990), with tanh."""

    cell, n_gates = nn.RNN, 1


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997)."""

    cell, n_gates, n_states = nn.LSTM, 4, 2


class GRU(Recurrent):
    """Gated recurrent units (Cho et al. 2014)."""

    cell, n_gates = nn.GRU, 3
