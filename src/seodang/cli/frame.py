"""What every verb shares: options from flags, a TOML file and --set; results on stdout; errors in three lines."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import sys
import tomllib
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from seodang.errors import UsageError, suggest

Config = TypeVar("Config")


def parse(config_class: type[Config], argv: list[str], prog: str) -> Config:
    """Build a verb's config: the class's defaults, then `--config FILE.toml`, then `--set key=value`, then flags.

    Raises UsageError for an unknown key (with the nearest known one) and for a value of the wrong type.
    `--help` prints the flags and exits 0.
    """
    import tyro

    flags, settings = _split_settings(config_class, argv, prog)
    default = _with_settings(config_class, settings)
    _reject_unknown_flags(config_class, flags, prog)
    keyword: dict[str, Any] = {} if default is None else {"default": default}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                config_class,
                args=flags,
                prog=prog,
                description=(config_class.__doc__ or "").strip(),
                **keyword,
            )
    except SystemExit as end:
        if end.code in (0, None):  # --help
            raise
        raise _usage_error(said.getvalue(), prog) from None


def dispatch(
    group: str, operands: str, verbs: dict[str, tuple[str, type, Callable[[Any], int]]], argv: list[str]
) -> int:
    """Run `seodang GROUP VERB …`; `verbs` maps each verb to its one-line help, its config class and its function.
    Where there are `operands` the config has them as `files`, at least one.

    Returns the exit code. Raises UsageError for an unknown verb, and what `parse` and the function raise.
    """
    prog = f"seodang {group}"
    if not argv or argv[0] in ("-h", "--help"):
        width = max(6, *map(len, verbs))
        lines = [f"  {verb:<{width}} {line}" for verb, (line, _, _) in verbs.items()]
        print("\n".join([f"usage: {prog} VERB {operands}[options]        {prog} VERB --help", "", *lines]))
        return 0 if argv else 2
    verb, rest = argv[0], argv[1:]
    if verb not in verbs:
        raise UsageError(f"unknown verb '{group} {verb}'", "there is no such command", suggest(verb, verbs))
    _, config_class, run = verbs[verb]
    config: Any = parse(config_class, rest, f"{prog} {verb}")
    if operands and not config.files:
        raise UsageError(f"{prog} {verb}: no files", "nothing to look at", f"{prog} {verb} {operands.strip()}")
    return run(config)


def _usage_error(page: str, prog: str) -> UsageError:
    """tyro's page-long message in three lines."""
    lines = [line.strip(" │╭╮╰╯─") for line in page.splitlines()]
    if any(line.startswith("Required options") for line in lines):
        missing = [line.split()[0] for line in lines if line.startswith("--") and len(line) > 2]
        places = [line for line in lines if line.isupper() and not line.startswith("-")]
        return UsageError(
            f"{prog}: {', '.join(missing or places)} missing", "it has no default", f"add it; see {prog} --help"
        )
    body: list[str] = []
    for line in lines[1:]:
        if line.startswith(("Got errors", "For full helptext", "Perhaps you meant", "Argument helptext")):
            break
        body.append(line)
    reason = " ".join(" ".join(body).strip("- ").split())
    return UsageError(f"{prog}: {reason or 'wrong options'}", "the option does not take this", f"see {prog} --help")


def _split_settings(config_class: type, argv: list[str], prog: str) -> tuple[list[str], dict[str, Any]]:
    """Take `--config FILE` and `--set key=value …` out of `argv`; return the other flags and the settings."""
    flags: list[str] = []
    settings: dict[str, Any] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name not in ("--config", "--set"):
            flags.append(word)
            continue
        if not equals:
            if not rest:
                raise UsageError(f"{prog}: {name} needs a value", fix=f"see {prog} --help")
            value = rest.pop(0)
        settings.update(_read_toml(Path(value)) if name == "--config" else _read_setting(value, prog))
    known = {field.name for field in dataclasses.fields(config_class)}
    for key in settings:
        if key not in known:
            raise UsageError(f"{prog}: unknown setting {key!r}", "no such option exists", suggest(key, known))
    return flags, settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return {key.replace("-", "_"): value for key, value in tomllib.loads(path.read_text("utf-8")).items()}
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist", "--config names a TOML file", "check the path") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read", error.strerror or str(error), "--config names a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML", str(error), "write lines such as: steps = 100") from None


def _read_setting(text: str, prog: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{prog}: --set {text}", "it has no '='", "write --set key=value")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value  # a bare word is a string
    return {key.replace("-", "_"): parsed}


def _with_settings(config_class: type[Config], settings: dict[str, Any]) -> Config | None:
    """An instance that carries `settings`, or None when there are none (so that required flags stay required)."""
    if not settings:
        return None
    import tyro

    hints = typing.get_type_hints(config_class)
    values = {key: _convert(key, value, hints[key]) for key, value in settings.items()}
    for field in dataclasses.fields(config_class):  # type: ignore[arg-type]
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            values[field.name] = tyro.MISSING
    return config_class(**values)


def _convert(key: str, value: Any, hint: Any) -> Any:
    """`value` from TOML as the type the config wants: paths from strings, tuples from lists, floats from ints."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for option in options:
        origin = typing.get_origin(option)
        if option is type(None) and value is None:
            return None
        if origin is typing.Literal and value in typing.get_args(option):
            return value
        if origin in (tuple, list):
            inner = typing.get_args(option)[0]
            items = value if isinstance(value, list) else [value]
            return origin(_convert(key, item, inner) for item in items)
        if option is Path and isinstance(value, str):
            return Path(value)
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if option is str and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if isinstance(option, type) and isinstance(value, option):
            if option is int and isinstance(value, bool):
                continue
            return value
    wanted = " or ".join(str(getattr(option, "__name__", option)) for option in options)
    raise UsageError(f"setting {key} = {value!r}", f"it should be {wanted}", "correct the value")


def _reject_unknown_flags(config_class: type, flags: list[str], prog: str) -> None:
    """Name the nearest flag for a misspelt one; tyro's own message is a page long."""
    known, shown = {"--help", "-h"}, {"--help"}
    for field in dataclasses.fields(config_class):
        metadata = typing.get_type_hints(config_class, include_extras=True)[field.name]
        flag = field.name.replace("_", "-")
        known |= {f"--{flag}", f"--{field.name}"}
        shown.add(f"--{flag}")
        if isinstance(field.default, bool):
            known |= {f"--no-{flag}", f"--no-{field.name}"}
        for extra in getattr(metadata, "__metadata__", ()):
            known |= set(getattr(extra, "aliases", None) or ())
            if getattr(extra, "name", None):
                known.add("--" + extra.name)
    for word in flags:
        if word.startswith("--") and len(word) > 2 and word.split("=")[0] not in known:
            near = suggest(word.split("=")[0], shown)
            raise UsageError(
                f"{prog}: unknown option {word.split('=')[0]}",
                "no such option exists",
                (f"{near}; " if near.startswith("did") else "") + f"see {prog} --help",
            )


def print_result(result: Any, as_json: bool, text: str | Iterable[str]) -> None:
    """Results go to stdout: `result` as one JSON document, or `text` for people."""
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write((text if isinstance(text, str) else "\n".join(text)) + "\n")
    sys.stdout.flush()


def say(message: str = "") -> None:
    """Progress and remarks go to stderr, so that stdout stays the result."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
