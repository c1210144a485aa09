"""What the documents promise: commands parse, the quick start runs, twins agree, the papers table holds."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from seodang.cli.main import VERBS, main
from tests.guard.documents import READMES, TUTORIALS, blocks, commands, seodang_commands
from tests.guard.source import ROOT

PAPERS = ROOT / "docs" / "papers.md"
PAGES = (
    *("CONTRIBUTING.md", "docs/log.md", "docs/vectors.md", "docs/encoders.md", "docs/evaluation.md"),
    *("docs/labelled.md", "docs/prompting.md", "docs/studies.md", "docs/decoding.md"),
)
DOCUMENTS = [*READMES, *TUTORIALS, *(ROOT / name for name in PAGES)]


class Parsed(BaseException):
    """Thrown in place of a verb's work once its options have been understood."""


def parse_only(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Send `argv` through the real command line as far as the parsed options."""
    frame = importlib.import_module("seodang.cli.frame")
    verb = importlib.import_module(f"seodang.cli.{argv[0]}")
    real = frame.parse

    def parse_and_stop(*arguments: Any, **keywords: Any) -> Any:
        real(*arguments, **keywords)
        raise Parsed

    monkeypatch.setattr(frame, "parse", parse_and_stop)
    if hasattr(verb, "parse"):
        monkeypatch.setattr(verb, "parse", parse_and_stop)
    with pytest.raises(Parsed):
        code = main(argv)
        pytest.fail(f"seodang {shlex.join(argv)} ended with {code} before its options were read")


def documented() -> list[Any]:
    """Each distinct `seodang` command of the documents."""
    seen: dict[str, list[str]] = {}
    for path in DOCUMENTS:
        for argv in seodang_commands(path):
            seen.setdefault(shlex.join(argv), argv)
    return [pytest.param(argv, id=text) for text, argv in seen.items()]


@pytest.mark.parametrize("argv", documented())
def test_documented_commands_parse(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if argv[0].startswith("-"):
        assert main(argv) == 0
        return
    assert argv[0] in VERBS
    if "--help" not in argv:
        parse_only(argv, monkeypatch)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_other_documented_commands_exist(path: Path) -> None:
    targets = re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for words in commands(path):
        assert words[0] in {"seodang", "make", "git", "cd", "pip", "python", "source", ".ci/run"}, words
        if words[0] == "make":
            goals = [word for word in words[1:] if "=" not in word]
            assert set(goals) <= set(targets), words


@pytest.mark.parametrize(("english", "korean"), [READMES, TUTORIALS], ids=["README", "tutorial"])
def test_twins_have_the_same_commands_and_headings(english: Path, korean: Path) -> None:
    assert commands(english) == commands(korean)
    assert blocks(english, "python") == blocks(korean, "python")
    levels = [re.findall(r"^(#+) ", path.read_text(encoding="utf-8"), re.MULTILINE) for path in (english, korean)]
    assert levels[0] == levels[1]


@pytest.mark.parametrize("path", [*DOCUMENTS, PAPERS, ROOT / "docs" / "architecture.md"], ids=lambda path: path.name)
def test_links_inside_the_repository_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_ci_runs_the_readme_test_command() -> None:
    assert ["make", "test"] in commands(READMES[0])
    assert re.search(r"^make test VENV=", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)


# ---- the quick start, for real, on a page of text -----------------------------------------------------------

STORY = "Once upon a time there was a school in a village. 옛날 어느 마을에 서당이 있었습니다. {} children read.\n\n"
SHORTER = {"--minutes": ["--steps", "4"], "--epochs": ["--steps", "4"]}
BY_HAND = {"demo", "chat"}
"""Verbs that are tested elsewhere: the demo takes minutes, chat needs a terminal."""


def shortened(argv: list[str]) -> list[str]:
    """The command with its long run replaced by four steps of few tokens."""
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        if word in SHORTER:
            next(rest)
            words += SHORTER[word]
        else:
            words.append(word)
    extra = {"pretrain": ["--batch-tokens", "512"], "sft": ["--batch-tokens", "512"], "doctor": ["--no-measure"]}
    return words + extra.get(argv[0], [])


def write_inputs(folder: Path) -> None:
    """The files that the README takes for granted."""
    (folder / "book.txt").write_text("".join(STORY.format(number) for number in range(300)), encoding="utf-8")
    rows = [{"instruction": f"How much is {n} + 1?", "output": f"{n + 1}"} for n in range(60)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "questions.jsonl").write_text(text, encoding="utf-8")
    reviews = [f"A {'fine' if n % 2 else 'dull'} film number {n}.,{'good' if n % 2 else 'bad'}\n" for n in range(40)]
    (folder / "reviews.csv").write_text("text,label\n" + "".join(reviews), encoding="utf-8")


def test_the_readme_quick_start_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command of README.md in its order, and then its Python, in one empty folder."""
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    ran = 0
    for argv in seodang_commands(READMES[0]):
        if argv[0] in BY_HAND or "smollm2" in argv or "--help" in argv:
            continue
        code = main(shortened(argv))
        captured = capsys.readouterr()
        assert code == 0, f"seodang {shlex.join(argv)} ended with {code}\n{captured.err[-3000:]}"
        ran += 1
    assert ran >= 10
    for source in blocks(READMES[0], "python"):
        exec(compile(ast.parse(source), "README.md", "exec"), {})  # noqa: S102 — our own README
    assert capsys.readouterr().out.strip()


# ---- docs/papers.md ------------------------------------------------------------------------------------------


def paper_rows() -> list[list[str]]:
    """The rows of the papers table: paper, equation, function, test, recipe."""
    lines = [line for line in PAPERS.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in rows if row[0] != "paper" and not set(row[0]) <= set("-: ")]


@pytest.mark.parametrize("row", paper_rows(), ids=lambda row: f"{row[0]}: {row[1]}"[:60])
def test_papers_table_names_what_exists(row: list[str]) -> None:
    paper, equation, function, test, recipe = row
    assert paper and equation
    symbols = re.findall(r"`(seodang[\w.]*):([\w.]+)`", function)
    assert symbols, f"{paper}: no `module:symbol`"
    for module, symbol in symbols:
        thing: Any = importlib.import_module(module)
        for part in symbol.split("."):
            thing = getattr(thing, part)
        assert thing is not None
    places = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", test)
    assert places, f"{paper}: no test"
    for file, name in places:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not name or re.search(rf"^\s*(async )?def {name}\(|^class {name}\b", text, re.MULTILINE), (file, name)
    for verb in re.findall(r"`seodang (\w+)", recipe):
        assert verb in VERBS
