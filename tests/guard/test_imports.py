"""Imports go one way, and nothing heavy is imported before it must be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seodang.cli.main import VERBS
from tests.guard.source import PACKAGE, module_name, modules, tree

# Data walks through the folders in this order; a folder may import only from itself and from those before it.
ORDER = (
    "errors files text data vectors models objectives checkpoints training adapters inference prompting alignment "
    "evaluation planning recipes studies serving cli"
).split()

HEAVY = ("torch", "transformers", "tokenizers", "gguf", "pyarrow", "matplotlib", "tensorboard", "gensim")


def imported(path: Path, *, only_at_import: bool = False) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of a file's imports; `only_at_import` leaves out functions and TYPE_CHECKING."""
    pending: list[ast.AST] = [tree(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                package = module_name(path).split(".")
                base = package if path.name == "__init__.py" else package[:-1]
                prefix = ".".join(base[: len(base) - node.level + 1])
                source = f"{prefix}.{node.module}" if node.module else prefix
            else:
                source = node.module or ""
            # `from seodang import data` names a module, `from seodang.data import readers` may too
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)
        if only_at_import:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                pending.extend(node.orelse)
                continue
        pending.extend(ast.iter_child_nodes(node))


def stage(name: str) -> str | None:
    """The folder or top-level file of a dotted name of ours; None for `seodang` itself and for others."""
    parts = name.split(".")
    return parts[1] if parts[0] == "seodang" and len(parts) > 1 and parts[1] in ORDER else None


def test_every_folder_has_a_place_in_the_order() -> None:
    stages = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()
              if path.suffix == ".py" or (path.is_dir() and list(path.rglob("*.py")))}
    assert stages - {"__init__", "__main__", "__pycache__"} <= set(ORDER)


def test_imports_go_only_upwards() -> None:
    wrong = []
    for path in modules():
        here = stage(module_name(path))
        if here is None:
            continue  # seodang/__init__.py is the door; it opens lazily
        for line, name in imported(path):
            there = stage(name)
            if there is not None and ORDER.index(there) > ORDER.index(here):
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_a_verb_does_not_import_another_verb() -> None:
    shared = {path.stem for path in (PACKAGE / "cli").glob("*.py")} - set(VERBS)
    wrong = []
    for path in sorted((PACKAGE / "cli").glob("*.py")):
        for line, name in imported(path):
            parts = name.split(".")
            if parts[:2] == ["seodang", "cli"] and len(parts) > 2 and parts[2] not in shared | {path.stem}:
                wrong.append(f"{path.name}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_no_import_cycles() -> None:
    names = {module_name(path): path for path in modules()}
    edges: dict[str, set[str]] = {}
    for name, path in names.items():
        found = {target for _, target in imported(path, only_at_import=True)}
        found |= {target.rpartition(".")[0] for target in found}
        edges[name] = {target for target in found if target in names and target != name}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, "import cycle: " + " → ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in sorted(edges[name]):
                walk(target, (*trail, name))
            done.add(name)

    for name in names:
        walk(name, ())


def light_modules() -> list[str]:
    """Modules that must load at once: the door, the command line, options, text, and the reading of rows."""
    folders = ("cli", "text", "errors", "files", "recipes.config", "studies.config")
    files = ("data.readers", "data.formats", "data.primer")
    prefixes = tuple(f"seodang.{name}" for name in folders + files)
    names = [module_name(path) for path in modules()]
    return [name for name in names if name == "seodang" or name.startswith(prefixes)]


def test_light_modules_import_nothing_heavy() -> None:
    """In one child process, import each in turn and name the first that brings a heavy library with it."""
    program = (
        "import importlib, sys\n"
        f"for name in {light_modules()!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [library for library in {HEAVY!r} if library in sys.modules]\n"
        "    if heavy:\n"
        "        sys.exit(f'{name} imports {heavy}')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run_help(arguments: list[str]) -> tuple[float, str, list[str]]:
    """Processor seconds, stdout and the heavy libraries in memory of `seodang ARGUMENTS`, in a new process."""
    program = (
        "import atexit, sys, time\n"
        f"heavy = lambda: ','.join(name for name in {HEAVY!r} if name in sys.modules)\n"
        "atexit.register(lambda: sys.stderr.write('heavy:' + heavy()))\n"
        "atexit.register(lambda: sys.stderr.write(f'seconds:{time.process_time()}'))\n"
        "from seodang.cli.main import main\n"
        f"sys.exit(main({arguments!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"seodang {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-300:]}")
    seconds, _, heavy = done.stderr.rpartition("seconds:")[2].partition("heavy:")  # last registered, first called
    return float(seconds), done.stdout, [name for name in heavy.split(",") if name]


HELP = [["--help"]] + [[verb, "--help"] for verb in VERBS]
HELP += [["tokenizer", word, "--help"] for word in ("train", "trace", "stats")]
HELP += [["vectors", word, "--help"] for word in ("train", "neighbours", "analogy")]
HELP += [["study", word, "--help"] for word in ("transfer", "zeroshot", "ablation")]
HELP += [["data", word, "--help"] for word in ("check", "show", "split", "stats")]


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_is_quick_and_imports_nothing_heavy(arguments: list[str]) -> None:
    """The aim is 0.3 s on an idle laptop. The bound, of processor time, leaves room for a slow one, and does not count
    what else the machine does; the import check leaves none."""
    best, output, heavy = run_help(arguments)
    assert not heavy, f"seodang {' '.join(arguments)} imports {heavy}"
    assert "seodang" in output.lower() or "usage" in output.lower()
    for _ in range(3):
        if best <= 1.0:
            break
        best = min(best, run_help(arguments)[0])
    assert best <= 1.0, f"seodang {' '.join(arguments)} took {best:.2f} s"
