"""Results on the disk: what was written comes back, and what is not whole is refused."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from seodang.data.labelled import Labelled
from seodang.errors import DataError, UsageError
from seodang.evaluation.results import (
    Outcome,
    Results,
    Sample,
    TaskResult,
    fingerprint,
    fingerprint_of,
    fingerprint_of_examples,
    load_results,
    outcome,
    samples_path,
    save_results,
    summarize,
)

SETTINGS = {"template": "T", "shots": 0, "lengths": (1, 2)}


def samples() -> list[Sample]:
    """Of three rows, one right, one wrong, one without an answer."""
    return [
        Sample(row, f"dev.tsv:{row + 2}", fingerprint(f"question {row}"), {"accuracy": outcome("accuracy", *pair)},
               (-1.5, np.float32(-2.5)), {"text": "훈장\u2028님"})
        for row, pair in enumerate([(1, 1), (0, 1), (None, 0)])
    ]  # fmt: skip


def one_task(**changes) -> TaskResult:
    task = summarize("boolq", 2, samples(), ["accuracy"], settings=SETTINGS, rows=fingerprint("rows"), notes=["a note"])
    return dataclasses.replace(task, **changes)


def results(task: TaskResult | None = None) -> Results:
    machine = {"seconds": 1.5, "dtype": "float32"}
    return Results("gpt2", fingerprint("tokenizer"), {"boolq": task or one_task()}, machine)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    save_results(results(), tmp_path / "a.json")
    again = load_results(tmp_path / "a.json")
    task, original = again.tasks["boolq"], one_task()
    assert task.measurements == original.measurements and task.measurements["accuracy"].value == pytest.approx(1 / 3)
    assert task.settings == {"template": "T", "shots": 0, "lengths": [1, 2]} == original.settings
    assert (task.rows, task.prompts, task.version, task.n, task.notes) == (
        original.rows, original.prompts, 2, 3, ("a note",))  # fmt: skip
    assert task.samples == original.samples
    assert task.samples[0].outcomes["accuracy"] == Outcome(1, 1, 1.0)
    assert (again.model, again.tokenizer, again.machine) == ("gpt2", fingerprint("tokenizer"), results().machine)
    save_results(again, tmp_path / "b.json")
    assert samples_path(tmp_path / "b.json").read_bytes() == samples_path(tmp_path / "a.json").read_bytes()
    assert load_results(tmp_path / "a.json", samples=False).tasks["boolq"].samples == ()


def test_infinities_are_json(tmp_path: Path) -> None:
    rows = [Sample(0, "f:1", "", {"token_perplexity": Outcome(-math.inf, 3)}, (-math.inf,))]
    task = summarize("text", 1, rows, ["token_perplexity"], settings={}, rows="")
    save_results(results(task), tmp_path / "a.json")
    json.loads((tmp_path / "a.json").read_text("utf-8"), parse_constant=lambda name: pytest.fail(name))
    again = load_results(tmp_path / "a.json").tasks["boolq"]
    assert again.measurements["token_perplexity"].value == math.inf
    assert again.samples[0].logprobs == (-math.inf,)
    assert summarize("text", 1, again.samples, ["token_perplexity"], settings={}, rows="").measurements[
        "token_perplexity"
    ].value == math.inf  # fmt: skip


def test_one_measurement_several_predictions() -> None:
    """The same rows scored by sum and per byte: two measurements of one metric."""
    rows = [Sample(0, "", "", {"sum": Outcome(1, 1), "per byte": Outcome(0, 1)})]
    task = summarize("arc", 1, rows, {"sum": "accuracy", "per byte": "accuracy"}, settings={}, rows="")
    assert [entry.value for entry in task.measurements.values()] == [1, 0]


def test_fingerprints() -> None:
    assert fingerprint("ab", "c") != fingerprint("a", "bc") != fingerprint("abc")
    assert fingerprint_of({"b": 1, "a": (2,)}) == fingerprint_of({"a": [2], "b": 1})
    assert one_task().prompts == one_task().prompts != fingerprint("question 0")


def test_rows_are_the_same_wherever_they_stand() -> None:
    def of(*examples: Labelled) -> str:
        return fingerprint_of_examples(examples)

    one = Labelled(("a", "b"), 1, (), "dev.tsv:2")
    assert of(one) == of(dataclasses.replace(one, where="dev.jsonl:1")) != of(dataclasses.replace(one, label=0))
    assert of(one, one) != of(one) != of(dataclasses.replace(one, texts=("ab",)))


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(DataError, match="cannot be read"):
        load_results(path)
    for text, said in (("{", "not JSON"), ("[]", "no results"), ('{"format": 99}', "format is 99")):
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            load_results(path)
    path.write_text('{"format": 1}')
    with pytest.raises(DataError, match="damaged"):
        load_results(path)
    with pytest.raises(UsageError, match="results.json"):
        save_results(results(), tmp_path / "results")
    with pytest.raises(UsageError, match="no rows"):
        summarize("empty", 1, [], ["accuracy"], settings={}, rows="")


def test_damaged_rows_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save_results(results(), path)
    lines = samples_path(path)
    lines.write_text(lines.read_text("utf-8").replace('"prediction": 0', '"prediction": 1'), "utf-8")
    with pytest.raises(DataError, match="SHA-256"):
        load_results(path)
    lines.unlink()
    (tmp_path / "b.json").write_text(path.read_text("utf-8").replace('"tasks": {', '"tasks": 1, "was": {'), "utf-8")
    with pytest.raises(DataError, match="b.json is damaged"):
        load_results(tmp_path / "b.json")
    with pytest.raises(DataError, match="missing"):
        load_results(path)
