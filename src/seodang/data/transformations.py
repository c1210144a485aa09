"""GPT-1's input transformations (Radford et al. 2018, sec. 3.3 and fig. 1), and what encoders have in their place.

Every function takes token ids without special tokens and gives the sequences that stand for one example, S of them.
A decoder is read at the last token of each; an encoder at the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Ids = Sequence[int]


@dataclass(frozen=True)
class Special:
    """Ids of the tokens that a decoder learns with its first task: <s>, $ and <e> in the paper's words."""

    start: int
    delimiter: int
    extract: int


def classification(text: Ids, special: Special) -> list[list[int]]:
    """Start, text, extract; from the state at extract a linear layer and a softmax over the classes."""
    return [[special.start, *text, special.extract]]


def entailment(premise: Ids, hypothesis: Ids, special: Special) -> list[list[int]]:
    """Start, premise, delimiter, hypothesis, extract; a linear layer over the state at extract."""
    return [_pair(premise, hypothesis, special)]


def similarity(first: Ids, second: Ids, special: Special) -> list[list[int]]:
    """As neither text comes first: start, text 1, delimiter, text 2, extract, and the same with the texts in the other
    order. The two states at extract are added, element by element, before the linear layer."""
    return [_pair(first, second, special), _pair(second, first, special)]


def multiple_choice(context: Ids, answers: Sequence[Ids], special: Special) -> list[list[int]]:
    """For each answer: start, context, delimiter, answer, extract. A linear layer gives one number for each, and one
    softmax runs over the answers. The context is the document and the question, one after the other."""
    return [_pair(context, answer, special) for answer in answers]


def _pair(first: Ids, second: Ids, special: Special) -> list[int]:
    return [special.start, *first, special.delimiter, *second, special.extract]


@dataclass(frozen=True)
class Frame:
    """What an encoder's tokenizer puts around one text (`before`, `after`) and between two (`between`).

    BERT: [CLS] a [SEP] and [CLS] a [SEP] b [SEP], where b and what follows it have segment 1 (`second_segment`).
    RoBERTa: <s> a </s> and <s> a </s></s> b </s>, all in segment 0.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    second_segment: int = 1

    @staticmethod
    def of(tokenizer: Any, n_segments: int = 2) -> Frame:
        """By the tokenizer's own rules: read off what `encode_pair` puts around a text and between two.

        n_segments: token types that the model knows. A RoBERTa may have one alone and a tokenizer of BERT's kind
        (klue/roberta-base), whose second texts then are in segment 0, too.
        """
        text = tokenizer.encode("a")
        single, _ = tokenizer.encode_pair("a")
        pair, segments = tokenizer.encode_pair("a", "a")
        n = len(text)
        start = next(i for i in range(len(single)) if single[i : i + n] == text)
        before, after = single[:start], single[start + n :]
        between = pair[start + n : len(pair) - len(after) - n]
        segment = min(segments[-1] if segments else 0, max(0, n_segments - 1))
        return Frame(tuple(before), tuple(between), tuple(after), segment)

    def single(self, text: Ids) -> tuple[list[int], list[int]]:
        """(ids, segments) of [CLS] text [SEP]."""
        ids = [*self.before, *text, *self.after]
        return ids, [0] * len(ids)

    def pair(self, first: Ids, second: Ids) -> tuple[list[int], list[int]]:
        """(ids, segments) of [CLS] first [SEP] second [SEP]; the first [SEP] belongs to the first text (Devlin et al.
        2019, sec. 3.2 and fig. 2). A choice is one such pair of context and answer for each answer, as in its
        sec. 4.4."""
        head, tail = [*self.before, *first, *self.between], [*second, *self.after]
        return head + tail, [0] * len(head) + [self.second_segment] * len(tail)
