"""Our models inside lm-evaluation-harness: `--model seodang --model_args pretrained=FOLDER`.

Version 0.4.13 finds models in its own table alone, so somebody has to import this file first. Instead of `lm_eval`:

    python -m seodang.evaluation.lm_eval_model run --model seodang --model_args pretrained=FOLDER --tasks arc_easy

or, in Python, `import seodang.evaluation.lm_eval_model` before `lm_eval.simple_evaluate(model="seodang", …)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seodang.errors import UsageError
from seodang.inference.decode import Generation
from seodang.inference.language_model import load
from seodang.inference.requests import continuations, generations, rolling
from seodang.text.chat import segments

try:
    import lm_eval.models  # noqa: F401  fills its table, which registering alone would leave empty
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
except ImportError as error:
    raise UsageError(
        "lm-evaluation-harness is not installed", str(error), "pip install 'seodang[lm-eval]'"
    ) from error

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


@register_model("seodang")
class SeodangLM(LM):
    """A folder, GGUF file or name that `seodang.load` reads. Its scores are those of `hf` on the same folder.

    batch_size: prompts that are continued together; log-probabilities choose theirs. device, dtype: as `load`'s.
    """

    def __init__(
        self,
        pretrained: str,
        device: str | None = None,
        dtype: str = "auto",
        batch_size: int | str | None = 16,
        max_batch_size: int | None = None,
        max_gen_toks: int = 256,
    ) -> None:
        super().__init__()
        self.lm = load(pretrained, device=device or "auto", dtype=dtype)
        size = str(batch_size or 16).split(":")[0]
        self.batch_size = int(size) if size.isdigit() else max_batch_size or 16
        self.max_gen_toks = max_gen_toks
        self._device = self.lm.device

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log P, is greedy) of each (context, continuation)."""
        found = continuations(self.lm, [request.args for request in requests], allow_special=True)
        pairs = [(one.logprob, one.is_greedy) for one in found]
        for request, pair in zip(requests, pairs, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, pair)
        return pairs

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """log P of each text; with the bos that the tokenizer adds, as `hf` counts."""
        texts = [request.args[0] for request in requests]
        found = [one.logprob for one in rolling(self.lm, texts, allow_special=True, repeat_bos=True)]
        for request, value in zip(requests, found, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, value)
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """The continuation of each prompt; prompts of the same settings together."""
        groups: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items())), []).append(place)
        found: dict[int, str] = {}
        for places in groups.values():
            texts = self._generate([requests[place].args[0] for place in places], requests[places[0]].args[1])
            found |= {place: one.text for place, one in zip(places, texts, strict=True)}
        for place, request in enumerate(requests):
            self.cache_hook.add_partial("generate_until", request.args, found[place])
        return [found[place] for place in range(len(requests))]

    def _generate(self, prompts: list[str], wanted: dict[str, Any]) -> list[Generation]:
        until = wanted.get("until") or ()
        sampled = wanted.get("do_sample", bool(wanted.get("temperature")))
        options: dict[str, Any] = {"temperature": (wanted.get("temperature") or 1.0) if sampled else 0.0}
        passed = ("repetition_penalty", *(("top_k", "top_p", "min_p") if sampled else ()))
        options |= {name: wanted[name] for name in passed if name in wanted}
        length = next((wanted[name] for name in _LENGTHS if wanted.get(name)), self.max_gen_toks)
        stops = [until] if isinstance(until, str) else [text for text in until if text]
        return generations(
            self.lm, prompts, stops, int(length), allow_special=True, batch_size=self.batch_size, **options
        )

    @property
    def tokenizer_name(self) -> str:
        """What tells its cached requests from those of other tokenizers."""
        return f"seodang-{self.lm.tokenizer.fingerprint()[:16]}"

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The model's chat template, where one is asked for. Raises UsageError when it has none."""
        if not chat_template:
            return None
        self.lm.require_template()
        return self.lm.tokenizer.chat_template

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the template writes it; without a prompt for the answer its last message goes on."""
        parts = segments(self.lm.tokenizer, chat_history, add_generation_prompt=add_generation_prompt)
        if not add_generation_prompt:
            last = max(place for place, part in enumerate(parts) if part.message is not None)
            parts = parts[: last + 1]
        return "".join(part.text for part in parts)


def main() -> None:
    """lm-evaluation-harness's own command line, which now knows `--model seodang`."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
