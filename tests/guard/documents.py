"""Reading commands and code out of the Markdown files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.guard.source import ROOT

READMES = (ROOT / "README.md", ROOT / "README.ko.md")
TUTORIALS = (ROOT / "docs" / "tutorial.md", ROOT / "docs" / "tutorial.ko.md")


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands(path: Path) -> list[list[str]]:
    """Every command of the ```bash blocks as words; lines ending in a backslash are joined, comments dropped."""
    lines = "".join(blocks(path, "bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def seodang_commands(path: Path) -> list[list[str]]:
    """The arguments of the commands that start with `seodang`."""
    return [words[1:] for words in commands(path) if words[0] == "seodang"]
