"""A folder that appears whole: as one rename when nothing else lives in it, manifest last when something does."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seodang.errors import DataError
from seodang.files import (
    MANIFEST,
    atomic_folder,
    disk_error,
    fsync_path,
    make_folder,
    remove_leftovers,
    write_manifest,
)

SEODANG = "seodang.json"
"""Our own entry of a model folder. A folder that has it and has no manifest was being written when it stopped."""


def is_interrupted(folder: Path) -> bool:
    """Whether `folder` was being published when the writing stopped."""
    return (folder / SEODANG).exists() and not (folder / MANIFEST).exists()


def require_published(folder: Path) -> None:
    """Raise DataError when `is_interrupted`."""
    if is_interrupted(folder):
        raise DataError(
            f"{folder} is not whole",
            f"it has {SEODANG} and no {MANIFEST}: the writing was interrupted",
            "save the model again, or use the newest folder under checkpoints/",
        )


@contextmanager
def publish_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill with a model's files; when the block ends well they are published in `folder`.

    A new folder, or one whose every file an earlier publication wrote, is replaced in one rename. Where other
    files live (metrics.jsonl, checkpoints/), the manifest is taken away, the files are moved in one by one,
    `seodang.json` first, and the new manifest comes last: whenever that stops, the folder is as it was or is
    seen to be incomplete.
    """
    known = {Path(name).parts[0] for name in _published(folder)}
    if not folder.exists() or all(entry.name in known for entry in folder.iterdir()):
        with atomic_folder(folder) as stage:
            yield stage
            write_manifest(stage)
        return
    make_folder(folder)
    remove_leftovers(folder)
    stage = Path(tempfile.mkdtemp(prefix=".writing-model-", dir=folder))
    try:
        yield stage
        write_manifest(stage)
        for file in stage.rglob("*"):
            fsync_path(file)
        _move_in(stage, folder)
    except OSError as error:
        raise disk_error(folder, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _move_in(stage: Path, folder: Path) -> None:
    files = [str(file.relative_to(stage)) for file in stage.rglob("*") if file.is_file()]
    names = sorted(files, key=lambda name: (name == MANIFEST, name != SEODANG))
    stale = _published(folder) | {file.name for file in folder.glob("model*.safetensors*")}
    (folder / MANIFEST).unlink(missing_ok=True)
    fsync_path(folder)
    for name in names:
        if name == MANIFEST:
            for old in stale - set(names):
                (folder / old).unlink(missing_ok=True)
            fsync_path(folder)
        (folder / name).parent.mkdir(exist_ok=True)
        os.replace(stage / name, folder / name)
        if name == SEODANG:
            fsync_path(folder)
    fsync_path(folder)


def _published(folder: Path) -> set[str]:
    """Names of the files that the manifest of `folder` lists, and its own."""
    try:
        return {*json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"], MANIFEST}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
