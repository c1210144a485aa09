"""Megabytes of text a second on the way to token shards, with `gigatoken` and with `tokenizers`; are the ids the same?

    pip install 'seodang[gigatoken]'
    python benchmarks/token_shards.py en.txt ko.txt                 # a BPE of 16,000 entries, learned from both
    python benchmarks/token_shards.py en.txt --tokenizer smollm2    # that of a model, or a folder
    RAYON_NUM_THREADS=2 python benchmarks/token_shards.py en.txt    # on two processors of many

The whole of `build_shards`: reading, checking UTF-8, hashing, encoding, counting, writing. The files are repeated up
to --megabytes, each library in a fresh process, by turns; then the token files are compared. Repeated text is easier
for a library that remembers words, as gigatoken does for 128 MB: use as much real text as there is.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from side_by_side import alone, arguments, report, summary


def build(corpus: str, tokenizer: str, out: str, with_gigatoken: bool) -> dict[str, float]:
    """Encode `corpus` into the shard folder `out`: seconds, and the most memory this process ever held."""
    import os
    import resource
    import time

    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # this is the child of another process, but all alone
    from seodang.data.shards import build_shards
    from seodang.text.bulk import PlainEncoder
    from seodang.text.tokenizer import Tokenizer

    loaded = Tokenizer.load(tokenizer)
    start = time.perf_counter()
    made = build_shards(corpus, loaded, out, encoder=None if with_gigatoken else PlainEncoder(loaded))
    seconds = time.perf_counter() - start
    if with_gigatoken != (made.meta["encoded_by"] == "gigatoken"):
        raise SystemExit("gigatoken is not installed, or does not encode this tokenizer alike")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
    return {"seconds": seconds, "peak_bytes": peak, "n_tokens": made.n_tokens}


def prepare(files: list[str], megabytes: int, tokenizer: str | None, place: str) -> None:
    """Write the corpus and the tokenizer into `place`."""
    from seodang.checkpoints.resolve import load_model
    from seodang.text.tokenizer import Tokenizer
    from seodang.text.train import train_tokenizer

    data = [Path(file).read_bytes() for file in files]
    with open(Path(place) / "corpus.txt", "wb") as corpus:
        while corpus.tell() < megabytes * 1e6:
            for part in data:
                corpus.write(part + b"\n<|endoftext|>\n")
    if tokenizer is None:
        learned = train_tokenizer((part[: 1 << 22].decode("utf-8", "ignore") for part in data), "bpe", 16000)
    elif Path(tokenizer).exists():
        learned = Tokenizer.load(tokenizer)
    else:
        found = load_model(tokenizer).tokenizer
        assert found is not None, tokenizer
        learned = found
    learned.save(Path(place) / "tokenizer")


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("files", metavar="FILE", nargs="+", help="UTF-8 text")
    parser.add_argument("--tokenizer", help="a folder, or a model that brings one (default: learned from the files)")
    parser.add_argument("--megabytes", type=int, default=200)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {"gigatoken": [], "tokenizers": []}
    peaks = dict.fromkeys(rates, 0.0)
    with tempfile.TemporaryDirectory() as place:
        alone(prepare, options.files, options.megabytes, options.tokenizer, place)
        corpus, tokenizer = f"{place}/corpus.txt", f"{place}/tokenizer"
        n_bytes = Path(corpus).stat().st_size
        for number in range(options.rounds):
            for name, rate in rates.items():
                result = alone(build, corpus, tokenizer, f"{place}/{name}-{number}", name == "gigatoken")
                rate.append(n_bytes / 1e6 / result["seconds"])
                peaks[name] = max(peaks[name], result["peak_bytes"] / 1e9)
            words = ", ".join(f"{name} {rate[-1]:.1f} MB/s" for name, rate in rates.items())
            print(f"round {number + 1}: {words}", file=sys.stderr)
        files = [Path(place) / f"{name}-0" / file for file in ("tokens.bin", "documents.npy") for name in rates]
        same = all(a.read_bytes() == b.read_bytes() for a, b in zip(files[::2], files[1::2], strict=True))
    output = summary(rates, "MB/s") | {"peak_gigabytes": peaks, "identical": same}
    words = f"token shards, {n_bytes / 1e6:.0f} MB, ids {'identical' if same else 'DIFFER'}"
    report(f"{words}, peak {' and '.join(f'{peak:.2f} GB' for peak in peaks.values())}", output, options.json)
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
