"""Tasks of running text: perplexity, and the last word of a passage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seodang.data.readers import read_documents
from seodang.data.sources import decode_text, expand, kind_of, open_binary
from seodang.errors import DataError, UsageError
from seodang.evaluation.detokenise import Detokeniser
from seodang.evaluation.results import Sample, fingerprint
from seodang.evaluation.task import Files, Item, Rows, Shown, Task, made

LONGEST = 1 << 20
"""Characters of a text that is scored at once; what is longer goes on as the next row."""

PERPLEXITIES = {f"{unit}_perplexity": f"{unit}_perplexity" for unit in ("token", "word", "byte")}


@dataclass(frozen=True, kw_only=True)
class Perplexity(Task):
    """P of whole texts, per token, word and byte of the original text (Radford et al. 2019, sec. 3.1).

    texts: cuts a file into texts, (text, its first line). detokeniser: takes the marks of a tokenised corpus out, line
    by line; a line that cannot be put back exactly as it was stays as it is. per_line: words that are counted at every
    line's end besides those between white space: the <eos> of PTB and WikiText. rewrite: what is scored, where that is
    another text and no detokeniser's.
    """

    request = "rolling"
    metrics: Mapping[str, str] = field(default_factory=lambda: {**PERPLEXITIES, "bits_per_byte": "bits_per_byte"})
    texts: Callable[[Path], Iterable[tuple[str, int]]] | None = None
    detokeniser: Detokeniser | None = None
    per_line: int = 0
    rewrite: Callable[[str], str] | None = None
    count: Callable[[str], int] | None = None
    """Words of an original text, where they are counted otherwise."""

    def read(self, files: Files, shots: Shown | None = None) -> Rows:
        _no_shots(self, shots)
        rows = Rows(iter(()))
        rows.items = self._items(files, rows)
        return rows

    def _items(self, files: Files, rows: Rows) -> Iterator[Item]:
        n_lines = n_kept = 0
        for path in expand(files):
            for text, line in (self.texts or documents)(path):
                scored = text if self.rewrite is None else self.rewrite(text)
                if self.detokeniser is not None:
                    lines = text.splitlines(keepends=True)
                    found = [self.detokeniser.checked(one) for one in lines]
                    scored = "".join(one for one, _ in found)
                    n_lines += len(lines)
                    n_kept += sum(not inverted for _, inverted in found)
                if n_kept:  # said with every text, as the last one may never be asked for
                    kept = f"{n_kept:,} of {n_lines:,} lines"
                    rows.notes[:] = [f"{kept} are scored as tokenised: no exact way back from text"]
                yield Item(f"{path}:{line}", (scored,), (text, self.words(text)))

    def words(self, text: str) -> int:
        """How many words an original text counts."""
        return self.count(text) if self.count else len(text.split()) + self.per_line * text.count("\n")

    def sample(self, number: int, item: Item, found: Sequence[Any]) -> Sample:
        (one,), (text, n_words) = found, item.row
        n_bytes = len(text.encode("utf-8"))
        units = {"token_perplexity": one.n_tokens, "word_perplexity": n_words}
        outcomes = {name: (metric, one.logprob, units.get(name, n_bytes)) for name, metric in self.metrics.items()}
        return made(number, item, outcomes, [one.logprob], tokens=one.n_tokens, words=n_words, bytes=n_bytes)

    def settings(self) -> dict[str, Any]:
        detokeniser = None if self.detokeniser is None else self.detokeniser.name
        return {**super().settings(), "detokeniser": detokeniser, "per_line": self.per_line}

    def key(self, item: Item) -> Any:
        return fingerprint(item.row[0])


@dataclass(frozen=True, kw_only=True)
class LastWord(Task):
    """The last word of each passage: is it the most probable text; its perplexity (Paperno et al. 2016, LAMBADA)."""

    request = "continuation"
    metrics: Mapping[str, str] = field(
        default_factory=lambda: {"accuracy": "accuracy", "word_perplexity": "word_perplexity"}
    )

    def read(self, files: Files, shots: Shown | None = None) -> Rows:
        _no_shots(self, shots)
        return Rows(self._items(files))

    def _items(self, files: Files) -> Iterator[Item]:
        for path in expand(files):
            passages = lines(path) if kind_of(path) == "text" else documents(path)
            for text, line in passages:
                text = text.rstrip("\r\n")
                context, space, word = text.rpartition(" ")
                if not space or not context.strip() or not word:
                    raise DataError(
                        f"{path}:{line} has no last word", "a passage has a space before it", "leave the row out"
                    )
                yield Item(f"{path}:{line}", ((context, f" {word}"),), text)

    def sample(self, number: int, item: Item, found: Sequence[Any]) -> Sample:
        (one,) = found
        word = item.row.rpartition(" ")[2]
        values = {"accuracy": (word if one.is_greedy else None, word), "word_perplexity": (one.logprob, 1)}
        outcomes = {name: (metric, *values[name]) for name, metric in self.metrics.items()}
        return made(number, item, outcomes, [one.logprob], passage=item.row)


def documents(path: Path) -> Iterator[tuple[str, int]]:
    """The documents of a file, in pieces of at most about `LONGEST` characters."""
    for document in read_documents([path]):
        yield document.text, document.row


def lines(path: Path) -> Iterator[tuple[str, int]]:
    """The lines of a text file that are not blank, each with its end, and their numbers."""
    number, rest = 0, ""
    with open_binary(path) as stream:
        for chunk in decode_text(stream, path):
            *whole, rest = (rest + chunk).split("\n")
            for line in whole:
                number += 1
                if line.strip():
                    yield line + "\n", number
    if rest.strip():
        yield rest, number + 1


def stretches(path: Path, begins: Callable[[str], bool] = lambda line: False) -> Iterator[tuple[str, int]]:
    """Lines of a text file together, blank ones too, up to a line that `begins` another text, or to `LONGEST`."""
    held: list[str] = []
    first, size, number, rest = 1, 0, 0, ""
    with open_binary(path) as stream:
        for chunk in decode_text(stream, path):
            *whole, rest = (rest + chunk).split("\n")
            for line in whole:
                number += 1
                if (begins(line) or size > LONGEST) and "".join(held).strip():
                    yield "".join(held), first
                    held, first, size = [], number, 0
                held.append(line + "\n")
                size += len(line) + 1
            while len(rest) > LONGEST:  # a line without an end, such as the whole of text8
                end = rest.rfind(" ", 0, LONGEST) + 1 or LONGEST
                yield "".join([*held, rest[:end]]), first
                held, first, size, rest = [], number + 1, 0, rest[end:]
    if "".join([*held, rest]).strip():
        yield "".join([*held, rest]), first


def _no_shots(task: Task, shots: Shown | None) -> None:
    if shots is not None:
        raise UsageError(f"demonstrations for {task.name}", "it scores texts as they are", "leave --shots away")
