"""What makes one model differ in size from another of its family."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from seodang.errors import UsageError, suggest

Activation = Literal["gelu", "gelu_tanh", "silu", "relu"]
Scaling = Literal["none", "linear", "dynamic", "yarn", "llama3", "longrope"]


@dataclass(frozen=True, kw_only=True)
class RoPE:
    """Rotary positions (Su et al. 2021) and how they are stretched beyond the trained context.

    linear: Chen et al. 2023; dynamic: NTK-aware; yarn: Peng et al. 2023; llama3: Llama 3.1's bands;
    longrope: Ding et al. 2024.
    """

    theta: float = 10000.0
    share: float = 1.0
    """Share of each head that is turned, from its first number on (GPT-NeoX)."""
    scaling: Scaling = "none"
    factor: float = 1.0
    original_context: int | None = None
    """Context length in tokens before stretching."""
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    attention_factor: float | None = None
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Numbers of one model. Which parts they size is written in the family's file (gpt.py, llama.py, bert.py …)."""

    family: str
    vocab_size: int
    context_length: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int = 0
    """Key and value heads (grouped-query attention); 0 means one for each query head."""
    d_head: int = 0
    """Width of a head; 0 means d_model / n_heads."""
    d_ff: int = 0
    """Inner width of the MLP; 0 means 4 · d_model."""
    activation: Activation = "gelu_tanh"
    norm_eps: float = 1e-5
    tied: bool = True
    """The output matrix is the input embedding."""
    attention_bias: bool = True
    mlp_bias: bool = True
    parallel_residual: bool = True
    """Attention and MLP of a GPT-NeoX block read the same input; otherwise one reads what the other wrote."""
    rope: RoPE | None = None
    window: int | None = None
    """Tokens that a query of a local layer sees, itself included."""
    local_layers: tuple[int, ...] = ()
    """Numbers of the layers whose attention is local, counted from 0."""
    rope_local: RoPE | None = None
    """Rotary positions of the local layers, where they differ (Gemma 3)."""
    query_scale: float | None = None
    """What q·k is multiplied with; 1/√d_head when not given."""
    attention_softcap: float | None = None
    """Scores z of attention become cap·tanh(z/cap) (Gemma 2)."""
    logit_softcap: float | None = None
    """The same of the logits."""
    d_embed: int = 0
    """Width of a factorised embedding (ALBERT, ELECTRA); 0 means d_model."""
    n_segments: int = 0
    """Token types of an encoder (BERT's sentences A and B)."""
    heads: tuple[str, ...] | None = None
    """Which heads an encoder has: pooler, masked, sentence, replaced; None: all that its family has. Of a decoder
    none at all, (), says that it came without its output matrix."""
    n_classes: int = 0
    """Outputs of the class head of a fine-tuned model; 0: it has none; 1: a score, of a text or of each answer."""
    head_dropout: float = 0.0
    """Dropout before the class head."""
    generator_share: float = 0.0
    """Width of ELECTRA's generator as a share of the discriminator's; 0: there is no generator."""
    n_encoder_layers: int = 0
    """Layers of an encoder-decoder's encoder; n_layers are its decoder's."""
    relative_buckets: int = 32
    """Buckets of T5's relative positions."""
    relative_distance: int = 128
    """Distance from which on T5's relative positions share the last bucket."""
    start_id: int | None = None
    """What a decoder's text begins with in an encoder-decoder."""
    pad_id: int | None = None
    """The padding token, where the layout on disk or the positions (RoBERTa) depend on it."""
    embedding_dropout: float = 0.0
    attention_dropout: float = 0.0
    residual_dropout: float = 0.0
    init_std: float = 0.02

    def __post_init__(self) -> None:
        if not self.d_head:
            if self.d_model % self.n_heads:
                raise UsageError(
                    f"d_model = {self.d_model} with n_heads = {self.n_heads}",
                    "the width does not divide into that many heads",
                    "change one of them, or give d_head",
                )
            object.__setattr__(self, "d_head", self.d_model // self.n_heads)
        object.__setattr__(self, "n_kv_heads", self.n_kv_heads or self.n_heads)
        object.__setattr__(self, "d_ff", self.d_ff or 4 * self.d_model)
        object.__setattr__(self, "local_layers", tuple(layer for layer in self.local_layers if layer < self.n_layers))
        if self.local_layers and not self.window:
            raise UsageError("local layers without a window", "nothing says how much they see", "give window")
        if self.n_heads % self.n_kv_heads:
            raise UsageError(
                f"n_heads = {self.n_heads} with n_kv_heads = {self.n_kv_heads}",
                "every key-value head must serve the same number of query heads",
                "make n_heads a multiple of n_kv_heads",
            )
        for name in ("vocab_size", "context_length", "d_model", "n_layers", "n_heads", "d_ff"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}", "it must be at least 1", f"correct {name}")
        if self.rope and int(self.d_head * self.rope.share) % 2:
            turned = int(self.d_head * self.rope.share)
            raise UsageError(f"d_head = {turned}", "rotary positions turn pairs of numbers", "make it even")

    def with_dropout(self, probability: float) -> ModelConfig:
        """The same sizes with one dropout probability at all three places (embedding, attention, residual)."""
        if not 0 <= probability < 1:
            raise UsageError(f"dropout = {probability}", "it is a probability below 1", "choose 0 to 0.5")
        return replace(
            self,
            embedding_dropout=probability,
            attention_dropout=probability,
            residual_dropout=probability,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Inverse of `to_dict`. Raises UsageError for an unknown key."""
        for key in values:
            if key not in cls.__dataclass_fields__:
                raise UsageError(f"unknown model setting {key!r}", "", suggest(key, cls.__dataclass_fields__))
        values = {**values, "local_layers": tuple(values.get("local_layers", ()))}
        if values.get("heads") is not None:
            values["heads"] = tuple(values["heads"])
        for name in ("rope", "rope_local"):
            rope = values.get(name)
            if isinstance(rope, dict):
                lists = {key: tuple(rope[key]) for key in ("short_factor", "long_factor") if key in rope}
                values[name] = RoPE(**{**rope, **lists})
        return cls(**values)
