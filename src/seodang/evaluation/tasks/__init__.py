"""The built-in tasks, one file each: `TASK` says what is read, what is asked, and how it is scored."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path

from seodang.errors import DataError, UsageError, suggest
from seodang.evaluation.task import Task

_SHARED = ("cbt",)


def names() -> list[str]:
    """The names of the built-in tasks; no task is imported."""
    return [one.name.replace("_", "-") for one in pkgutil.iter_modules(__path__) if one.name not in _SHARED]


def find(task: str) -> Task:
    """A built-in task by name, or the TASK of a FILE.py. Raises UsageError, DataError."""
    if task.endswith(".py"):
        return from_file(Path(task))
    name = task.casefold().replace("_", "-").removeprefix("glue-")
    if name not in names():
        return _unworded(task)
    found: Task = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").TASK
    return found


def _unworded(task: str) -> Task:
    """Labelled sets that `read_task` knows, and the user's own, in the usual words for their kind."""
    from seodang.data.tasks.published import GENERIC, TASKS
    from seodang.evaluation.choosing import Choice

    name = task.casefold().replace("_", "-")
    if name == "regress" or (name in TASKS and TASKS[name].regression):
        raise UsageError(
            f"{task} asks for a score", "what is evaluated here are answers to choose from",
            "fine-tune on it: seodang finetune",
        )  # fmt: skip
    if name not in TASKS and name not in GENERIC:
        raise UsageError(
            f"there is no task {task!r} to evaluate",
            suggest(name, sorted({*names(), *TASKS, *GENERIC})),
            "name one, or a FILE.py with a TASK",
        )
    metrics = TASKS[name].metrics if name in TASKS else ("accuracy",)
    source = TASKS[name].source if name in TASKS else ""
    return Choice(name=name, source=source, reads=name, metrics={metric: metric for metric in metrics})


def from_file(path: Path) -> Task:
    """The TASK that a Python file defines. Raises DataError where it has none."""
    if not path.is_file():
        raise DataError(f"{path} does not exist", "--task names a task or a Python file", "check the path")
    spec = importlib.util.spec_from_file_location(f"seodang_task_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise DataError(f"{path} cannot be run", f"{type(error).__name__}: {error}", "correct the file") from error
    found = getattr(module, "TASK", None)
    if not isinstance(found, Task):
        raise DataError(
            f"{path} defines no task", "a task's file sets TASK to a Choice, Perplexity, LastWord or Writing",
            "see docs/evaluation.md",
        )  # fmt: skip
    return found
