"""The primer (첫 책): a corpus that the package writes itself from a seeded grammar, in English and Korean.

Prose to pre-train on (little stories, an invented valley's inhabitants, true little facts, sums, scenes at school)
and questions to instruction-tune on, as chats. The questions are split fact by fact: a held-out question asks, in any
wording, something that is asked nowhere else, neither in the training questions nor at school in the prose. The prose
states its fact, plainly; answering takes what the prose taught and the way of answering that other questions taught.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seodang.data.primer_english import ENGLISH
from seodang.data.primer_grammar import Fact, Language, Relation, fill
from seodang.data.primer_korean import KOREAN
from seodang.errors import UsageError
from seodang.files import atomic_write, make_folder

Part = Literal["train", "heldout"]
LANGUAGES: tuple[Language, ...] = (ENGLISH, KOREAN)
SHARES = {"stories": 0.4, "people": 0.16, "knowledge": 0.17, "sums": 0.09, "school": 0.18}
"""Share of each kind of prose, in bytes; both languages have the same number of bytes."""
HELD_OUT_FACTS = 0.25
"""Share of the facts that no training question asks about."""
HELD_OUT_BYTES = 0.02
"""Size of the held-out prose as a share of the training prose."""
READINGS = {"train": 1500, "heldout": 70}
"""Questions about a very little story, per language."""
ON_REQUEST = {"stories": 40, "people": 120, "knowledge": 160, "sums": 80}
"""Turns of the training dialogues, per language, that ask for a story or for a recitation of what was read: learning
to answer some questions must not be paid for by forgetting what the others are about."""


@dataclass(frozen=True)
class Document:
    """One piece of prose."""

    language: str
    kind: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question with its one exact answer."""

    language: str
    kind: str
    question: str
    answer: str

    def messages(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.question}, {"role": "assistant", "content": self.answer}]


@dataclass(frozen=True)
class PrimerFiles:
    """Where `write_primer` put things."""

    folder: Path
    prose: tuple[Path, ...]
    """Training prose: one jsonl per language and kind, rows {"text"}."""
    heldout_prose: tuple[Path, ...]
    questions: Path
    """Training questions: jsonl rows {"messages"}, one to three turns each."""
    heldout_questions: Path
    """Held-out questions: jsonl rows {"messages", "language", "kind"}, one turn each."""


@dataclass(frozen=True)
class _World:
    """One language's facts under one seed, with their split."""

    language: Language
    people: dict[str, list[Fact]]
    """The facts about each inhabitant."""
    knowledge: list[list[Fact]]
    """True facts, one list per relation."""
    sums: list[Fact]
    asked: list[Fact]
    heldout: list[Fact]


def _rng(seed: int, *purpose: str) -> random.Random:
    return random.Random(f"seodang primer {seed} " + " ".join(purpose))  # a string seeds the same on every machine


def _world(language: Language, seed: int) -> _World:
    rng = _rng(seed, language.code, "world")
    inhabitants = language.inhabitants(rng)
    people: dict[str, list[Fact]] = {name: [] for name in language.people}
    for relation in inhabitants:
        for row in relation.rows:
            people[row["x"]].append(relation.fact(row))
    asked: list[Fact] = []
    heldout: list[Fact] = []
    for relation in (*inhabitants, *language.known, *language.sums):
        train, kept = relation.split(rng, HELD_OUT_FACTS)
        asked += train
        heldout += kept
    asked += [fact for relation in language.spelling for fact in _facts(relation)]
    knowledge = [_facts(relation) for relation in language.known]
    sums = [fact for relation in language.sums for fact in _facts(relation)]
    return _World(language, people, knowledge, sums, asked, heldout)


def _facts(relation: Relation) -> list[Fact]:
    return [relation.fact(row) for row in relation.rows]


def _list(opening: str, facts: list[Fact], rng: random.Random) -> str:
    """Facts after an opening, in running text or line by line; most of them in the plain words of the answer.

    At the start of a line a word has other tokens than after a space, and answers start that way.
    """
    said = [fact.answer if rng.random() < 0.6 else rng.choice(fact.statements) for fact in facts]
    joint = "\n" if rng.random() < 0.5 else " "
    return joint.join(said if rng.random() < 0.3 else [opening, *said])


def _write(world: _World, kind: str, rng: random.Random) -> str:
    """One document of `kind`."""
    language = world.language
    if kind == "stories":
        return language.story(rng)
    if kind == "people":
        name = rng.choice(language.people)
        facts = rng.sample(world.people[name], len(world.people[name]))
        return _list(fill(rng.choice(language.meetings), {"x": name}), facts, rng)
    if kind == "knowledge":
        if rng.random() < 0.5:
            relation = rng.choices(world.knowledge, [len(facts) for facts in world.knowledge])[0]
            return _list(rng.choice(language.lessons), rng.sample(relation, 5), rng)
        facts = rng.sample([fact for relation in world.knowledge for fact in relation], 5)
        return _list(rng.choice(language.lessons), facts, rng)
    if kind == "sums":
        return _list(rng.choice(language.lessons), rng.sample(world.sums, 6), rng)
    return "\n".join(
        fill(rng.choice(language.exchanges), {"q": rng.choice(fact.questions), "a": fact.answer})
        for fact in rng.sample(world.asked, 4)
    )


def primer_documents(seed: int = 0, part: Part = "train", megabytes: float = 4.0) -> Iterator[Document]:
    """The prose, kinds and languages interleaved; `megabytes` (10⁶ UTF-8 bytes) is the size of the training part.

    The held-out part tells other stories and puts the same facts together in other ways.
    """
    if megabytes <= 0:
        raise UsageError(f"a primer of {megabytes} MB", "its size must be positive", "give megabytes=4, say")
    worlds = {language.code: _world(language, seed) for language in LANGUAGES}
    streams = {(code, kind): _rng(seed, code, kind, part) for code in worlds for kind in SHARES}
    written = dict.fromkeys(streams, 0)
    budget = megabytes * 1e6 * (1.0 if part == "train" else HELD_OUT_BYTES)
    total = 0
    while total < budget:
        # the kind that is furthest behind its share writes next
        code, kind = min(streams, key=lambda stream: written[stream] / SHARES[stream[1]])
        text = _write(worlds[code], kind, streams[code, kind])
        size = len(text.encode())
        written[code, kind] += size
        total += size
        yield Document(code, kind, text)


def primer_questions(seed: int = 0, part: Part = "train", readings: int | None = None) -> list[Question]:
    """The questions of one part, shuffled; `readings` little stories with a question per language.

    Training: every wording of every question about three quarters of the facts. Held-out: one wording of a question
    about each of the others. No question string of one part occurs in the other.
    """
    count = READINGS[part] if readings is None else readings
    questions: list[Question] = []
    for language in LANGUAGES:
        world = _world(language, seed)
        rng = _rng(seed, language.code, "questions", part)
        for fact in world.asked if part == "train" else world.heldout:
            wordings = fact.questions if part == "train" else (rng.choice(fact.questions),)
            questions += [Question(language.code, fact.kind, wording, fact.answer) for wording in wordings]
        trained = [] if part == "train" else _readings(language, seed, "train", READINGS["train"])
        questions += _readings(language, seed, part, count, {question.question for question in trained})
    _rng(seed, "order", part).shuffle(questions)
    return questions


def _readings(
    language: Language, seed: int, part: Part, count: int, taken: set[str] | None = None
) -> list[Question]:
    """`count` different little stories with a question, none of them in `taken`."""
    rng = _rng(seed, language.code, "reading", part)
    seen = set(taken or ())
    found: list[Question] = []
    while len(found) < count:
        question, answer = language.reading(rng)
        if question not in seen:
            seen.add(question)
            found.append(Question(language.code, "reading", question, answer))
    return found


def primer_dialogues(seed: int = 0, readings: int | None = None) -> list[list[dict[str, str]]]:
    """The training questions as conversations of one to three turns, with small talk, stories and recitations."""
    rng = _rng(seed, "dialogues")
    turns = [question.messages() for question in primer_questions(seed, "train", readings)]
    for language in LANGUAGES:
        pairs = list(language.small_talk) * 4
        world = _world(language, seed)
        for kind, count in ON_REQUEST.items():
            pairs += [(rng.choice(language.requests[kind]), _write(world, kind, rng)) for _ in range(count)]
        turns += [
            [{"role": "user", "content": said}, {"role": "assistant", "content": answer}] for said, answer in pairs
        ]
    rng.shuffle(turns)
    dialogues: list[list[dict[str, str]]] = []
    while turns:
        length = rng.choice((1, 1, 1, 2, 3))
        dialogues.append([message for turn in turns[:length] for message in turn])
        turns = turns[length:]
    return dialogues


def write_primer(
    folder: Path | str, seed: int = 0, megabytes: float = 4.0, readings: int | None = None
) -> PrimerFiles:
    """Write the whole primer into `folder`; the same seed and size give the same bytes on every machine."""
    folder = make_folder(Path(folder))
    paths: dict[Part, tuple[Path, ...]] = {}
    for part in ("train", "heldout"):
        rows: dict[tuple[str, str], list[str]] = {}
        for document in primer_documents(seed, part, megabytes):
            line = json.dumps({"text": document.text}, ensure_ascii=False)
            rows.setdefault((document.language, document.kind), []).append(line)
        named = {folder / "prose" / part / f"{code}-{kind}.jsonl": lines for (code, kind), lines in rows.items()}
        for path, lines in named.items():
            atomic_write(path, "\n".join(lines) + "\n")
        paths[part] = tuple(sorted(named))
    questions, heldout = folder / "questions.jsonl", folder / "questions-heldout.jsonl"
    dialogues = [{"messages": messages} for messages in primer_dialogues(seed, readings)]
    asked = [
        {"messages": question.messages(), "language": question.language, "kind": question.kind}
        for question in primer_questions(seed, "heldout", readings if readings is None else min(readings, 70))
    ]
    for path, contents in ((questions, dialogues), (heldout, asked)):
        atomic_write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in contents))
    return PrimerFiles(folder, paths["train"], paths["heldout"], questions, heldout)
