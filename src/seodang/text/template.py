"""Chat templates come with models, from strangers: Jinja in a sandbox, with limits on time and on output."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, wraps
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator
from jinja2.ext import Extension
from jinja2.ext import loopcontrols as LoopControls
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from seodang.errors import DataError

MAX_SECONDS = 5.0
"""A template that needs longer is stopped; ordinary ones take well under a millisecond a message."""

MAX_SLACK = 2_000_000
"""Characters that a template may write beyond twenty times its input."""


class _Generation(Extension):
    """`{% generation %}` marks what the assistant wrote, for TRL; here it only has to be understood."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class _Generator(CodeGenerator):
    """Sends `a ~ b` through the environment, which limits how long texts may grow."""

    def visit_Concat(self, node: nodes.Concat, frame: Any) -> None:
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _Environment(ImmutableSandboxedEnvironment):
    """transformers' settings; a clock that every loop and macro looks at; no text may grow without end."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])
    code_generator_class = _Generator

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, LoopControls])
        self.filters = {name: _limited(name, function) for name, function in self.filters.items()}
        self.filters["tojson"] = _tojson
        self.globals.update(raise_exception=_raise_exception, strftime_now=_strftime_now)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for node in list(tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock))):
            tick = nodes.Call(nodes.Name("__tick", "load"), [], [], None, None)
            node.body.insert(0, nodes.Output([tick]))  # type: ignore[attr-defined]
        return tree

    def joined(self, parts: Iterable[Any]) -> str:
        return _short("".join(map(str, parts)))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(value) for value in (left, right) if isinstance(value, str | list | tuple)]
        numbers = [value for value in (left, right) if isinstance(value, int | float)]
        if operator == "+" and sum(sizes) > MAX_SLACK or operator == "*" and sizes and (
            max([0, *numbers]) * max(sizes) > MAX_SLACK
        ):  # fmt: skip
            raise SecurityError("it makes too long a text")
        if operator == "**" and len(numbers) == 2 and (abs(left) > 1e6 or abs(right) > 64):
            raise SecurityError("it takes too high a power")
        if operator == "%" and isinstance(left, str):
            _check_fields(left)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        _check_numbers((*args, *kwargs.values()))
        if isinstance(getattr(obj, "__self__", None), str) and getattr(obj, "__name__", "") == "replace":
            _check_replacement(obj.__self__, *args)
        return super().call(context, obj, *args, **kwargs)


def _short(value: Any) -> Any:
    if isinstance(value, str | list | tuple) and len(value) > MAX_SLACK:
        raise SecurityError("it makes too long a text")
    return value


def _check_numbers(values: Iterable[Any]) -> None:
    if any(isinstance(value, int) and abs(value) > MAX_SLACK for value in values):
        raise SecurityError("it calls a function with too large a number")


def _check_fields(pattern: str) -> None:
    if re.search(r"\d{5}|\*", pattern):
        raise SecurityError("it asks for too wide a field")


def _check_replacement(text: Any, old: Any = "", new: Any = "", *_: Any) -> None:
    if str(text).count(str(old)) * len(str(new)) > 20 * MAX_SLACK:
        raise SecurityError("it makes too long a text")


def _limited(name: str, function: Any) -> Any:
    """A filter that takes no huge number and gives no huge text."""

    @wraps(function)  # keeps the marks by which Jinja knows what to pass
    def checked(*args: Any, **kwargs: Any) -> Any:
        _check_numbers((*args, *kwargs.values()))
        texts = [arg for arg in args if isinstance(arg, str)]
        if name == "format":
            _check_fields(texts[0] if texts else "")
        if name == "replace" and len(texts) >= 3:
            _check_replacement(*texts[:3])
        return _short(function(*args, **kwargs))

    return checked


def _tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None,
            sort_keys: bool = False) -> str:  # fmt: skip
    # Jinja's own filter escapes HTML, which no model was trained on
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


@lru_cache(maxsize=32)
def _compiled(source: str) -> jinja2.Template:
    try:
        return _Environment().from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise DataError(
            f"the chat template is damaged (its line {error.lineno})",
            error.message or "it is not Jinja",
            "correct chat_template.jinja in the model's folder",
        ) from None


def render_template(
    source: str, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool, special: Mapping[str, str]
) -> str:
    """The text that a template makes of `messages`. `special` holds bos_token, eos_token … as templates use them.

    Raises DataError when the template refuses the messages, is damaged, takes too long or writes too much.
    """
    deadline = time.monotonic() + MAX_SECONDS
    room = MAX_SLACK + 20 * sum(len(str(message.get("content") or "")) for message in messages)

    def tick() -> str:
        if time.monotonic() > deadline:
            raise SecurityError(f"it ran for more than {MAX_SECONDS:g} seconds")
        return ""

    parts: list[str] = []
    try:
        stream = _compiled(source).generate(
            {**special, "messages": messages, "add_generation_prompt": add_generation_prompt, "__tick": tick}
        )
        for part in stream:
            tick()
            room -= len(part)
            if room < 0:
                raise SecurityError("it writes far more than it is given")
            parts.append(part)
    except DataError:
        raise
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError, IndexError,
            RecursionError, MemoryError) as error:  # fmt: skip
        raise DataError(
            "the chat template cannot write this conversation",
            str(error) or type(error).__name__,
            "check the roles and their order, or correct chat_template.jinja in the model's folder",
        ) from None
    return "".join(parts)
