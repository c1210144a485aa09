"""One conversation in a terminal or a pipe: its messages, its commands, its answers as they come."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seodang.cli.answering import refuse_unfinished
from seodang.cli.frame import say
from seodang.errors import DataError, SeodangError, UsageError, suggest
from seodang.files import atomic_write

if TYPE_CHECKING:
    from seodang.inference.decode import Generation
    from seodang.inference.language_model import LanguageModel, Stream

COMMANDS = {
    "/reset": "forget the conversation (the system prompt stays)",
    "/system": "set the system prompt: /system TEXT (without TEXT: none)",
    "/undo": "forget your last message and its answer",
    "/save": "write the conversation as a row for training: /save FILE.jsonl",
    "/help": "these lines",
    "/exit": "leave (so does Ctrl-D); Ctrl-C only stops an answer",
}


class Chat:
    """One conversation: its messages, and what a line of input does to them."""

    def __init__(
        self,
        model: LanguageModel,
        options: dict[str, Any],
        system: str | None,
        *,
        as_json: bool = False,
        interactive: bool = False,
        constrained: bool = False,
    ) -> None:
        self.model, self.options, self.system = model, options, system
        self.as_json, self.interactive, self.constrained = as_json, interactive, constrained
        self.messages: list[dict[str, str]] = []
        self.last: Stream | None = None  # remembers the keys and values of the conversation

    def run(self) -> None:
        """Answer line after line until the input ends or /exit."""
        for line in self._lines():
            try:
                if line.startswith("/"):
                    if self.command(line):
                        return
                elif line:
                    self.answer(line)
            except SeodangError as error:
                if not self.interactive:
                    raise
                say(f"error: {error}")

    def answer(self, text: str) -> None:
        """Stream the answer to a message; both become part of the conversation."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        asked = [*system, *self.messages, {"role": "user", "content": text}]
        kept, forgotten = self.model.fit_messages(asked, self.options["max_new_tokens"])
        if forgotten:
            say(f"note: the context is full; the {forgotten} oldest messages are forgotten")
        generation = self._stream(kept)
        self.messages = [*kept[len(system) :], {"role": "assistant", "content": generation.text}]
        if self.as_json:
            row = {
                "role": "assistant",
                "content": generation.text,
                "tokens": generation.tokens,
                "finish_reason": generation.finish_reason,
            }
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        elif generation.finish_reason == "length":
            say(f"note: the answer was cut after {len(generation.tokens)} tokens (--max-new-tokens)")
        sys.stdout.flush()
        if self.constrained:
            refuse_unfinished([generation])

    def _stream(self, messages: list[dict[str, str]]) -> Generation:
        stream = self.last = self.model.stream_chat(messages, after=self.last, **self.options)
        try:
            for piece in stream:
                if not self.as_json:
                    sys.stdout.write(piece)
                    sys.stdout.flush()
        except KeyboardInterrupt:
            stream.close()
            say(" [stopped]")
        if not self.as_json:
            sys.stdout.write("\n")
        return stream.generation

    def command(self, line: str) -> bool:
        """Obey a line that begins with "/". True means leave."""
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        if name not in COMMANDS:
            raise UsageError(f"unknown command {name}", "there is no such command", suggest(name, COMMANDS))
        if name == "/reset":
            self.messages = []
        elif name == "/system":
            self.system = rest or None
        elif name == "/undo":
            self.messages = self.messages[: max(len(self.messages) - 2, 0)]
        elif name == "/save":
            self.save(rest)
        elif name == "/help":
            say("\n".join(f"  {command:<8} {line}" for command, line in COMMANDS.items()))
        return name == "/exit"

    def save(self, path: str) -> None:
        """Add the conversation to a file of training rows: {"messages": […]}."""
        if not path:
            raise UsageError("/save needs a file", "it says where the conversation goes", "write /save FILE.jsonl")
        system = [{"role": "system", "content": self.system}] if self.system else []
        row = json.dumps({"messages": [*system, *self.messages]}, ensure_ascii=False) + "\n"
        file = Path(path).expanduser()
        atomic_write(file, (file.read_text("utf-8") if file.exists() else "") + row)
        say(f"saved {len(self.messages)} messages in {path}")

    def _lines(self) -> Iterator[str]:
        """Lines of input without their surrounding blanks."""
        if not self.interactive:
            try:
                for line in sys.stdin:
                    yield line.strip()
            except UnicodeDecodeError as error:
                raise DataError("standard input is not UTF-8", str(error), "convert it: iconv -t UTF-8") from None
            return
        while True:
            try:
                yield input("you> ").strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                say("\n(/exit leaves)")
