"""Matrix products in float32 as fast as the processor can do them."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias: (…, N) of x (…, D), weight (N, D), bias (N,); `F.linear`, but for rounding.

    On AMD's processors with AVX-512 MKL, which torch takes, does float32 at half the speed of oneDNN, which it brings
    along. Without gradients only: training there computes in bfloat16, which is oneDNN's already.
    """
    if (
        torch.is_grad_enabled()
        or not (x.dtype == weight.dtype == torch.float32)
        or weight.device.type != "cpu"
        or not x.numel()
        or torch.compiler.is_compiling()
        or torch.is_autocast_enabled("cpu")
        or type(weight) not in (Tensor, nn.Parameter)  # a part of one that is shared out over processes
        or not _prefers_onednn()
    ):
        return F.linear(x, weight, bias)
    result = torch.ops.mkldnn._linear_pointwise(x.flatten(0, -2), weight, bias, "none", [], "")
    return result.unflatten(0, x.shape[:-1]) if x.dim() != 2 else result


class Linear(nn.Linear):
    """`nn.Linear` by `product`."""

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self.weight, self.bias)


@functools.cache
def _prefers_onednn() -> bool:
    """Whether this is an AMD processor with AVX-512, and this torch has the operation."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    try:
        about = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:  # Windows names the maker here
        about = platform.processor()
    return "AuthenticAMD" in about
