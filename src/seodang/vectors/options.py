"""How static word vectors are trained. Imports no torch and no gensim, so that `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seodang.errors import UsageError

Kind = Literal["skipgram", "glove", "fasttext"]


@dataclass(frozen=True, kw_only=True)
class VectorsOptions:
    """What is trained, and how. None stands for the default of the kind's paper or of its authors' program."""

    kind: Kind = "skipgram"
    """skipgram: word2vec with negative sampling; glove; fasttext: skip-gram with character n-grams."""
    dimension: int = 100
    """Numbers in a vector."""
    window: int | None = None
    """Words to either side that are context: 5, glove 10. Skip-gram draws 1 to `window` anew at each word."""
    epochs: int | None = None
    """Passes over the text: 5; glove, over the co-occurrences: 50."""
    min_count: int = 5
    """Words that occur less often are left out."""
    negative: int = 5
    """Noise words for each pair (not glove)."""
    sample: float | None = None
    """Share of the text above which a word is skipped at times: 1e-3, fasttext 1e-4; 0 for never (not glove)."""
    learning_rate: float | None = None
    """First step size: skipgram 0.025, falling to 0.0001; fasttext 0.05, likewise; glove 0.05 (AdaGrad)."""
    min_n: int = 3
    """Shortest n-gram in characters (fasttext)."""
    max_n: int = 6
    """Longest n-gram in characters (fasttext)."""
    buckets: int = 2_000_000
    """Rows that n-grams are hashed to, in memory while training (fasttext)."""
    jamo: bool = False
    """Take Hangul syllables apart before cutting n-grams, which then count jamo (fasttext)."""
    lowercase: bool = True
    """Turn capitals into small letters."""
    workers: int = 1
    """Threads (not glove). With 1 the same seed gives the same vectors; with more it is faster and no run repeats."""
    seed: int = 0
    """Seed of the initial vectors and of all drawing."""

    def resolved(self) -> dict[str, float]:
        """The kind's `window`, `epochs`, `sample` and `learning_rate`, defaults filled in."""
        defaults = {
            "skipgram": {"window": 5, "epochs": 5, "sample": 1e-3, "learning_rate": 0.025},
            "fasttext": {"window": 5, "epochs": 5, "sample": 1e-4, "learning_rate": 0.05},
            "glove": {"window": 10, "epochs": 50, "sample": 0.0, "learning_rate": 0.05},
        }[self.kind]
        given = {name: getattr(self, name) for name in defaults}
        return {name: defaults[name] if value is None else value for name, value in given.items()}

    def check(self) -> None:
        """Raise UsageError for a number that means nothing."""
        at_least = {"dimension": 1, "window": 1, "epochs": 1, "min_count": 1, "negative": 1, "min_n": 1, "buckets": 1,
                    "max_n": self.min_n, "sample": 0, "workers": 1, "seed": 0}
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and value < least:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} {value}", f"it should be {least} or more", f"{flag} {least}")
        if self.learning_rate is not None and not 0 < self.learning_rate < 10:
            raise UsageError(f"--learning-rate {self.learning_rate}", "it should be between 0 and 10",
                             "leave it out for the kind's default")
