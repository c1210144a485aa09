"""Penn Treebank as Mikolov prepared it: perplexity as running text, per word of the corpus, <eos> counted."""

from __future__ import annotations

from seodang.evaluation.detokenise import TREEBANK
from seodang.evaluation.texts import Perplexity, stretches

TASK = Perplexity(
    name="ptb",
    source="Marcus et al. 1993; Mikolov et al. 2010; Radford et al. 2019 (GPT-2), sec. 3.1 and table 3",
    metrics={"word_perplexity": "word_perplexity", "token_perplexity": "token_perplexity",
             "bits_per_byte": "bits_per_byte"},
    texts=stretches,
    detokeniser=TREEBANK,
    per_line=1,
)  # fmt: skip
