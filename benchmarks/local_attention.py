"""What banded layers save: GPT-3's alternating layers against all dense ones, in time and in the cache.

    python benchmarks/local_attention.py
    python benchmarks/local_attention.py --context 2048 --window 128 --generate 64

Two models of the same sizes (`--layers`, `--width`) with fresh weights; in one every second layer sees `--window`
tokens. Sides take turns: tokens a second of a training step on one row of `--context` tokens (random ids, AdamW), and
tokens a second of generating `--generate` greedy tokens for `--texts` texts behind prompts that fill the context,
prompts included in neither. The cache is that of one text of `--context` tokens.
"""

from __future__ import annotations

from side_by_side import Side, Work, arguments, compare, machine, our_tokens, report, settle

VOCABULARY = 512
"""Small, so that the layers are what is measured."""


def sizes(layers: int, width: int, context: int, window: int | None):  # type: ignore[no-untyped-def]
    """The config of a model, alternating where a window is given."""
    from dataclasses import replace

    from seodang.models.sizes import published

    local = tuple(range(1, layers, 2)) if window else ()
    return replace(
        published("gpt3-mini"), vocab_size=VOCABULARY, context_length=context, n_layers=layers, d_model=width,
        n_heads=width // 64, n_kv_heads=width // 64, d_head=64, d_ff=4 * width, window=window, local_layers=local,
    )  # fmt: skip


def training(layers: int, width: int, context: int, window: int | None, dtype: str) -> Work:
    """A training step on a row of `context` tokens."""
    return our_tokens(sizes(layers, width, context, window), 1, context, False, dtype)


def generating(layers: int, width: int, context: int, window: int | None, dtype: str, new: int, texts: int) -> Work:
    """`new` greedy tokens behind a prompt that leaves just room for them; the prompt is read once, outside."""
    settle()
    import torch

    from seodang.models.families import build_model
    from seodang.training.machine import choose_dtype

    model = build_model(sizes(layers, width, context, window))
    model.init_weights(torch.Generator().manual_seed(0))
    model = model.to(choose_dtype(dtype, torch.device("cpu"))).eval()
    prompt = torch.randint(VOCABULARY, (texts, context - new), generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def work() -> int:
        ids = prompt[:, -1:]
        cache.truncate(start)
        for _ in range(new):
            ids = model.logits(model(ids, cache=cache)[:, -1:]).argmax(dim=-1)
            cache.advance(1)
        return new * texts

    with torch.inference_mode():
        cache = model.new_cache(texts, context + 1)
        model(prompt[:, :-1], cache=cache)
        cache.advance(prompt.shape[1] - 1)
    start = cache.length
    return work


def cache_bytes(layers: int, width: int, context: int, window: int | None) -> int:
    """Of one text, in float32."""
    from seodang.models.cache import KVCache

    return KVCache(sizes(layers, width, context, window), 1, context).n_bytes()


def main() -> None:
    """Compare and print."""
    parser = arguments(__doc__)
    parser.add_argument("--context", type=int, action="append", help="default: 2048 and 4096")
    parser.add_argument("--window", type=int, default=256, help="tokens that a banded layer sees (default 256)")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--generate", type=int, default=32, help="tokens; above 64 a banded cache must be read anew")
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--dtype", default="float32", choices=("auto", "float32", "bfloat16"))
    options = parser.parse_args()
    for context in options.context or [2048, 4096]:
        shape = (options.layers, options.width, context)
        bands = {"alternating": options.window, "dense": None}
        held = {name: cache_bytes(*shape, window) for name, window in bands.items()}
        extra = {
            "training": (training, (options.dtype,)),
            "generation": (generating, (options.dtype, options.generate, options.texts)),
        }
        for what, (make, rest) in extra.items():
            sides = [Side(name, make, (*shape, window, *rest)) for name, window in bands.items()]
            result = compare(sides, unit="tokens/s", rounds=options.rounds, turn=options.turn, warmup=options.warmup)
            sizes_of = {"context": context, "window": options.window, "cache_bytes": held, "machine": machine()}
            report(f"{what}, context {context:,}", result | sizes_of, options.json)
        if not options.json:
            rate = held["alternating"] / held["dense"]
            print(f"cache, context {context:,}: {held['alternating']:,} bytes ÷ {held['dense']:,} = {rate:.2f}")


if __name__ == "__main__":
    main()
