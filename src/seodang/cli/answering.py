"""Flags that generate, chat, suggest and score share, and reading the texts they are given. No torch here."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from seodang.cli.frame import say
from seodang.errors import DataError, FitError, UsageError

if TYPE_CHECKING:
    from seodang.inference.decode import Generation
    from seodang.inference.language_model import LanguageModel

Texts = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
Paths = Annotated[tuple[Path, ...], tyro.conf.UseAppendAction]


@dataclass(kw_only=True)
class ModelOptions:
    """Which model, and where it runs."""

    model: str
    """Folder, run folder, GGUF file, installed model (smollm2), or hub id."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the weights and of the computation; auto is float32."""

    def load(self) -> LanguageModel:
        """The model, ready."""
        from seodang.inference.language_model import load

        model = load(self.model, device=self.device, dtype=self.dtype)
        if model.ignored:
            say(f"note: of the model's generation_config.json this has no effect here: {', '.join(model.ignored)}")
        return model


@dataclass(kw_only=True)
class SamplingOptions(ModelOptions):
    """How the next token is chosen. What is not given comes from the model's generation_config.json, else greedy."""

    temperature: float | None = None
    """0 takes the most probable token; higher is more random."""
    top_k: int | None = None
    """Choose among the k most probable tokens."""
    top_p: float | None = None
    """Choose among the most probable tokens that have this mass together."""
    min_p: float | None = None
    """Choose among tokens at least this many times as probable as the best one."""
    repetition_penalty: float | None = None
    """Above 1 makes tokens that have been used less probable."""
    stop: Texts = ()
    """Stop before this text; may be given several times."""
    dola: str | None = None
    """Contrast the last layer with earlier ones: low, high, or their numbers as in 2,4,6 (DoLa)."""
    schema: Path | None = None
    """JSON file with the schema that the text must follow."""
    regex: str | None = None
    """Regular expression that the whole text must match."""
    choice: Texts = ()
    """A text that may be answered; given several times, no other is."""
    seed: int = 0
    """Seed of the random choices."""

    def sampling(self) -> dict[str, Any]:
        """As keywords of `LanguageModel.generate`; warns of numbers that greedy decoding ignores."""
        names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "stop", "seed", "dola", "regex")
        if self.temperature == 0:
            idle = [f"--{name.replace('_', '-')}" for name in ("top_k", "top_p", "min_p") if getattr(self, name)]
            if idle:
                say(f"note: {', '.join(idle)} without effect: --temperature 0 takes the most probable token")
        schema = None if self.schema is None else read_schema(self.schema)
        return {**{name: getattr(self, name) for name in names}, "schema": schema, "choices": self.choice or None}

    @property
    def constrained(self) -> bool:
        """Whether the text must keep to something."""
        return self.schema is not None or self.regex is not None or bool(self.choice)


def refuse_unfinished(results: Sequence[Generation]) -> None:
    """Raise FitError when texts that must keep to something were cut."""
    cut = [result for result in results if result.finish_reason == "length"]
    if cut:
        texts = "the text is" if len(results) == 1 else f"{len(cut)} of {len(results)} texts are"
        raise FitError(
            f"{texts} not whole after {max(len(result.tokens) for result in cut)} tokens",
            "the length limit came before the end that the schema, regex or choices ask for",
            "allow more with --max-new-tokens, or bound the lengths in the schema (maxLength, maxItems)",
        )


def read_schema(path: Path) -> Any:
    """The JSON schema of a file, checked. Raises DataError that names the file and, where it can, the row."""
    text = read_text(path)
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno} is not JSON", error.msg, "correct that line") from None
    from seodang.inference.schema import grammar_of

    try:
        grammar_of(schema)
    except UsageError as error:
        raise DataError(f"{path}: {error.what}", error.why, error.fix) from None
    return schema


def read_text(path: Path) -> str:
    """A UTF-8 file's whole text, "-" for standard input, without its last newline. Raises DataError."""
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise DataError(f"{path} cannot be read", reason, "check the path") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{row} is not UTF-8", str(error), f"iconv -t UTF-8 {path} > utf8.txt") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise DataError(f"{path} is empty", "there is no text in it", "write some text into it")
    return text


def gather(texts: tuple[str, ...], files: tuple[Path, ...], flag: str) -> list[str]:
    """The texts of the flags, then those of the files. Raises UsageError when there is none."""
    found = [*texts, *(read_text(path) for path in files)]
    if not found:
        raise UsageError("no text was given", f"neither --{flag} nor a file names one", f'add --{flag} "…"')
    return found


def demonstrations(k: int | None, shots: Paths) -> int:
    """How many are shown. Raises UsageError for some without a file that has them."""
    if k and not shots:
        raise UsageError(f"-k {k} without --shots", "there is nothing to take demonstrations from", "add --shots FILE")
    return (4 if k is None else k) if shots else 0
