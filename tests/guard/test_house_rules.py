"""The rules of the house that a machine can read off the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guard.source import PACKAGE, ROOT, committed_files, modules, tree

FILE_AIM, FILE_LIMIT = 400, 450
FUNCTION_AIM, FUNCTION_LIMIT = 60, 80


def calls(path: Path) -> Iterator[tuple[ast.Call, str]]:
    """Every call in a file, with what is called as source text."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}"


def test_one_backward_in_the_package() -> None:
    found = [
        where(path, call) for path in modules() for call, name in calls(path) if name.endswith(".backward")
    ]
    assert len(found) <= 1, found
    if (PACKAGE / "training" / "step.py").exists():
        assert [place.split(":")[0] for place in found] == ["training/step.py"]


def test_no_pickle_no_torch_load_no_loose_loading() -> None:
    wrong = []
    for path in modules():
        for node in ast.walk(tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong += [where(path, node) for name in names if name.split(".")[0] in ("pickle", "dill")]
        for call, name in calls(path):
            if name in ("torch.load", "torch.save", "eval", "exec"):
                wrong.append(f"{where(path, call)} {name}")
            for keyword in call.keywords:
                if keyword.arg == "strict" and name.endswith("load_state_dict"):
                    if not (isinstance(keyword.value, ast.Constant) and keyword.value.value is True):
                        wrong.append(f"{where(path, call)} strict={ast.unparse(keyword.value)}")
                if keyword.arg == "allow_pickle" and not ast.unparse(keyword.value) == "False":
                    wrong.append(f"{where(path, call)} allow_pickle")
    assert not wrong, wrong


def test_no_work_at_import() -> None:
    """At module level nothing is printed, opened, seeded or run."""
    forbidden = re.compile(r"(print|open|input|torch\.manual_seed|random\.seed|subprocess\..*|logging\..*)$")
    wrong = []
    for path in modules():
        for node in tree(path).body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                if forbidden.match(ast.unparse(node.value.func)):
                    wrong.append(where(path, node))
    assert not wrong, wrong


def test_no_global_statements() -> None:
    nodes = [(path, node) for path in modules() for node in ast.walk(tree(path))]
    wrong = [where(path, node) for path, node in nodes if isinstance(node, ast.Global)]
    assert not wrong, wrong


def test_files_and_functions_stay_short() -> None:
    wrong, near = [], []
    for path in modules():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        name = str(path.relative_to(PACKAGE))
        (wrong if lines > FILE_LIMIT else near if lines > FILE_AIM else []).append(f"{name}: {lines} lines")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                text = f"{where(path, node)} {node.name}: {length} lines"
                (wrong if length > FUNCTION_LIMIT else near if length > FUNCTION_AIM else []).append(text)
    if near:
        warnings.warn("longer than they should be: " + "; ".join(near), stacklevel=1)
    assert not wrong, "\n".join(wrong)


def test_public_functions_say_what_they_do() -> None:
    """A public function or class at module level has a docstring."""
    wrong = []
    for path in modules():
        for node in tree(path).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                if not node.name.startswith("_") and node.name != "main" and not ast.get_docstring(node):
                    wrong.append(f"{where(path, node)} {node.name}")
        if path.name != "__init__.py" and not ast.get_docstring(tree(path)):
            wrong.append(f"{path.relative_to(PACKAGE)} has no module docstring")
    assert not wrong, "\n".join(wrong)


def test_no_unfinished_work() -> None:
    """No marks of things to do; `raise NotImplementedError` only where another class gives the method a body."""
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    wrong, abstract, bodies = [], [], set()
    for path in modules():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if marks.search(line):
                wrong.append(f"{path.relative_to(PACKAGE)}:{number}: {line.strip()}")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if "raise NotImplementedError" in ast.unparse(node):
                    abstract.append((node.name, where(path, node)))
                else:
                    bodies.add(node.name)
    wrong += [f"{place} {name} is only announced" for name, place in abstract if name not in bodies]
    assert not wrong, "\n".join(wrong)


# Written in pieces, so that this file does not find itself.
FORBIDDEN = re.compile(
    "|".join(
        [
            "/" + "work/(main|shared)",
            "/" + "tmp/(env|spec|pkg)",
            "/" + "root/",
            "/" + "opt/(wheels|pypi)",
            "pypi" + r"\.org|files\.python" + r"hosted|download\.py" + r"torch\.org",
        ]
    )
)


def test_no_machine_paths_and_no_registry_hosts() -> None:
    """A path or package index that exists on one machine only has no place in the repository."""
    wrong = []
    for path in committed_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if FORBIDDEN.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("command", ["ruff check .", "mypy"])
def test_the_source_is_clean(command: str) -> None:
    program = [sys.executable, "-m", *command.split()]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
