"""The parts that models are assembled from: one attention, two MLPs, two orders of block.

Shapes: B batch, T new tokens, S all tokens (cached ones too), D model width, H query heads, K key-value heads,
d head width, F inner width of the MLP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seodang.models.attention import Mask, attend, random_keep
from seodang.models.cache import KVCache
from seodang.models.config import Activation, ModelConfig
from seodang.models.linear import Linear
from seodang.models.positions import rotate

Rotation = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Multi-head self-attention with grouped key-value heads, rotary positions, a window and a cache, each optional.

    The projections are laid out as the family publishes them, q, k and v fused (GPT) or apart (LLaMA), so that
    adapters made elsewhere fit module by module. bias and out_bias are the config's `attention_bias` when not given.
    norm: what queries and keys go through, head by head, before they are turned (Qwen 3, Gemma 3).
    """

    def __init__(
        self,
        config: ModelConfig,
        layer: int,
        *,
        fused: bool,
        bias: bool | None = None,
        out_bias: bool | None = None,
        causal: bool = True,
        norm: type[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.layer, self.n_heads, self.n_kv_heads = layer, config.n_heads, config.n_kv_heads
        self.d_head, self.dropout, self.fused, self.causal = config.d_head, config.attention_dropout, fused, causal
        self.window = config.window if layer in config.local_layers else None
        self.scale, self.softcap = config.query_scale, config.attention_softcap
        bias = config.attention_bias if bias is None else bias
        out_bias = config.attention_bias if out_bias is None else out_bias
        d_q, d_kv = config.n_heads * config.d_head, config.n_kv_heads * config.d_head
        if fused:
            self.qkv = Linear(config.d_model, d_q + 2 * d_kv, bias=bias)
        else:
            self.q = Linear(config.d_model, d_q, bias=bias)
            self.k = Linear(config.d_model, d_kv, bias=bias)
            self.v = Linear(config.d_model, d_kv, bias=bias)
        self.out = Linear(d_q, config.d_model, bias=out_bias)
        self.q_norm = None if norm is None else norm(config.d_head, eps=config.norm_eps)
        self.k_norm = None if norm is None else norm(config.d_head, eps=config.norm_eps)

    def forward(
        self, x: Tensor, mask: Mask | None, rotation: Rotation | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """x (B, T, D) → (B, T, D)."""
        x = x.to(compute_type(x))  # once for the three projections, which keep it for the backward pass
        d_kv = self.n_kv_heads * self.d_head
        if self.fused:
            q, k, v = self.qkv(x).split((self.n_heads * self.d_head, d_kv, d_kv), dim=-1)
        else:
            q, k, v = self.q(x), self.k(x), self.v(x)
        q, k, v = (part.unflatten(-1, (-1, self.d_head)).transpose(1, 2) for part in (q, k, v))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        dropout = self.dropout if self.training else 0.0
        y = attend(q, k, v, mask, dropout, causal=self.causal, scale=self.scale, softcap=self.softcap)
        return self.out(y.transpose(1, 2).flatten(2))


def compute_type(x: Tensor) -> torch.dtype:
    """The type that matrix products of x are computed in."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


class RMSNorm(nn.RMSNorm):
    """x / √(mean x² + ε) · weight (Zhang & Sennrich 2019, eq. 4), which keeps its input and one number a row."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            exact = x.to(torch.promote_types(x.dtype, self.gain().dtype))
            return F.rms_norm(exact, self.normalized_shape, self.gain(), self.eps).to(x.dtype)
        result = _RMSNorm.apply(x, self.gain(), self.eps)
        assert isinstance(result, Tensor)
        return result

    def gain(self) -> Tensor:
        """The factor of each number."""
        return self.weight


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        rate = torch.rsqrt(exact.square().mean(dim=-1, keepdim=True).add_(eps))
        ctx.save_for_backward(x, weight, rate)
        return (x * rate).mul_(weight).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, rate = ctx.saved_tensors
        normed = x * rate
        product = d_out * normed
        d_weight = product.flatten(0, -2).sum(dim=0)
        slope = (product @ weight / x.shape[-1])[..., None]  # mean of d_out · weight · normed
        return (d_out * weight).sub_(normed.mul_(slope)).mul_(rate), d_weight, None


class Dropout(nn.Dropout):
    """x · keep / (1 - p) (Srivastava et al. 2014); on a CPU with faster random bits than torch's."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0 or input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        return input * random_keep(input.shape, self.p).to(input.dtype) / (1 - self.p)


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "relu": F.relu,
}


class MLP(nn.Module):
    """down(activation(up(x))): (B, T, D) → (B, T, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = Linear(config.d_model, config.d_ff, bias=config.mlp_bias)
        self.down = Linear(config.d_ff, config.d_model, bias=config.mlp_bias)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class GatedMLP(MLP):
    """down(activation(gate(x)) · up(x)): SwiGLU with SiLU (Shazeer 2020, eq. 6)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.gate = Linear(config.d_model, config.d_ff, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(compute_type(x))
        gate, up = self.gate(x), self.up(x)
        if self.activation is F.silu and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return self.down(_SwiGLU.apply(gate, up))
        if not torch.is_grad_enabled():
            return self.down(self.activation(gate).mul_(up))
        return self.down(self.activation(gate) * up)


class _SwiGLU(torch.autograd.Function):
    """silu(gate) · up; silu(gate) is computed again in the backward pass instead of being kept."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(d_out * up, gate), F.silu(gate).mul_(d_out)


class Block(nn.Module):
    """Attention, then MLP, each with a norm and a residual connection."""

    def __init__(self, config: ModelConfig, attention: Attention, mlp: MLP, norm: type[nn.Module]) -> None:
        super().__init__()
        self.attention, self.mlp = attention, mlp
        self.attention_norm = norm(config.d_model, eps=config.norm_eps)
        self.mlp_norm = norm(config.d_model, eps=config.norm_eps)
        self.dropout = Dropout(config.residual_dropout)


class PreNormBlock(Block):
    """x + f(norm(x)): GPT-2 (sec. 2.3) and everything after it."""

    def forward(
        self, x: Tensor, mask: Mask | None, rotation: Rotation | None = None, cache: KVCache | None = None
    ) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), mask, rotation, cache))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class PostNormBlock(Block):
    """norm(x + f(x)): the original Transformer (sec. 3.1) and GPT-1."""

    def forward(
        self, x: Tensor, mask: Mask | None, rotation: Rotation | None = None, cache: KVCache | None = None
    ) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, mask, rotation, cache)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))
