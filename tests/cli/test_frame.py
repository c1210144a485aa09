"""Options: flags, TOML, --set, and what is said when they are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from seodang.cli.frame import parse
from seodang.errors import UsageError


@dataclass(kw_only=True)
class Example:
    """A verb's options."""

    name: str
    """Required."""
    files: tuple[Path, ...] = ()
    rate: float | None = None
    steps: int = 10
    kind: Literal["a", "b"] = "a"
    quiet: bool = False


def test_flags() -> None:
    config = parse(Example, ["--name", "x", "--files", "a", "b", "--rate", "1e-3", "--quiet"], "verb")
    assert config == Example(name="x", files=(Path("a"), Path("b")), rate=1e-3, quiet=True)


def test_toml_then_set_then_flags(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('name = "toml"\nsteps = 1\nrate = 2\nfiles = ["a", "b"]\n')
    config = parse(Example, ["--config", str(file), "--set", "steps=2", "--set", "kind=b", "--rate", "0.5"], "verb")
    assert config == Example(name="toml", files=(Path("a"), Path("b")), rate=0.5, steps=2, kind="b")


def test_a_required_option_stays_required(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--name missing"):
        parse(Example, ["--set", "steps=2"], "verb")


@pytest.mark.parametrize(
    ("argv", "what", "fix"),
    [
        (["--nmae", "x"], "unknown option --nmae", "did you mean '--name'"),
        (["--name", "x", "--set", "stpes=1"], "unknown setting 'stpes'", "did you mean 'steps'"),
        (["--name", "x", "--set", "steps"], "--set steps", "--set key=value"),
        (["--name", "x", "--set", "steps=many"], "steps = 'many'", "correct the value"),
        (["--name", "x", "--set", "quiet=1"], "quiet = 1", "correct the value"),
        (["--name", "x", "--steps", "many"], "Error parsing --steps", "--help"),
        (["--name", "x", "--kind", "c"], "invalid choice 'c'", "--help"),
        (["--name", "x", "junk"], "junk", "--help"),
        (["--name", "x", "--config", "absent.toml"], "absent.toml does not exist", "path"),
        (["--name", "x", "--config"], "--config needs a value", "--help"),
    ],
)
def test_mistakes(argv: list[str], what: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(Example, argv, "verb")
    assert what in caught.value.what and fix in caught.value.fix and caught.value.exit_code == 2


def test_toml_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("name = \n")
    with pytest.raises(UsageError, match="is not TOML"):
        parse(Example, ["--config", str(tmp_path / "bad.toml")], "verb")


def test_help_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(Example, ["--help"], "verb")
    assert not end.value.code and "--steps" in capsys.readouterr().out


def test_a_config_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        parse(Example, ["--config", str(tmp_path)], "verb")
