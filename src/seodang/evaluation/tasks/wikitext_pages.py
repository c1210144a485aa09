"""WikiText's articles as lm-evaluation-harness scores them: its replacements, which have no inverse, and its counts."""

from __future__ import annotations

import re

from seodang.evaluation.tasks.wikitext import articles
from seodang.evaluation.texts import Perplexity

_PLAIN = (
    ("s '", "s'"), (" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."), *((f" {mark} ", f"{mark} ") for mark in ":;.!?,"),
)  # fmt: skip
_PAIRS = (("(", ")", ")"), ("[", "]", "]"), ("{", "}", "}"), ('"', '"', '"'), ("'", "'", "'"))
_LAST = (
    ("= = = =", "===="), ("= = =", "==="), ("= =", "=="), (" ° ", "°"), (" \n", "\n"), ("\n ", "\n"), (" N ", " 1 "),
    (" 's", "'s"),
)  # fmt: skip


def rewritten(page: str) -> str:
    """The text that is scored."""
    for old, new in _PLAIN:
        page = page.replace(old, new)
    for opening, closing, end in _PAIRS:
        inside = rf"{re.escape(opening)}\s*([^{re.escape(end)}]*?)\s*{re.escape(closing)}"
        page = re.sub(inside, rf"{opening}\1{closing}", page)
    for old, new in _LAST:
        page = page.replace(old, new)
    return page


def n_words(page: str) -> int:
    """Pieces between white space, empty ones at the ends too."""
    return len(re.split(r"\s+", page))


TASK = Perplexity(
    name="wikitext-pages",
    source="Merity et al. 2017 (WikiText)",
    harness="wikitext 2.0",
    metrics={name: name for name in ("word_perplexity", "byte_perplexity", "bits_per_byte")},
    texts=articles,
    rewrite=rewritten,
    count=n_words,
)
