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
    """Sizes of one decoder. Which parts they size is the family's file (gpt.py, llama.py)."""

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
    rope: RoPE | None = None
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
        if self.n_heads % self.n_kv_heads:
            raise UsageError(
                f"n_heads = {self.n_heads} with n_kv_heads = {self.n_kv_heads}",
                "every key-value head must serve the same number of query heads",
                "make n_heads a multiple of n_kv_heads",
            )
        for name in ("vocab_size", "context_length", "d_model", "n_layers", "n_heads", "d_ff"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}", "it must be at least 1", f"correct {name}")
        if self.rope and self.d_head % 2:
            raise UsageError(f"d_head = {self.d_head}", "rotary positions turn pairs of numbers", "make it even")

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
        rope = values.get("rope")
        if isinstance(rope, dict):
            lists = {key: tuple(rope[key]) for key in ("short_factor", "long_factor") if key in rope}
            values = {**values, "rope": RoPE(**{**rope, **lists})}
        return cls(**values)
