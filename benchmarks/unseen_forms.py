"""Korean nouns with particles that never stood on them: does the nearest word begin with the noun?

    python benchmarks/unseen_forms.py runs/korean runs/korean-jamo

The folders are fastText vectors of `seodang vectors train`. A noun is a word of two syllables or more that also occurs
with 에 and with 을 or 를; the forms are those with 에서조차, 까지도, 마저도 and 부터라도 that the vocabulary lacks.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from seodang.vectors.word_vectors import WordVectors

PARTICLES = ("에서조차", "까지도", "마저도", "부터라도")


def share(vectors: WordVectors, nouns: list[str]) -> dict[str, float]:
    """How many unseen forms `nouns` have, and for which share of them the nearest word begins with the noun."""
    forms = [(noun, noun + particle) for noun in nouns for particle in PARTICLES if noun + particle not in vectors]
    if not forms:
        return {"forms": 0, "share": 0.0}
    found = vectors.nearest(np.stack([vectors.vector(form) for _, form in forms]), 1, [set()] * len(forms))
    hits = [bool(near) and near[0][0].startswith(noun) for (noun, _), near in zip(forms, found, strict=True)]
    return {"forms": len(forms), "share": round(float(np.mean(hits)), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {}
    for folder in arguments.folders:
        vectors = WordVectors.load(folder)
        nouns = [word for word in vectors.words if len(word) > 1 and word + "에" in vectors
                 and (word + "을" in vectors or word + "를" in vectors)]
        by_length = {"2": [w for w in nouns if len(w) == 2], "3": [w for w in nouns if len(w) == 3],
                     "4 and more": [w for w in nouns if len(w) > 3]}
        results[str(folder)] = {name: share(vectors, words) for name, words in by_length.items()}
    if arguments.json:
        print(json.dumps(results, ensure_ascii=False, indent=1))
        return
    for name, rows in results.items():
        print(name)
        for length, row in rows.items():
            print(f"  {length:<10} syllables {row['forms']:>6,} forms  {row['share']:.1%}")


if __name__ == "__main__":
    main()
