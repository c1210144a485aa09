"""GPT-1's figure 1 by hand, and the encoders' forms."""

from __future__ import annotations

from seodang.data.transformations import (
    Frame,
    Special,
    classification,
    entailment,
    multiple_choice,
    similarity,
)

S, D, E = 900, 901, 902
SPECIAL = Special(start=S, delimiter=D, extract=E)
BERT = Frame((101,), (102,), (102,))


def test_classification_by_hand() -> None:
    assert classification([1, 2, 3], SPECIAL) == [[S, 1, 2, 3, E]]


def test_entailment_by_hand() -> None:
    assert entailment([1, 2], [3], SPECIAL) == [[S, 1, 2, D, 3, E]]


def test_similarity_has_both_orders() -> None:
    assert similarity([1, 2], [3], SPECIAL) == [[S, 1, 2, D, 3, E], [S, 3, D, 1, 2, E]]


def test_multiple_choice_has_a_sequence_for_each_answer() -> None:
    assert multiple_choice([1, 2], [[3], [4, 5], [6]], SPECIAL) == [
        [S, 1, 2, D, 3, E],
        [S, 1, 2, D, 4, 5, E],
        [S, 1, 2, D, 6, E],
    ]


def test_encoder_forms_by_hand() -> None:
    assert BERT.single([1, 2]) == ([101, 1, 2, 102], [0, 0, 0, 0])
    assert BERT.pair([1, 2], [3]) == ([101, 1, 2, 102, 3, 102], [0, 0, 0, 0, 1, 1])
    roberta = Frame((0,), (2, 2), (2,), second_segment=0)
    assert roberta.pair([7], [8]) == ([0, 7, 2, 2, 8, 2], [0] * 6)


class Rules:
    """A tokenizer that knows one text, whose ids are 5 6."""

    def __init__(self, before: list[int], between: list[int], after: list[int], segment: int) -> None:
        self.parts, self.segment = (before, between, after), segment

    def encode(self, text: str) -> list[int]:
        return [5, 6]

    def encode_pair(self, a: str, b: str | None = None) -> tuple[list[int], list[int]]:
        before, between, after = self.parts
        head = [*before, 5, 6]
        if b is None:
            return head + after, [0] * len(head + after)
        return head + between + [5, 6, *after], [0] * len(head + between) + [self.segment] * (2 + len(after))


def test_a_frame_is_read_off_the_tokenizers_rules() -> None:
    for before, between, after, segment in (([101], [102], [102], 1), ([0], [2, 2], [2], 0), ([], [1], [1], 0)):
        frame = Frame.of(Rules(before, between, after, segment))
        assert frame == Frame(tuple(before), tuple(between), tuple(after), segment)


def test_a_model_of_one_token_type_has_both_texts_in_it() -> None:
    bert = Rules([101], [102], [102], 1)
    assert [Frame.of(bert, n_segments).second_segment for n_segments in (0, 1, 2)] == [0, 0, 1]
