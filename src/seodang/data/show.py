"""`data show`: rows as the model will see them, and exactly which tokens carry loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from seodang.data.examples import Train, located
from seodang.data.formats import format_of, to_conversation
from seodang.data.readers import Row, read_rows, text_key

LEARNED, SPECIAL = "bold black on green", "dim magenta"


def show(
    files: Iterable[Path | str], tokenizer: Any = None, *, n: int = 3, train: Train = "all"
) -> Iterator[dict[str, Any]]:
    """The first `n` rows: where, format, messages or text, and with a tokenizer ids, mask and `parts`.

    `parts` are runs of tokens alike: {"text", "learned": carries loss, "special": a token such as <|im_end|>}.
    A text row is all learned, but for its first token, which nothing predicts.
    """
    for row in islice(read_rows(files), n):
        yield _row(row, tokenizer, train)


def _row(row: Row, tokenizer: Any, train: Train) -> dict[str, Any]:
    kind = format_of(row)
    shown: dict[str, Any] = {"where": row.where, "format": kind}
    if kind == "text":
        shown["text"] = row.values[text_key(row)]
    elif kind in ("prompt", "stepwise"):
        shown["text"] = str(row.values["prompt"])
    else:
        shown["messages"] = to_conversation(row).messages
    if tokenizer is None:
        return shown
    if "messages" in shown:
        from seodang.text.chat import render_with_mask

        with located(row.where):
            ids, mask = render_with_mask(tokenizer, shown["messages"], train=train)
    else:
        ids = tokenizer.encode(shown["text"])
        ids += [] if tokenizer.document_end_id is None else [tokenizer.document_end_id]
        mask = [kind == "text" and i > 0 for i in range(len(ids))]
    shown.update(ids=list(ids), mask=[bool(m) for m in mask], parts=list(_parts(tokenizer, ids, mask)))
    return shown


def _parts(tokenizer: Any, ids: list[int], mask: list[bool]) -> Iterator[dict[str, Any]]:
    """Runs of tokens that are alike in carrying loss and in being special."""
    run: list[int] = []
    kind = (False, False)
    for token, learned in [*zip(ids, mask, strict=True), (-1, False)]:
        this = (bool(learned), token in tokenizer.special_ids)
        if run and (this != kind or token == -1):
            yield {"text": _text(tokenizer, run, kind[1]), "learned": kind[0], "special": kind[1]}
            run = []
        kind = this
        run.append(token)


def _text(tokenizer: Any, ids: list[int], special: bool) -> str:
    if special:
        return "".join(tokenizer.token_of(i) for i in ids)
    return b"".join(tokenizer.token_bytes(i) for i in ids).decode("utf-8", errors="replace")


def plain_lines(shown: dict[str, Any], mask: bool) -> list[str]:
    """One row for a screen without colours: «…» encloses what carries loss."""
    lines = [_title(shown)]
    if "parts" not in shown:
        return lines + _untokenized(shown)
    text, learned = "", False
    for part in shown["parts"]:
        if mask and part["learned"] != learned:
            text += "«" if part["learned"] else "»"
            learned = part["learned"]
        text += part["text"]
    return [*lines, text + ("»" if learned else ""), ""]


def print_colours(shown: dict[str, Any], mask: bool) -> None:
    """One row on a terminal: learned tokens on green, special tokens dim."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(Text(_title(shown), style="bold"))
    text = Text("\n".join(_untokenized(shown)) if "parts" not in shown else "")
    for part in shown.get("parts", ()):
        style = LEARNED if mask and part["learned"] else SPECIAL if part["special"] else ""
        text.append(part["text"], style=style)
    console.print(text)
    console.print()


def _title(shown: dict[str, Any]) -> str:
    title = f"{shown['where']}  {shown['format']}"
    if "ids" in shown:
        title += f"  {len(shown['ids']):,} tokens, {sum(shown['mask']):,} carry loss"
    return title


def _untokenized(shown: dict[str, Any]) -> list[str]:
    if "text" in shown:
        return [shown["text"], ""]
    return [*(f"{message['role']}: {message['content']}" for message in shown["messages"]), ""]
