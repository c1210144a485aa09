"""Results side by side: the numbers by hand, and unlike ones refused with each difference named."""

from __future__ import annotations

import math

import pytest

from seodang.errors import UsageError
from seodang.evaluation.compare import compare_results, unlike
from seodang.evaluation.results import Outcome, Results, Sample, TaskResult, fingerprint, outcome, summarize

ACTUAL = [1, 1, 1, 1, 1, 1, 0, 0]


def task(predictions: list[int], *, file="dev.tsv", prompt="question", version=1, **settings) -> TaskResult:
    """A result on the rows ACTUAL; `file`, `prompt` and settings can be other ones."""
    rows = [
        Sample(row, f"{file}:{row}", fingerprint(f"{prompt} {row}"), {"accuracy": outcome("accuracy", *pair)})
        for row, pair in enumerate(zip(predictions, ACTUAL, strict=False))
    ]
    settings = {"shots": 0, "template": {"question": "{text}"}, **settings}
    return summarize("boolq", version, rows, ["accuracy"], settings=settings, rows=fingerprint(file))


def results(name: str, found: TaskResult, task_name: str = "boolq") -> Results:
    return Results(name, fingerprint("tokenizer of", name), {task_name: found})


def test_two_models_by_hand() -> None:
    """Six of the eight are right in the second alone: p = 2 / 2⁶. Tokenizers may differ."""
    found = compare_results([results("small", task([0] * 8)), results("large", task([1] * 6 + [0] * 2))])
    (row,) = found.rows
    assert [entry.value for entry in row.values] == [0.25, 1.0]
    (difference,) = row.differences
    assert (difference.difference, difference.p, difference.test) == (0.75, 2 / 64, "mcnemar")
    assert (difference.better, difference.worse) == (6, 0) and row.corrected == [2 / 64]
    assert found.to_dict()["rows"][0]["values"][1]["value"] == 1


def test_three_models_are_corrected_for_two_tests() -> None:
    better, same = task([1] * 6 + [0] * 2), task([0] * 8)
    found = compare_results([results(name, entry) for name, entry in (("a", same), ("b", better), ("c", same))])
    assert [difference.p for difference in found.rows[0].differences] == [2 / 64, 1]
    assert found.rows[0].corrected == [4 / 64, 1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shots": 4}, "shots: 0 and 4"),
        ({"template": {"question": "{text}?"}}, "template.question: '{text}' and '{text}?'"),
        ({"seed": 3}, "seed: (none) and 3"),
        ({"version": 2}, "version of the task: 1 and 2"),
        ({"file": "test.tsv"}, r"rows: other examples, first in row 0 (dev.tsv:0 and test.tsv:0)"),
        ({"prompt": "a question"}, "prompts: other texts, first in row 0 (dev.tsv:0)"),
    ],
)
def test_each_unlike_setting_is_named(changes: dict, said: str) -> None:
    first, second = task([0] * 8), task([0] * 8, **changes)
    assert [text for _, text in unlike(first, second)] == [said]
    with pytest.raises(UsageError) as caught:
        compare_results([results("a.json", first), results("b.json", second)])
    assert said in caught.value.why and "a.json and b.json" in caught.value.what


def test_other_numbers_of_rows() -> None:
    assert list(unlike(task([0] * 8), task([0] * 7))) == [("n", "number of rows: 8 and 7")]
    several = list(unlike(task([0] * 8), task([0] * 7, shots=1, version=2)))
    assert len(several) == 3


def test_what_is_compared_may_differ() -> None:
    """Zero-shot against few-shot: the prompts differ with the shots. Other rows can never be compared."""
    zero = results("zero", task([0] * 8))
    four = results("four", task([1] * 6 + [0] * 2, shots=4, prompt="with demonstrations"))
    with pytest.raises(UsageError, match="--allow shots --allow prompts"):
        compare_results([zero, four])
    found = compare_results([zero, four], allow=["shots", "prompts"])
    assert found.rows[0].differences[0].difference == 0.75
    assert compare_results([zero, four], allow=["settings"]).rows == found.rows
    many = results("many", task([0] * 8, shots=1, seed=1, scoring="mean", version=2))
    with pytest.raises(UsageError, match="--allow settings"):
        compare_results([zero, many])
    with pytest.raises(UsageError, match="other examples") as caught:
        compare_results([zero, results("b", task([0] * 8, file="test.tsv", shots=4))], allow=["shots", "rows"])
    assert "--allow" not in caught.value.fix


def test_every_pair_is_checked() -> None:
    alike = results("a", task([0] * 8)), results("b", task([1] * 8))
    with pytest.raises(UsageError, match="a and c"):
        compare_results([*alike, results("c", task([0] * 8, shots=1))])


def test_perplexities_of_other_tokens_are_left_out() -> None:
    def text(n_tokens: int, logprob: float) -> TaskResult:
        outcomes = {"token_perplexity": Outcome(logprob, n_tokens), "bits_per_byte": Outcome(logprob, 40)}
        rows = [Sample(row, f"wiki:{row}", "", outcomes) for row in range(3)]
        return summarize("wiki", 1, rows, list(outcomes), settings={}, rows="")

    found = compare_results([results("a", text(9, -20.0), "wiki"), results("b", text(8, -19.0), "wiki")])
    assert [row.measurement for row in found.rows] == ["bits_per_byte"]
    assert "token_perplexity is left out" in found.notes[0]
    assert found.rows[0].differences[0].difference == pytest.approx(-1 / 40 / math.log(2))


def test_morphemes_are_not_taken_apart_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was scored where kiwipiepy is can be compared where it is not."""
    monkeypatch.setattr("seodang.evaluation.rouge._morphemes", lambda text: pytest.fail("counted again"))

    def summary(score: float) -> TaskResult:
        rows = [Sample(0, "a:1", "", {"r": Outcome("서당", "학교", score)})]
        return summarize("sum", 1, rows, {"r": "rouge1-morphemes"}, settings={}, rows="")

    found = compare_results([results("a", summary(0.25), "sum"), results("b", summary(0.75), "sum")])
    assert found.rows[0].differences[0].difference == 0.5


def test_tasks_in_common() -> None:
    one = results("a", task([0] * 8))
    with pytest.raises(UsageError, match="no task in common"):
        compare_results([one, results("b", task([0] * 8), "copa")])
    with pytest.raises(UsageError, match="comparison of 1"):
        compare_results([one])
    two = Results("b", "", {"copa": task([0] * 8), "boolq": task([0] * 8)})
    assert compare_results([one, two]).notes == ["b alone has copa"]


def test_other_types_are_said() -> None:
    one, two = (Results(name, "", {"copa": task([0] * 8)}, {"dtype": name}) for name in ("float32", "bfloat16"))
    (note,) = compare_results([one, two]).notes
    assert "float32: float32; bfloat16: bfloat16" in note and not compare_results([one, one]).notes
