"""Matrix products in float32 as fast as an x86 processor can do them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class FastProducts(TorchFunctionMode):
    """Within it, products with float32 matrices on an x86 processor go through oneDNN; nothing else changes.

    torch's own go through MKL, which on AMD's processors leaves AVX-512 unused: half the speed. oneDNN's results differ
    by rounding alone. Without gradients only.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fast = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") and hasattr(
            torch.ops.mkldnn, "_linear_pointwise"
        )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.linear and self._fast and not kwargs and _suits(*args[:2]):
            bias = args[2] if len(args) > 2 else None
            return torch.ops.mkldnn._linear_pointwise(args[0], args[1], bias, "none", [], "")
        return func(*args, **kwargs)


def _suits(x: Tensor, weight: Tensor) -> bool:
    kinds = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    return kinds and weight.dim() == 2 and x.dim() > 1 and x.numel() > 0 and not torch.is_grad_enabled()
