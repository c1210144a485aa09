"""textgenrnn (Woolf 2017-2020): LSTMs read a window of characters, an average over its places predicts the next one.

    x = (embedding, h of layer 1, h of layer 2, …) at each place;  a = softmax over places of x·w;  logits = W Σ a x + b

Every token has a window of its own, in which the LSTMs begin anew: token 0 stands where the text has not begun yet.

Shapes: B batch, T new tokens, W = context_length tokens of a window, E width of the embedding, H = d_ff width of the
LSTMs, D = d_model = E + layers · H, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seodang.models.base import UNLIMITED, Model
from seodang.models.config import ModelConfig
from seodang.models.recurrent import flatten_weights, init_recurrent

_WINDOWS = 1024
"""Windows that are read at a time."""


class TokenCache:
    """The tokens themselves (B, length): what windows are cut from."""

    capacity = UNLIMITED

    def __init__(self, batch: int, device: torch.device) -> None:
        self.tokens = self._next = torch.zeros(batch, 0, dtype=torch.long, device=device)
        self.length = 0

    @property
    def batch(self) -> int:
        """Rows."""
        return len(self.tokens)

    def write(self, tokens: Tensor) -> None:
        """All tokens, those of this forward pass included."""
        self._next = tokens

    def advance(self, n_tokens: int) -> None:
        """Count the tokens of the last forward pass as read."""
        self.tokens = self._next
        self.length = self.tokens.shape[1]

    def truncate(self, length: int) -> int:
        """Forget everything behind `length` tokens. Returns what is left."""
        self.tokens = self._next = self.tokens[:, :length]
        self.length = self.tokens.shape[1]
        return self.length

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order."""
        self.tokens, self._next = (tokens.index_select(0, rows) for tokens in (self.tokens, self._next))

    def n_bytes(self) -> int:
        """Size of the tokens."""
        return self.tokens.numel() * self.tokens.element_size()


class TextGenRNN(Model):
    """Its published form is the size `textgenrnn`. The widths must agree: d_model = d_embed + n_layers · d_ff."""

    kind = "causal"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        widths = [config.d_embed, *[config.d_ff] * config.n_layers]
        self.layers = nn.ModuleList(nn.LSTM(width, config.d_ff, batch_first=True) for width in widths[:-1])
        self.attention = nn.Linear(config.d_model, 1, bias=False)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
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
        cache: TokenCache | None = None,
    ) -> Tensor:
        """Averages (B, T, D) over the windows that end with the tokens `ids` (B, T).

        documents (B, T): no window reaches into another document. mask (B, S): True for real tokens, the cached ones
        counted; others are token 0. positions mean nothing here.
        """
        n_new, width = ids.shape[1], self.config.context_length
        if mask is not None:
            ids = ids * mask[:, -n_new:]
        whole = ids if cache is None else torch.cat((cache.tokens, ids), dim=1)
        if cache is not None:
            cache.write(whole)
        windows = nn.functional.pad(whole, (width, 0))[:, -n_new - width + 1 :].unfold(1, width, 1)
        if documents is not None:
            before = nn.functional.pad(documents, (width - 1, 0), value=-1).unfold(1, width, 1)
            windows = windows * (before == documents[..., None])
        parts = windows.reshape(-1, width).split(_WINDOWS)
        return torch.cat([self.average(part) for part in parts]).view(*ids.shape, -1)

    def average(self, windows: Tensor) -> Tensor:
        """Windows (N, W) of tokens → (N, D)."""
        found = [self.embed(windows)]
        for layer in self.layers:
            found.append(layer(found[-1])[0])
        x = torch.cat(found, dim=-1)
        return (self.attention(x).softmax(dim=1) * x).sum(dim=1)

    @property
    def output_bias(self) -> nn.Parameter:
        return self.token_bias

    def init_parameter(
        self, name: str, parameter: Tensor, generator: torch.Generator | None, zero_residual: bool
    ) -> None:
        """As the LSTM's."""
        init_recurrent(name, parameter, self.config.d_ff, self.config.init_std, 4, generator)

    def n_matmul_parameters(self) -> int:
        """The LSTMs read each token once in every window it lies in."""
        inside = sum(p.numel() for layer in self.layers for p in layer.parameters() if p.dim() == 2)
        return self.config.context_length * (inside + self.config.d_model) + self.output_weight.numel()

    def keys_seen(self, length: int) -> int:
        return 0

    @property
    def max_tokens(self) -> int:
        return UNLIMITED

    def new_cache(self, batch: int, capacity: int) -> TokenCache:
        """An empty cache; texts of any length fit."""
        return TokenCache(batch, self.embed.weight.device)
