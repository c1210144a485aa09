"""Chain of thought: answers at its end, votes, and what is asked in two steps."""

from __future__ import annotations

import pytest

from seodang.errors import UsageError
from seodang.prompting.reasoning import extracted, majority, think, worded


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("She sold 48/2 = 24.\n#### 72", "72"),
        ("#### 1,234,500", "1234500"),
        ("The answer is $18.00.", "18"),
        ("So the answer is -3.50 degrees.", "-3.5"),
        ("3 + 4 = 7. The answer is 7 apples, not 8.", "7"),
        ("First the answer is 5. No: the answer is 6.", "6"),
        ("He had 3 and got 4.", "4"),
        ("12-7", "7"),
        ("따라서 답은 3,000원입니다.", "3000"),
        ("정답: 72", "72"),
        ("답은 모르지만 5개쯤", "5"),
        ("The answer is unknown. 12 perhaps", "12"),
        ("no number", None),
        ("x2 and B52", None),
        ("", None),
    ],
)
def test_numbers(text, number):
    assert extracted(text) == number


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is (B) because A is wrong.", "B"),
        ("A man sees it, so C.", "C"),
        ("답은 ②번입니다.", "B"),
        ("정답: D", "D"),
        ("(a) is small", None),
        ("ABC", None),
        ("The answer is Bob. (C)", "C"),
    ],
)
def test_letters(text, letter):
    assert extracted(text, "letter") == letter


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("It rains.\nSo wet.\n", "So wet"),
        ("I think: the answer is no.", "no"),
        ("생각해 보면 답은 참.", "참"),
        ("   \n", None),
    ],
)
def test_lines(text, line):
    assert extracted(text, "line") == line


def test_there_is_no_such_way():
    with pytest.raises(UsageError, match="numbr") as caught:
        extracted("1", "numbr")  # type: ignore[arg-type]
    assert "'number'" in caught.value.fix


def test_gsm8k_s_solutions_as_prose():
    solution = "Natalia sold 48/2 = <<48/2=24>>24 clips.\nIn all 48+24 = <<48+24=72>>72.\n#### 72"
    prose = "Natalia sold 48/2 = 24 clips. In all 48+24 = 72. The answer is 72."
    assert worded(solution) == prose
    assert extracted(worded(solution)) == extracted(solution) == "72"
    assert worded("둘 더하기 셋은 다섯.\n#### 5", "ko") == "둘 더하기 셋은 다섯. 답은 5입니다."
    assert worded("The answer is 3.") == "The answer is 3."


def test_the_majority_by_hand():
    vote = majority(["18", "26", "18", None])
    assert (vote.answer, vote.agreement, vote.counts) == ("18", 0.5, {"18": 2, "26": 1})
    tie = majority(["2", "1", "1", "2"])
    assert (tie.answer, tie.agreement) == ("2", 0.5)  # said first
    assert (majority([None, None]).answer, majority([None]).agreement) == (None, 0.0)


def test_zero_shot_reasoning_asks_twice():
    asked: list[list[str]] = []

    def generate(texts):
        asked.append(texts)
        return [" 3 and 4 are 7. ", "셋과 넷은 7이다."]

    def conclude(texts):
        asked.append(texts)
        return [" 7.\nQ: next", " 7"]

    thoughts, ends = think(["Q: 3 + 4?\nA:", "문: 3 + 4?\n답:"], generate, conclude)
    assert asked[0] == ["Q: 3 + 4?\nA: Let's think step by step.", "문: 3 + 4?\n답: 차근차근 생각해 봅시다."]
    assert asked[1] == [
        "Q: 3 + 4?\nA: Let's think step by step. 3 and 4 are 7.\nTherefore, the answer is",
        "문: 3 + 4?\n답: 차근차근 생각해 봅시다. 셋과 넷은 7이다.\n따라서 답은",
    ]
    assert thoughts == ["3 and 4 are 7.", "셋과 넷은 7이다."]
    assert ends == ["Therefore, the answer is 7.", "따라서 답은 7"]
    assert [extracted(end) for end in ends] == ["7", "7"]
