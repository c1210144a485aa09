"""Files that are either whole or absent: write aside, fsync, rename; manifests with hashes; room on the disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seodang.errors import DataError, FitError, SeodangError

MANIFEST = "manifest.json"
"""Name of the file that lists every other file of a folder with its size and SHA-256."""

_TEMPORARY = ".writing-"


def fsync_path(path: Path) -> None:
    """Force a file's (or, on POSIX, a folder's) contents to the disk."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # Windows syncs only what it may write
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> Path:
    """Create `path` and its parents, or say why it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SeodangError(
            f"cannot create the folder {path}",
            f"{error.strerror or error}",
            "choose a folder you may write to with --out",
        ) from error
    if not os.access(path, os.W_OK):
        raise SeodangError(
            f"cannot write into {path}", "no write permission", "choose a folder you may write to with --out"
        )
    return path


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """A temporary neighbour of `path` to write; it becomes `path` when the block ends well and vanishes otherwise."""
    path = Path(path)
    make_folder(path.parent)
    temporary = path.parent / f"{_TEMPORARY}{os.getpid()}-{path.name}"
    try:
        yield temporary
        fsync_path(temporary)
        os.replace(temporary, path)
        fsync_path(path.parent)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: Path | str, data: bytes | str) -> None:
    """Write a whole file or nothing: into a temporary neighbour, fsync, rename over `path`."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well and vanishes when it does not.

    Every file is fsynced before the rename and the parent after it. An older `path` is replaced: it is moved
    aside first, so at no moment is a half-written folder visible under the name.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{path.name}-", dir=path.parent))
    try:
        temporary.chmod(0o755)  # mkdtemp makes private folders; a checkpoint is an ordinary one
        yield temporary
        for file in sorted(temporary.rglob("*")):
            fsync_path(file)
        fsync_path(temporary)
        aside = None
        if path.exists():
            aside = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}old-", dir=path.parent))
            os.replace(path, aside / path.name)
        os.replace(temporary, path)
        fsync_path(path.parent)
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Delete what an interrupted write left behind in `folder`."""
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def discard_folder(folder: Path) -> None:
    """Delete `folder`: it loses its name first, so that nobody ever sees half of it."""
    aside = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}old-", dir=folder.parent))
    os.replace(folder, aside / folder.name)
    shutil.rmtree(aside, ignore_errors=True)


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file, in hex, read in blocks."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(folder: Path, names: Iterable[str] | None = None) -> None:
    """Write `manifest.json`: size in bytes and SHA-256 of the files in `folder` (all of them by default)."""
    chosen = (
        sorted(names)
        if names is not None
        else sorted(
            str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST
        )
    )
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_file(folder / name)} for name in chosen}
    atomic_write(folder / MANIFEST, json.dumps({"files": files}, indent=1) + "\n")


def check_manifest(folder: Path, *, hashes: bool = True) -> None:
    """Compare `folder` with its manifest; `hashes=False` compares only the sizes (fast).

    Raises DataError naming the first file that is missing, short or changed, and when there is no manifest.
    """
    path = folder / MANIFEST
    fix = "use another checkpoint, or copy the folder again from where it came"
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        raise DataError(f"{folder} has no {MANIFEST}", "it was not written to the end", fix) from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} is damaged", "it is not the JSON that was written", fix) from None
    for name, entry in files.items():
        file = folder / name
        if not file.is_file():
            raise DataError(f"{folder} is not whole", f"{name} is missing", fix)
        if file.stat().st_size != entry["bytes"]:
            raise DataError(
                f"{folder} is not whole", f"{name} has {file.stat().st_size} bytes, not {entry['bytes']}", fix
            )
        if hashes and sha256_file(file) != entry["sha256"]:
            raise DataError(f"{folder} is damaged", f"{name} does not have the SHA-256 it was written with", fix)


def require_free_space(path: Path, n_bytes: int) -> None:
    """Raise FitError unless the disk of `path` has room for `n_bytes`."""
    folder = path
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise FitError(
            f"the disk of {path} has no room",
            f"{n_bytes / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free",
            "free some space, or choose another disk with --out",
        )


def disk_error(path: Path, error: OSError) -> SeodangError:
    """What to tell the user when `path` could not be written: FitError for a full disk."""
    reason = error.strerror or str(error)
    if error.errno == 28:  # ENOSPC
        return FitError(f"{path} was not written", "the disk is full", "free some space, or choose another disk")
    return SeodangError(f"{path} was not written", reason, "check the path and its permissions")
