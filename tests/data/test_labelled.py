"""What a task is, as it is stored with a model; weights of classes."""

from __future__ import annotations

import json

import pytest

from seodang.data.labelled import Labelled, TaskData, TaskSpec, class_weights
from seodang.errors import DataError

SPEC = TaskSpec("sst2", "classify", ("negative", "positive"), metrics=("accuracy", "f1"), language="en", source="x")


def test_a_spec_survives_json() -> None:
    assert TaskSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC
    assert TaskSpec.from_dict({"name": "a", "kind": "choice"}) == TaskSpec("a", "choice")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "a", "kind": "classify", "label": []}, "unknown key 'label'"),
        ({"name": "a"}, "no kind"),
        ({"name": "a", "kind": "guess"}, "unknown kind 'guess'"),
    ],
)
def test_a_strange_description_is_an_error(values: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        TaskSpec.from_dict(values)


def test_outputs_of_a_head() -> None:
    assert SPEC.n_outputs == 2
    assert TaskSpec("regress", "similar", regression=True).n_outputs == 1
    assert TaskSpec("choice", "choice").n_outputs == 1


def test_labels_are_counted_by_name() -> None:
    def data(spec: TaskSpec, *labels: int | float | None) -> TaskData:
        return TaskData(spec, [Labelled(("a",), label) for label in labels])

    assert data(SPEC, 1, 1, None).label_counts() == {"negative": 0, "positive": 2, "(none)": 1}
    assert data(TaskSpec("choice", "choice"), 2, 0, 2).label_counts() == {"1": 1, "3": 2}
    assert data(TaskSpec("regress", "similar", regression=True), 0.5).label_counts() == {}


def test_class_weights_by_hand() -> None:
    # 6 labelled examples of 2 classes: 6 / (2·4) and 6 / (2·2); the third class does not occur
    weights = class_weights([0, 0, 0, 0, 1, 1, None], 3)
    assert weights == [0.75, 1.5, 0.0]
    assert 4 * weights[0] + 2 * weights[1] == 6
