"""`seodang suggest` through the front door."""

from __future__ import annotations

import json

import pytest

from seodang.cli.main import main
from tests.inference.conftest import taught


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("suggest") / "model"
    taught().save(path)
    return str(path)


def test_continuations_with_probabilities(folder, capsys):
    assert main(["suggest", "--model", folder, "--prompt", "the cat sat on the", "-n", "3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    found = result["continuations"]
    assert [one["text"] for one in found] == [one.text for one in taught().suggest("the cat sat on the", 3)]
    chances = [one["probability"] for one in found]
    assert chances == sorted(chances, reverse=True) and 0 < sum(chances) <= 1
    assert main(["suggest", "--model", folder, "--prompt", "the cat sat on the", "-n", "1"]) == 0
    assert capsys.readouterr().out.strip().endswith("%  the cat sat on the mat")


def test_words(folder, capsys):
    assert main(["suggest", "--model", folder, "--prompt", "the cat sat", "-n", "1", "--words", "2"]) == 0
    assert capsys.readouterr().out.strip().endswith("the cat sat on the")


def test_mistakes(folder, capsys):
    assert main(["suggest", "--model", folder, "--prompt", "the", "-n", "0"]) == 2
    assert main(["suggest", "--model", folder, "--prompt", "the cat " * 200]) == 4
    assert "Traceback" not in capsys.readouterr().err
