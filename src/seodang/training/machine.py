"""What this machine computes with: device, compute type, threads."""

from __future__ import annotations

import torch

from seodang.errors import UsageError


def choose_device(name: str = "auto") -> torch.device:
    """ "auto" takes CUDA, then Apple's MPS, then the CPU. Raises UsageError for one that is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind = name.split(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, False):
        known = [device for device, present in there.items() if present]
        raise UsageError(f"device {name!r}", "this machine does not have it", f"use one of: {', '.join(known)}")
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """ "auto" takes bfloat16 where the processor multiplies it natively, float32 elsewhere."""
    if name == "float32":
        return torch.float32
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)  # a T4 would emulate it, slowly
    elif device.type == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        native = False
    if name == "bfloat16" and not native and device.type == "cuda":
        raise UsageError("--dtype bfloat16", "this GPU computes it in emulation", "use --dtype float32")
    return torch.bfloat16 if native or name == "bfloat16" else torch.float32
