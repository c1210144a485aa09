"""`seodang generate`: continue a prompt."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seodang.cli.answering import Paths, Texts, gather, read_text, refuse_unfinished
from seodang.cli.frame import parse, print_result, say
from seodang.cli.prompting import PromptOptions, answer
from seodang.errors import UsageError

if TYPE_CHECKING:
    from seodang.inference.decode import Generation
    from seodang.inference.language_model import LanguageModel


@dataclass(kw_only=True)
class GenerateConfig(PromptOptions):
    """Continue a prompt. The continuation goes to stdout as it comes; several prompts are continued together.

    --shots, --task, --template, --cot, --samples and --tasks put words around a prompt: docs/prompting.md.
    """

    prompt: Texts = ()
    """Text to continue; may be given several times."""
    prompt_file: Paths = ()
    """File whose whole text is a prompt; - is standard input."""
    max_new_tokens: int | None = None
    """Stop after this many tokens; 64, or what an encoder-decoder's generation_config.json says."""
    num_beams: int | None = None
    """Beam search with this many beams; 1 is none, and the default where an encoder-decoder does not say more."""
    length_penalty: float | None = None
    """Beam search divides log P by length to this power (1); above 0 favours longer texts."""
    min_new_tokens: int | None = None
    """Let the text not end before so many tokens."""
    no_repeat_ngram_size: int | None = None
    """Let no so many tokens come twice."""
    batch_size: int = 16
    """Prompts that go through the model together. Never changes a text."""
    json: bool = False
    """Print text, tokens, finish_reason as JSON; a list when there are several prompts."""
    quiet: bool = False
    """No line about the speed."""


def main(argv: list[str]) -> int:
    """Exit code 0; errors are raised."""
    config = parse(GenerateConfig, argv, "seodang generate")
    if config.batch_size < 1:
        raise UsageError(f"batch_size = {config.batch_size}", "it must be 1 or more", "set --batch-size 1 or more")
    options: dict[str, Any] = {
        **config.sampling(),
        "max_new_tokens": config.max_new_tokens,
        "num_beams": config.num_beams,
        "length_penalty": config.length_penalty,
        "min_new_tokens": config.min_new_tokens,
        "no_repeat_ngram_size": config.no_repeat_ngram_size,
    }
    if config.prompting:
        prompts = [*config.prompt, *map(read_text, config.prompt_file)]
        return answer(config, prompts, options, config.batch_size, config.json)
    prompts = gather(config.prompt, config.prompt_file, "prompt")
    model = config.load()
    start = time.perf_counter()
    streams = len(prompts) == 1 and not config.json and not config.constrained
    if streams and model.settings(**options).num_beams == 1:
        results = [_stream(model, prompts[0], options)]
    else:
        results = model.generate(prompts, batch_size=config.batch_size, **options)
        if config.constrained and not config.json:
            refuse_unfinished(results)
        rows = [as_dict(prompt, result) for prompt, result in zip(prompts, results, strict=True)]
        blocks = [f"## {prompt}\n{result.text}\n" for prompt, result in zip(prompts, results, strict=True)]
        single = len(rows) == 1
        print_result(rows[0] if single else rows, config.json, results[0].text if single else blocks)
    if not config.quiet:
        say(_speed(results, time.perf_counter() - start))
    if config.constrained:
        refuse_unfinished(results)
    return 0


def as_dict(prompt: str, generation: Generation) -> dict[str, Any]:
    """The JSON shape of one generation."""
    return {
        "prompt": prompt,
        "text": generation.text,
        "tokens": generation.tokens,
        "finish_reason": generation.finish_reason,
        "prompt_tokens": generation.prompt_tokens,
        "seconds": round(generation.seconds, 3),
    }


def _stream(model: LanguageModel, prompt: str, options: dict[str, Any]) -> Generation:
    stream = model.stream(prompt, **options)
    for piece in stream:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()
    return stream.generation


def _speed(results: list[Generation], seconds: float) -> str:
    n_tokens = sum(len(result.tokens) for result in results)
    reasons = ", ".join(sorted({result.finish_reason for result in results}))
    return f"{n_tokens} tokens in {seconds:.1f} s, {n_tokens / seconds:,.1f} tokens/s (ended by: {reasons})"
