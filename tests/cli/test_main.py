"""The front door: help, versions, unknown verbs, and errors as exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import pytest

import seodang
from seodang.cli.main import VERBS, main
from seodang.errors import DataError, DivergedError, FitError, SeodangError, UsageError


def test_help_names_every_verb_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for verb in VERBS:
        assert f"\n  {verb} " in out
    for code in ("0 done", "2 usage", "3 bad data", "4 will not fit", "5 diverged", "130 interrupted"):
        assert code in out


def test_no_verb_prints_help_and_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "seodang demo" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == seodang.__version__


def test_unknown_verb_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrian"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: unknown verb 'pretrian'")
    assert "'pretrain'" in captured.err and len(captured.err.strip().splitlines()) == 3


@pytest.mark.parametrize(
    ("error", "code"), [(SeodangError, 1), (UsageError, 2), (DataError, 3), (FitError, 4), (DivergedError, 5)]
)
def test_each_error_has_its_exit_code_and_three_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[SeodangError], code: int
) -> None:
    def fail(argv: list[str]) -> int:
        raise error("rows.jsonl:3 is not JSON", "a comma is missing", "mend the row")

    verb = types.ModuleType("seodang.cli.score")
    verb.main = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seodang.cli.score", verb)
    assert main(["score"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "error: rows.jsonl:3 is not JSON",
        "  why: a comma is missing",
        "  fix: mend the row",
    ]


def test_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(argv: list[str]) -> int:
        raise KeyboardInterrupt

    verb = types.ModuleType("seodang.cli.chat")
    verb.main = interrupted  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seodang.cli.chat", verb)
    assert main(["chat"]) == 130


def test_unknown_option_is_three_lines_not_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--jsn"]) == 2
    err = capsys.readouterr().err
    assert "unknown option --jsn" in err and "'--json'" in err
    assert len(err.strip().splitlines()) == 3


def test_every_verb_has_a_module() -> None:
    import importlib

    for verb in VERBS:
        assert callable(importlib.import_module(f"seodang.cli.{verb}").main), verb


def test_the_installed_command_answers() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from seodang.cli.main import entry; entry()", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, seodang.__version__)


@pytest.mark.parametrize("buffering", [[], ["-u"]], ids=["buffered", "unbuffered"])
def test_a_closed_pipe_is_not_an_error(buffering: list[str]) -> None:
    """`seodang --help | head -1` must not end in a traceback."""
    command = [sys.executable, *buffering, "-c", "from seodang.cli.main import entry; entry()", "--help"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    error = child.stderr.read()
    child.wait(timeout=30)
    child.stderr.close()
    assert error == b"" and child.returncode == 0


@pytest.mark.parametrize(("encoding", "expected"), [("ascii", b"\\ud55c"), ("utf-8", "한".encode())])
def test_output_that_the_encoding_has_no_room_for_is_no_traceback(encoding: str, expected: bytes) -> None:
    code = (
        "import sys, types; from seodang.cli import main as front\n"
        "verb = types.SimpleNamespace(main=lambda argv: print('한'))\n"
        "sys.modules['seodang.cli.doctor'] = verb; raise SystemExit(front.main(['doctor']))"
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-X", "utf8", "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0 and done.stdout.strip() == expected
