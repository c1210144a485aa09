"""Attention's forward and backward pass on this CPU: ours in blocks of queries ÷ torch's fused kernel.

    python benchmarks/attention.py
    python benchmarks/attention.py --shape 8,9,3,512,64 --document 100

Shapes are rows, query heads, key-value heads, tokens, head width. Both take the projections' outputs as they are (not
contiguous) and give gradients of them; milliseconds are the best of --times, taken by turns. `of the peak` counts the
causal half of the scores, forward and two and a half times that backward, against a square matrix product.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from seodang.models.attention import attend, attention_mask
from seodang.training.machine import choose_dtype, keep_freed_memory, matmul_flops_per_second

SHAPES = ("2,12,12,512,64", "12,6,6,256,64", "8,9,3,512,64", "32,4,4,64,32")


def milliseconds(function: Callable[[], object]) -> float:
    """One call."""
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def compare(shape: str, document: int, times: int, dtype: torch.dtype) -> str:
    """One line."""
    batch, heads, kv_heads, length, d = (int(number) for number in shape.split(","))
    device = torch.device("cpu")
    x = torch.randn(batch, length, (heads + 2 * kv_heads) * d).to(dtype).requires_grad_()
    up = torch.randn(batch, length, heads * d).to(dtype)
    documents = (torch.arange(length) // document).expand(batch, -1) if document else None
    blocks = attention_mask(length, length, documents, dtype=dtype, device=device)
    dense = None
    if documents is not None:
        visible = (documents[:, :, None] == documents[:, None, :]).tril()
        dense = torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, float("-inf"))[:, None]

    def run(attention: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        parts = x.split((heads * d, kv_heads * d, kv_heads * d), dim=-1)
        q, k, v = (part.unflatten(-1, (-1, d)).transpose(1, 2) for part in parts)
        return torch.autograd.grad(attention(q, k, v).transpose(1, 2).flatten(2), x, up)[0]

    def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, dense, is_causal=dense is None, enable_gqa=heads != kv_heads)

    sides = {"ours": lambda: run(lambda q, k, v: attend(q, k, v, blocks)), "fused": lambda: run(fused)}
    best = {name: min(milliseconds(side) for _ in range(2)) for name, side in sides.items()}
    for _ in range(times):
        best = {name: min(best[name], milliseconds(side)) for name, side in sides.items()}
    work = 3.5 * 4 * batch * heads * length**2 * d / 2
    peak = matmul_flops_per_second(device, dtype)
    shares = {name: work / (ms / 1e3) / peak for name, ms in best.items()}
    return (
        f"{shape}{f', documents of {document}' if document else ''}: ours {best['ours']:.1f} ms ({shares['ours']:.0%} "
        f"of the peak), fused {best['fused']:.1f} ms ({shares['fused']:.0%}); {best['fused'] / best['ours']:.1f} times"
    )


def main() -> None:
    """Measure and print a line for each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", action="append", help=f"default: {' '.join(SHAPES)}")
    parser.add_argument("--document", type=int, default=0, help="cut rows into documents of so many tokens")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    options = parser.parse_args()
    keep_freed_memory()
    for shape in options.shape or SHAPES:
        print(compare(shape, options.document, options.times, choose_dtype(options.dtype, torch.device("cpu"))))


if __name__ == "__main__":
    main()
