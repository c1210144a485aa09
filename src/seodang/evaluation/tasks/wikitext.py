"""WikiText-2 and WikiText-103, as tokenised: perplexity of articles as running text, per token of the corpus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from seodang.evaluation.detokenise import WIKITEXT
from seodang.evaluation.texts import Perplexity, stretches


def articles(path: Path) -> Iterator[tuple[str, int]]:
    """The articles of a file, each from its title (` = Title = `) to the next."""
    return stretches(path, lambda line: re.fullmatch(r" ?= [^=].* = ?", line) is not None and " = = " not in line)


TASK = Perplexity(
    name="wikitext",
    source="Merity et al. 2017 (WikiText); Radford et al. 2019 (GPT-2), sec. 3.1 and table 3",
    metrics={"word_perplexity": "word_perplexity", "token_perplexity": "token_perplexity",
             "byte_perplexity": "byte_perplexity", "bits_per_byte": "bits_per_byte"},
    texts=articles,
    detokeniser=WIKITEXT,
    per_line=1,
)  # fmt: skip
