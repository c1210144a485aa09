"""A model as GGUF, read by llama.cpp (llama-cpp-python) and by us: the same ids of texts, the same greedy tokens?

    pip install "seodang[benchmark]"
    python benchmarks/against_llama_cpp.py --model smollm2
    python benchmarks/against_llama_cpp.py --random gpt2 --random llama

For every type the model is exported, and both sides read the same file. llama.cpp rounds what it multiplies with a
matrix: to float16 for an f16 matrix, to blocks of 8 bits for a quantised one. We compute in float32 ("plain") and once
more with that rounding put in ("rounded"), which shows what of a difference is llama.cpp's arithmetic and what would be
a mistake in the file. Compared are the ids of 20 texts, the greedy tokens behind 8 prompts, and, at every place of
prompts and continuations, the most probable token and the logits; the gap says how far ahead of llama.cpp's choice our
own was, in logits.
`--random FAMILY` makes a small model of the family with large random weights and a tokenizer learned from the primer.
llama.cpp may live in another environment: `--python`. Tokens a second are of one prompt after the other, plain.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TEXTS = [
    "The capital of France is Paris.", "I'LL say it's 2024, don't you?", "x = f(y)[3] != 4\n    return x", "a" * 50,
    "서당개 삼 년이면 풍월을 읊는다.", "옛날 어느 마을에 호랑이가 살았습니다.", "ㅋㅋㅋ 뷁",
    "한글과 English를 섞어 쓴 12,345원", "아버지가방에들어가신다", "「서울」의 인구는 9,400,000명(2023년)입니다!",
    "漢字 かな Привет العربية ไทย", "café naïve ¿qué?", "🙂 👩‍👩‍👧 가족 🇰🇷", " two  spaces and\ttabs\n\n\nnewlines ",
    "<|im_end|> is text", "3.14159 ½ ² Ⅻ", "   ", "끝\u00a0\u200b", "ALL CAPS and CamelCaseWords_with_snake",
    "https://example.org/?q=서당&n=1#top",
]  # fmt: skip
PROMPTS = [
    "The capital of France is", "Once upon a time", "def fibonacci(n):", "Water boils at",
    "대한민국의 수도는", "옛날 어느 마을에", "안녕하세요. 저는", "오늘은 날씨가",
]  # fmt: skip


def theirs() -> None:
    """llama.cpp's side: a job on stdin, what it found on stdout. Needs nothing of ours."""
    import numpy as np
    from llama_cpp import Llama

    job = json.load(sys.stdin)
    model = Llama(job["file"], n_ctx=job["context"], n_threads=job["threads"], n_threads_batch=job["threads"],
                  logits_all=True, swa_full=True, type_k=0, type_v=0, verbose=False)  # fmt: skip
    ids = [model.tokenize(text.encode(), add_bos=False, special=False) for text in job["texts"]]
    tokens, seconds = [], 0.0
    for prompt in job["prompts"]:
        model.reset()
        start = time.perf_counter()
        model.eval(prompt)
        found = [int(model.scores[model.n_tokens - 1].argmax())]
        while len(found) < job["new_tokens"]:
            model.eval(found[-1:])
            found.append(int(model.scores[model.n_tokens - 1].argmax()))
        seconds += time.perf_counter() - start
        tokens.append(found)
    logits = []
    for row in job["rows"]:
        model.reset()
        model.eval(row)
        logits.append(model.scores[: len(row)].copy())
    np.savez(job["logits"], *logits)
    json.dump({"ids": ids, "tokens": tokens, "tokens_per_second": sum(map(len, tokens)) / seconds}, sys.stdout)


def ours(model: Any, new_tokens: int) -> dict[str, Any]:
    """Our side: greedy tokens behind the prompts, and logits at every place of both."""
    import torch

    from seodang.inference.decode import generate
    from seodang.inference.sampling import Settings

    prompts = [model.prompt_ids(prompt) for prompt in PROMPTS]
    settings = Settings(max_new_tokens=new_tokens)
    start = time.perf_counter()
    tokens = [generate(model.model, [prompt], settings)[0].tokens for prompt in prompts]
    seconds = time.perf_counter() - start
    rows = [prompt + found for prompt, found in zip(prompts, tokens, strict=True)]
    logits = [model.logits([row], dtype=torch.float32)[0] for row in rows]
    rate = sum(map(len, tokens)) / seconds
    return {"prompts": prompts, "tokens": tokens, "rows": rows, "logits": logits, "tokens_per_second": rate}


def round_as_llama_cpp(model: Any, file: Path) -> None:
    """Round the input of every matrix of `model` as ggml's products do for the type that `file` keeps it in."""
    from functools import partial

    from torch import Tensor, nn

    from seodang.checkpoints.gguf import GGUFFile

    kinds = {name: tensor.tensor_type.name for name, tensor, _ in GGUFFile(file).quantised()}

    def rounded(x: Tensor, kind: str) -> Tensor:
        if kind == "F16":
            return x.half().float()
        if kind not in ("Q8_0", "Q4_0"):
            return x
        blocks = x.unflatten(-1, (-1, 32))
        step = blocks.abs().amax(-1, keepdim=True) / 127
        return ((blocks / step.clamp_min(1e-30)).round() * step.half().float()).flatten(-2)

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], kind: str) -> tuple[Tensor, ...]:
        return (rounded(inputs[0], kind), *inputs[1:])

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(partial(hook, kind=kinds[name + ".weight"]))
    model.to_output = partial(rounded, kind=kinds.get("head.weight", kinds["embed.weight"]))


def compare(file: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides on one file."""
    import numpy as np

    from seodang.inference.language_model import load

    model = load(file, device="cpu")
    mine = {"plain": ours(model, options.new_tokens)}
    round_as_llama_cpp(model.model, file)
    mine["rounded"] = ours(model, options.new_tokens)
    rows = [row for one in mine.values() for row in one["rows"]]
    job = {"file": str(file), "texts": TEXTS, "prompts": mine["plain"]["prompts"], "rows": rows}
    job |= {"new_tokens": options.new_tokens, "context": max(map(len, rows)) + 8, "threads": options.threads}
    job["logits"] = str(file.with_suffix(".npz"))
    done = subprocess.run([options.python, __file__, "--theirs"], input=json.dumps(job), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"llama.cpp: {done.stderr[-2000:]}")
    found, ids = json.loads(done.stdout), model.tokenizer.encode_batch(TEXTS)
    with np.load(job["logits"]) as logits:
        there = [logits[name] for name in logits.files]
    half = len(there) // 2
    return {
        "texts": len(TEXTS),
        "texts_with_other_ids": [text for text, a, b in zip(TEXTS, ids, found["ids"], strict=True) if a != b],
        "plain": _agreement(mine["plain"], found["tokens"], there[:half]),
        "rounded": _agreement(mine["rounded"], found["tokens"], there[half:]),
        "ours_tokens_per_second": mine["plain"]["tokens_per_second"],
        "llama_cpp_tokens_per_second": found["tokens_per_second"],
    }


def _agreement(mine: dict[str, Any], tokens: list[list[int]], theirs: list[Any]) -> dict[str, Any]:
    import torch

    same, places, difference, gaps = 0, 0, 0.0, [0.0]
    for here, other in zip(mine["logits"], map(torch.from_numpy, theirs), strict=True):
        best, chosen = here.argmax(-1), other.argmax(-1)
        places += len(best)
        same += int((best == chosen).sum())
        difference = max(difference, float((here - other).abs().max()))
        gaps += [float(here[at, best[at]] - here[at, chosen[at]]) for at in torch.nonzero(best != chosen)[:, 0]]
    return {
        "continuations": len(tokens),
        "continuations_the_same": sum(a == b for a, b in zip(mine["tokens"], tokens, strict=True)),
        "tokens_before_they_part": [_common(a, b) for a, b in zip(mine["tokens"], tokens, strict=True)],
        "places": places,
        "places_the_same": same,
        "widest_gap": max(gaps),
        "largest_logit_difference": difference,
    }


def _common(first: list[int], second: list[int]) -> int:
    return next((at for at, (a, b) in enumerate(zip(first, second, strict=True)) if a != b), len(first))


def random_folder(family: str, folder: Path) -> Path:
    """The small size of `family` with large random weights, norms and biases too, and a tokenizer of its own."""
    from dataclasses import replace

    import torch

    from seodang.checkpoints.huggingface import save_folder
    from seodang.data.primer import primer_documents
    from seodang.models.families import build_model
    from seodang.models.sizes import SIZES
    from seodang.text.train import train_tokenizer

    texts = (document.text for document in primer_documents(megabytes=0.3))
    tokenizer = train_tokenizer(texts, "bpe", 1024)
    sizes = next(size for name, size in SIZES.items() if size.family == family and name.endswith("-mini"))
    window = sizes.window and 16  # so that it is felt in a text of fifty tokens
    # llama.cpp looks at no window of a Mistral
    local = {"window": None, "local_layers": ()} if family == "mistral" else {"window": window}
    config = replace(sizes.with_dropout(0.0), vocab_size=tokenizer.vocab_size, context_length=256, **local)
    model = build_model(config)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            scale = 1.0 if name.startswith("embed") else 0.3 if weight.dim() == 1 else 2.0 * weight.shape[1] ** -0.5
            shift = 1.0 if name.endswith("norm.weight") and not family.startswith("gemma") else 0.0
            weight.copy_(shift + scale * torch.randn(weight.shape, generator=draw))
    save_folder(folder, model, tokenizer)
    return folder


def main() -> None:
    """Export, compare, print."""
    if "--theirs" in sys.argv:
        return theirs()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], help="as everywhere; may be given several times")
    parser.add_argument("--random", action="append", default=[], metavar="FAMILY", help="a small random model")
    parser.add_argument("--type", action="append", help="default: f32 f16 q8_0 q4_0")
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has llama-cpp-python")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    import torch

    from seodang.recipes.export import export_gguf

    torch.set_num_threads(options.threads)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        models = [*options.model, *(str(random_folder(f, Path(folder) / f)) for f in options.random)]
        for model in models or ["smollm2"]:
            for kind in options.type or ["f32", "f16", "q8_0", "q4_0"]:
                file = Path(folder) / "model.gguf"
                export_gguf(model, file, kind)
                result = {"model": Path(model).name, "type": kind, "megabytes": file.stat().st_size / 1e6}
                results.append(result | compare(file, options))
                if not options.json:
                    print(_line(results[-1]), flush=True)
    if options.json:
        print(json.dumps({"benchmark": "against llama.cpp", "results": results}, ensure_ascii=False))


def _line(found: dict[str, Any]) -> str:
    other = found["texts_with_other_ids"]
    lines = [
        f"{found['model']} {found['type']}, {found['megabytes']:.1f} MB: {found['texts'] - len(other)} of "
        f"{found['texts']} texts have the same ids{f', not {other}' if other else ''}; ours "
        f"{found['ours_tokens_per_second']:.1f} tokens/s, llama.cpp {found['llama_cpp_tokens_per_second']:.1f}"
    ]
    for way in ("plain", "rounded"):
        one = found[way]
        lines.append(
            f"  {way:<7} {one['continuations_the_same']} of {one['continuations']} continuations the same, "
            f"{one['places_the_same']} of {one['places']} most probable tokens (widest gap {one['widest_gap']:.4f}), "
            f"logits within {one['largest_logit_difference']:.4f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
