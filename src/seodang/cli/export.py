"""`seodang export`: a model as a GGUF file for llama.cpp and Ollama, or as a Hugging Face folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seodang.cli.frame import parse, print_result, say
from seodang.errors import UsageError


@dataclass(kw_only=True)
class ExportConfig:
    """Write a model as a GGUF file or a Hugging Face folder. It is read back and compared before it gets its name."""

    model: str
    """Folder, run folder, GGUF file, installed model (smollm2), or hub id."""
    out: Path
    """FILE.gguf, or a folder."""
    type: Literal["f32", "f16", "bf16", "q8_0", "q4_0"] | None = None
    """What a GGUF file's matrices are; f16 by default, 8.5 bits a weight with q8_0 and 4.5 with q4_0."""
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    """What a folder's weights are; float32 by default."""
    name: str | None = None
    """The name that a GGUF file gives itself; the model's by default."""
    json: bool = False
    """Print the result as JSON."""


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    config = parse(ExportConfig, argv, "seodang export")
    to_file = config.out.suffix == ".gguf"
    if to_file and config.dtype:
        raise UsageError(f"--dtype for {config.out}", "it belongs to Hugging Face folders", "use --type")
    if not to_file and (config.type or config.name):
        raise UsageError(
            f"{config.out} is a folder", "--type and --name belong to GGUF files", "end --out in .gguf, or use --dtype"
        )
    say(f"{config.model} → {config.out}")
    from seodang.recipes.export import export_folder, export_gguf

    if to_file:
        result = export_gguf(config.model, config.out, config.type or "f16", config.name)
    else:
        result = export_folder(config.model, config.out, config.dtype)
    if result.get("note"):
        say(f"note: {result['note']}")
    print_result(result, config.json, _lines(result))
    return 0


def _lines(result: dict[str, object]) -> list[str]:
    kinds, same = result["kinds"], result["agreement"]
    assert isinstance(kinds, dict) and isinstance(same, dict)
    stored = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    lines = [
        f"{result['path']}: {_megabytes(result['n_bytes'])}, {result['n_parameters']:,} parameters ({stored})",
        f"largest difference of a weight: {result['largest_difference']:.3g} in {result['largest_in']}",
    ]
    if same["prompts"]:
        lines.append(f"greedy choice the same at {same['same']} of {same['tokens']} tokens of {same['prompts']} texts")
    return lines


def _megabytes(n_bytes: object) -> str:
    assert isinstance(n_bytes, int)
    return f"{n_bytes / 1e6:,.1f} MB"
