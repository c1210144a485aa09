"""The machinery of the primer: words that inflect themselves, relations that turn into prose and into questions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Row = dict[str, str]
"""The slots of one fact, by name."""

_PARTICLES = {"은": "는", "이": "가", "을": "를", "과": "와", "이라고": "라고", "이랑": "랑", "아": "야", "이라": "라"}
"""Korean particles: the form after a final consonant, and the one after a vowel."""

# 영 일 이 삼 사 오 육 칠 팔 구; a number that ends in 0 is read 십, 백, 천 …, which end in a consonant as 영 does
_DIGIT_ENDS_IN_CONSONANT = {digit: digit in "013678" for digit in "0123456789"}


def ends_in_consonant(word: str) -> bool:
    """Whether a Korean word, as it is read aloud, ends in a final consonant (받침); digits are read in Sino-Korean."""
    last = word[-1]
    if last in _DIGIT_ENDS_IN_CONSONANT:
        return _DIGIT_ENDS_IN_CONSONANT[last]
    if "가" <= last <= "힣":
        return (ord(last) - ord("가")) % 28 != 0
    raise ValueError(f"{word!r} does not end in a Hangul syllable or a digit")


def _ends_in_rieul(word: str) -> bool:
    return word[-1] in "178" or ("가" <= word[-1] <= "힣" and (ord(word[-1]) - ord("가")) % 28 == 8)


class Word(str):
    """A word that a template can inflect: `{x:은}` adds 은 or 는, `{x:a}` puts a or an before it, `{x:A}` A or An.

    `{x:으로}` follows the rule that ㄹ counts as a vowel; `{x:cap}` makes the first letter large.
    """

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        if spec in ("a", "A"):
            return spec + ("n " if self[0].lower() in "aeiou" else " ") + str(self)
        if spec == "cap":
            return self[0].upper() + self[1:]
        if spec == "으로":
            return str(self) + ("으로" if ends_in_consonant(self) and not _ends_in_rieul(self) else "로")
        if spec in _PARTICLES:
            return str(self) + (spec if ends_in_consonant(self) else _PARTICLES[spec])
        raise ValueError(f"a template asks for {spec!r}, which no rule makes")


def fill(template: str, row: Row) -> str:
    """`template` with the words of `row`, inflected."""
    return template.format_map({name: Word(value) for name, value in row.items()})


@dataclass(frozen=True)
class Fact:
    """One thing that is so: how prose says it, how it is asked, and the one answer."""

    kind: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Relation:
    """A kind of fact: templates over the slots of its rows.

    `mirrored`: rows 2k and 2k+1 say the same thing in the two directions (hot–cold, cold–hot); of a mirrored pair
    at most one direction is held out, so the held-out question is the reverse of one that may be trained on.
    """

    kind: str
    rows: tuple[Row, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    answer: str
    mirrored: bool = False

    def fact(self, row: Row) -> Fact:
        return Fact(
            self.kind,
            tuple(fill(template, row) for template in self.statements),
            tuple(fill(template, row) for template in self.questions),
            fill(self.answer, row),
        )

    def split(self, rng: random.Random, share: float) -> tuple[list[Fact], list[Fact]]:
        """The facts that training questions ask about, and those kept for held-out questions (`share` of them)."""
        step = 2 if self.mirrored else 1
        groups = list(range(0, len(self.rows), step))
        count = max(1, round(share * len(self.rows)))
        chosen = {group + rng.randrange(step) for group in rng.sample(groups, min(count, len(groups)))}
        facts = [self.fact(row) for row in self.rows]
        kept = [fact for index, fact in enumerate(facts) if index in chosen]
        return [fact for index, fact in enumerate(facts) if index not in chosen], kept


def table(text: str, names: Sequence[str] = ("x", "y"), mirrored: bool = False) -> tuple[Row, ...]:
    """Rows from `word=word, word=word …`; with `mirrored` each is followed by its reverse."""
    rows: list[Row] = []
    for entry in text.replace("\n", " ").split(","):
        words = [word.strip() for word in entry.split("=")]
        if len(words) != len(names):
            raise ValueError(f"{entry!r} does not fill the slots {names}")
        rows.append(dict(zip(names, words, strict=True)))
        if mirrored:
            rows.append(dict(zip(names, reversed(words), strict=True)))
    return tuple(rows)


@dataclass(frozen=True)
class Event:
    """One thing that happens in a story: how it is told, how it is recalled later, and a question about it."""

    told: tuple[str, ...]
    recalled: tuple[str, ...]
    question: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Scene:
    """The templates of one kind of event, and the slots it draws from the story's cast and props."""

    slots: tuple[str, ...]
    event: Event

    def happen(self, row: Row) -> Event:
        told, recalled, question = (
            tuple(fill(template, row) for template in templates)
            for templates in (self.event.told, self.event.recalled, self.event.question)
        )
        return Event(told, recalled, question, fill(self.event.answer, row))


@dataclass(frozen=True)
class Language:
    """Everything the primer knows in one language."""

    code: str
    people: tuple[str, ...]
    personal: tuple[tuple[Relation, tuple[str, ...]], ...]
    """Relations about the inhabitants, each with the values that the seed hands out."""
    known: tuple[Relation, ...]
    """True things: capitals, opposites, colours …"""
    sums: tuple[Relation, ...]
    spelling: tuple[Relation, ...]
    """Questions about words as such, over every word that `known` asks about. They teach that an answer takes up the
    word it was asked about, whichever it is; their own facts are all asked in training and never held out."""
    props: dict[str, tuple[str, ...]]
    """What stories are made of, by slot."""
    scenes: tuple[Scene, ...]
    openings: tuple[str, ...]
    fillers: tuple[str, ...]
    later: tuple[str, ...]
    """Joins a recalled sentence to the story: `{x}` is the sentence."""
    endings: tuple[str, ...]
    lessons: tuple[str, ...]
    """First sentences of documents that list facts."""
    exchanges: tuple[str, ...]
    """A question `{q}` and its answer `{a}` among people; never the bare question after what precedes it."""
    meetings: tuple[str, ...]
    """First sentences of documents about an inhabitant `{x}`."""
    small_talk: tuple[tuple[str, str], ...]
    requests: dict[str, tuple[str, ...]]
    """How one asks for a piece of prose, by its kind."""

    def inhabitants(self, rng: random.Random) -> list[Relation]:
        """The relations about people, with the seed's assignment of values in their rows."""
        relations = []
        for relation, values in self.personal:
            # every value equally often, so that no answer can be guessed from its frequency
            repeated = [values[index % len(values)] for index in range(len(self.people))]
            rng.shuffle(repeated)
            rows = tuple({"x": person, "y": value} for person, value in zip(self.people, repeated, strict=True))
            relations.append(
                Relation(relation.kind, rows, relation.statements, relation.questions, relation.answer)
            )
        return relations

    def events(self, rng: random.Random, count: int) -> list[Event]:
        """`count` events of different kinds or with different props: nothing in one story is named twice."""
        drawn = {slot: iter(rng.sample(words, len(words))) for slot, words in self.props.items()}
        scenes = [rng.choice(self.scenes) for _ in range(count)]
        return [scene.happen({slot: next(drawn[slot.rstrip("2")]) for slot in scene.slots}) for scene in scenes]

    def story(self, rng: random.Random) -> str:
        """A little story: an opening, events and weather between them, what of it is recalled or asked, an ending.

        What happened is recalled at once or when all is told: near things are easier to look up than far ones,
        and a model that has learned the one soon learns the other.
        """
        events = self.events(rng, rng.choice((2, 3, 3, 4)))
        told = [rng.choice(event.told) for event in events]
        later = [self.recall(event, rng) for event in events]
        if rng.random() < 0.5:
            sentences = [sentence for pair in zip(told, later, strict=True) for sentence in pair]
        else:
            sentences = told + rng.sample(later, len(later))
        if rng.random() < 0.4:
            sentences.insert(rng.randrange(1, len(sentences) + 1), rng.choice(self.fillers))
        return " ".join([rng.choice(self.openings), *sentences, rng.choice(self.endings)])

    def recall(self, event: Event, rng: random.Random) -> str:
        """What happened, said again or asked and answered."""
        if rng.random() < 0.5:
            return fill(rng.choice(self.later), {"x": rng.choice(event.recalled)})
        return fill(rng.choice(self.exchanges), {"q": rng.choice(event.question), "a": event.answer})

    def reading(self, rng: random.Random) -> tuple[str, str]:
        """A question about a very little story, and its answer: what was told is all one needs to know."""
        events = self.events(rng, rng.choice((1, 2, 2, 3)))
        asked = rng.choice(events)
        told = [rng.choice(event.told) for event in events]
        return " ".join([*told, rng.choice(asked.question)]), asked.answer


def endless(make: Callable[[random.Random], str], rng: random.Random) -> Iterator[str]:
    """What `make` writes, for ever."""
    while True:
        yield make(rng)
