"""A word is left out of a text: does a model that sees both sides guess it better than its left-to-right twin?

    seodang pretrain --model bert-tiny --vocab-size 1024 --max-length 32 --data t.txt --out runs/bert --minutes 5
    seodang pretrain --model gpt2-tiny --tokenizer runs/bert --max-length 32 --data t.txt --out runs/twin --minutes 5
    python benchmarks/filled_blank.py --masked runs/bert --causal runs/twin --data held_out.txt

The twin has the same vocabulary, width and depth and the same training time (BERT's ablation, Devlin et al. 2019,
sec. 5.1, "LTR"). A blank is one whole word in the middle of a stretch of held-out text; the guesses are the word that
stood there and `--candidates` - 1 others, drawn as often as they occur. The masked model looks at the blank; the twin
is asked twice: for the next token after what stands before (`left`), and for the guess with which the text before and
behind is most probable (`whole`). Prints the share of blanks filled rightly, with 95 % intervals (Wilson).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seodang.data.readers import read_documents
from seodang.inference.language_model import LanguageModel, load

Blank = tuple[Tensor, int, Tensor]
"""A stretch (length,), the place of the blank, the candidates with the right one first."""


def blanks(ids: np.ndarray, words: np.ndarray, count: int, n_candidates: int, length: int, seed: int) -> list[Blank]:
    """`count` of them; `words` (V,) says which ids begin a word."""
    rng = np.random.default_rng(seed)
    whole = words[ids] & np.append(words[ids[1:]], True)  # no piece of a word, and no piece follows
    occurring = ids[whole]
    found = []
    while len(found) < count:
        start = int(rng.integers(len(ids) - length))
        middle = np.flatnonzero(whole[start + length // 4 : start + 3 * length // 4]) + length // 4
        if not len(middle):
            continue
        place = int(rng.choice(middle))
        right = int(ids[start + place])
        others: list[int] = []
        while len(others) < n_candidates - 1:
            other = int(rng.choice(occurring))
            if other != right and other not in others:
                others.append(other)
        found.append((torch.from_numpy(ids[start : start + length].copy()), place, torch.tensor([right, *others])))
    return found


@torch.inference_mode()
def masked_guess(model: LanguageModel, stretch: Tensor, place: int, candidates: Tensor) -> int:
    """Which candidate the masked model finds most probable at the blank."""
    tokenizer = model.tokenizer
    assert tokenizer.cls_id is not None and tokenizer.sep_id is not None and tokenizer.mask_id is not None
    ids = torch.cat((torch.tensor([tokenizer.cls_id]), stretch, torch.tensor([tokenizer.sep_id])))
    ids[place + 1] = tokenizer.mask_id
    return int(model.logits(ids[None])[0, place + 1, candidates].argmax())


@torch.inference_mode()
def causal_guesses(model: LanguageModel, stretch: Tensor, place: int, candidates: Tensor) -> tuple[int, int]:
    """Which candidate the twin finds most probable after the left side, and with the right side counted too."""
    rows = stretch.repeat(len(candidates), 1)
    rows[:, place] = candidates
    logprobs = model.logits(rows[:, :-1]).float().log_softmax(-1)
    each = logprobs.gather(2, rows[:, 1:, None])[..., 0]
    return int(each[:, place - 1].argmax()), int(each[:, place - 1 :].sum(1).argmax())


def share(hits: int, count: int) -> dict[str, float]:
    """The share and its 95 % interval (Wilson 1927)."""
    z, p = 1.96, hits / count
    middle, spread = p + z * z / (2 * count), z * math.sqrt(p * (1 - p) / count + z * z / (4 * count**2))
    scale = 1 + z * z / count
    return {"share": p, "low": (middle - spread) / scale, "high": (middle + spread) / scale}


def main() -> None:
    """Fill the blanks and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masked", required=True)
    parser.add_argument("--causal", required=True)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--length", type=int, default=30, help="tokens of a stretch: no more than the models' rows had")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    masked, causal = load(options.masked, device="cpu"), load(options.causal, device="cpu")
    tokenizer = masked.tokenizer
    if tokenizer.fingerprint() != causal.tokenizer.fingerprint():
        raise SystemExit("the two models have different vocabularies; train the twin with --tokenizer of the other")
    names = [tokenizer.token_of(token) for token in range(tokenizer.vocab_size)]
    words = np.array([name[:1].isalnum() and token not in tokenizer.special_ids for token, name in enumerate(names)])
    text = [token for document in read_documents(options.data) for token in tokenizer.encode(document.text)]
    hits = {"masked": 0, "left": 0, "whole": 0}
    for blank in blanks(np.array(text), words, options.count, options.candidates, options.length, options.seed):
        left, whole = causal_guesses(causal, *blank)
        hits["masked"] += masked_guess(masked, *blank) == 0
        hits["left"] += left == 0
        hits["whole"] += whole == 0
    print(json.dumps({"chance": 1 / options.candidates} | {name: share(n, options.count) for name, n in hits.items()}))


if __name__ == "__main__":
    main()
