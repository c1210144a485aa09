"""`seodang generate` through the front door."""

from __future__ import annotations

import io
import json
import sys

import pytest

from seodang.cli.main import main
from tests.inference.conftest import TEXTS, taught


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("generate") / "model"
    taught().save(path)
    return str(path)


def run(capsys, *argv: str) -> tuple[int, str, str]:
    code = main(["generate", *argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_text_goes_to_stdout_and_speed_to_stderr(folder, capsys):
    code, out, err = run(capsys, "--model", folder, "--prompt", "the lowest newest")
    assert (code, out) == (0, TEXTS[1].removeprefix("the lowest newest") + "\n")
    assert "tokens/s" in err
    assert run(capsys, "--model", folder, "--prompt", "the lowest newest", "--quiet")[2] == ""


def test_json(folder, capsys):
    result = json.loads(run(capsys, "--model", folder, "--prompt", "the cat", "--json", "--max-new-tokens", "4")[1])
    assert {"text", "tokens", "finish_reason"} <= set(result)
    expected = taught().generate("the cat", max_new_tokens=4)
    assert (result["text"], result["tokens"]) == (expected.text, expected.tokens)
    assert (result["finish_reason"], len(result["tokens"])) == ("length", 4)


def test_several_prompts(folder, capsys, tmp_path, monkeypatch):
    (tmp_path / "prompt.txt").write_text("서당에서\n", "utf-8")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"where is")))
    code, out, _ = run(
        capsys, "--model", folder, "--prompt", "the cat", "--prompt", "the dog",
        "--prompt-file", str(tmp_path / "prompt.txt"), "--prompt-file", "-", "--batch-size", "3", "--json",
    )  # fmt: skip
    rows = json.loads(out)
    assert code == 0
    assert [row["prompt"] for row in rows] == ["the cat", "the dog", "서당에서", "where is"]
    assert [row["text"] for row in rows] == [taught().generate(row["prompt"]).text for row in rows]
    out = run(capsys, "--model", folder, "--prompt", "the cat", "--prompt", "the dog")[1]
    assert out.startswith("## the cat\n")


def test_every_sampling_flag_changes_the_text(folder, capsys):
    base = ["--model", folder, "--prompt", "the", "--temperature", "3", "--max-new-tokens", "20", "--quiet"]
    flags = [
        (), ("--seed", "1"), ("--top-k", "2"), ("--top-p", "0.3"), ("--min-p", "0.9"),
        ("--repetition-penalty", "5"), ("--stop", " "),
    ]  # fmt: skip
    texts = [run(capsys, *base, *flag)[1] for flag in flags]
    assert all(text != texts[0] for text in texts[1:])
    assert texts[0] == run(capsys, *base, "--seed", "0")[1]
    greedy = ["--model", folder, "--prompt", "the", "--quiet"]
    assert run(capsys, *greedy)[1] == run(capsys, *greedy, "--temperature", "0")[1] != texts[0]
    assert run(capsys, *greedy, "--num-beams", "3", "--length-penalty", "-2")[0] == 0


def test_a_schema_is_followed(folder, capsys, tmp_path):
    (tmp_path / "mood.json").write_text('{"enum": ["긍정", "부정"]}', "utf-8")
    argv = ["--model", folder, "--prompt", "the cat", "--quiet"]
    code, out, _ = run(capsys, *argv, "--schema", str(tmp_path / "mood.json"))
    assert code == 0 and json.loads(out) in ("긍정", "부정")
    assert run(capsys, *argv, "--regex", "a{3}")[1] == "aaa\n"
    assert run(capsys, *argv, "--choice", "좋다", "--choice", "so so")[1] in ("좋다\n", "so so\n")
    hot = [*argv, "--max-new-tokens", "9", "--temperature", "2", "--repetition-penalty", "1"]
    assert run(capsys, *hot, "--dola", "0,1")[1] != run(capsys, *hot)[1]


def test_a_cut_text_is_an_error(folder, capsys, tmp_path):
    (tmp_path / "long.json").write_text('{"type": "array", "items": {"type": "null"}, "minItems": 9}', "utf-8")
    argv = ["--model", folder, "--prompt", "the", "--schema", str(tmp_path / "long.json"), "--max-new-tokens", "5"]
    code, out, err = run(capsys, *argv)
    assert (code, out) == (4, "") and "not whole after 5 tokens" in err and "--max-new-tokens" in err
    code, out, err = run(capsys, *argv, "--prompt", "cat", "--json")
    assert code == 4 and "2 of 2 texts" in err
    assert [row["finish_reason"] for row in json.loads(out)] == ["length", "length"]


@pytest.mark.parametrize(
    ("text", "where"),
    [('{"enum": []}', "bad.json: nothing satisfies"), ('{"type":\n "x"', "bad.json:2 is not JSON"), ("", "is empty"),
     ('{"type": "strin"}', "bad.json: the schema is wrong")],
)  # fmt: skip
def test_a_wrong_schema_names_its_file(folder, capsys, tmp_path, text, where):
    (tmp_path / "bad.json").write_text(text, "utf-8")
    code, out, err = run(capsys, "--model", folder, "--prompt", "the", "--schema", str(tmp_path / "bad.json"))
    assert (code, out) == (3, "") and where in err and "fix:" in err
    assert run(capsys, "--model", folder, "--prompt", "x", "--schema", str(tmp_path / "none.json"))[0] == 3


def test_options_without_effect_are_named(folder, capsys):
    argv = ["--model", folder, "--prompt", "the", "--temperature", "0", "--top-p", "0.5", "--max-new-tokens", "2"]
    assert "--top-p without effect" in run(capsys, *argv)[2]


def test_config_file_and_settings(folder, capsys, tmp_path):
    (tmp_path / "run.toml").write_text(f'model = "{folder}"\nmax-new-tokens = 3\n')
    argv = ["--config", str(tmp_path / "run.toml"), "--set", "json=true", "--prompt", "the cat"]
    assert len(json.loads(run(capsys, *argv)[1])["tokens"]) == 3


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--prompt", "x", "--temperature", "-1"], 2, "temperature"),
        (["--prompt", "x", "--top-p", "1.5"], 2, "top_p"),
        (["--prompt", "x", "--num-beams", "2", "--temperature", "1"], 2, "num_beams"),
        (["--prompt", "x", "--batch-size", "0"], 2, "batch_size"),
        (["--prompt", "x", "--device", "gpu"], 2, "gpu"),
        (["--promt", "x"], 2, "--prompt"),
        ([], 2, "no text"),
        (["--prompt-file", "/nowhere.txt"], 3, "/nowhere.txt"),
        (["--prompt", "the cat " * 200], 4, "context"),
    ],
)
def test_mistakes_are_three_lines(folder, capsys, argv, code, words):
    got, out, err = run(capsys, "--model", folder, *argv)
    assert (got, out) == (code, "")
    assert words in err and "Traceback" not in err
    assert "  why: " in err and "  fix: " in err and err.count("\n") == 3


def test_models_that_do_not_exist(capsys):
    for name, code in (("smolm2", 2), ("./nothing", 2)):
        got, _, err = run(capsys, "--model", name, "--prompt", "x")
        assert (got, err.count("\n")) == (code, 3)


def test_files_that_are_not_text(folder, capsys, tmp_path):
    (tmp_path / "latin.txt").write_bytes("ok\ncafé".encode("latin-1"))
    (tmp_path / "empty.txt").write_bytes(b"")
    got, _, err = run(capsys, "--model", folder, "--prompt-file", str(tmp_path / "latin.txt"))
    assert got == 3 and "latin.txt:2" in err
    assert run(capsys, "--model", folder, "--prompt-file", str(tmp_path / "empty.txt"))[0] == 3
