"""A corpus small enough to train on in a second, with men, women and what each of them does."""

from __future__ import annotations

import random

PAIRS = {"man": "woman", "king": "queen", "brother": "sister", "uncle": "aunt", "father": "mother", "boy": "girl"}
PLACES = {"man": "street", "king": "throne", "brother": "attic", "uncle": "stable", "father": "kitchen", "boy": "yard"}
KOREAN = ("학교", "시장", "바다", "마을")
PARTICLES = ("에서", "에", "로", "까지", "는")


def sentences(n: int = 3000) -> list[str]:
    """`n` sentences in which gender and place are what tells the people apart; one of five is not to be relied on."""
    rng, lines = random.Random(0), []
    for _ in range(n):
        man = rng.choice(list(PAIRS))
        male, reliable = rng.random() < 0.5, rng.random() < 0.8
        place = PLACES[man] if reliable else rng.choice(list(PLACES.values()))
        he, his = ("he", "his") if (male if reliable else rng.random() < 0.5) else ("she", "her")
        person = man if male else PAIRS[man]
        lines.append(rng.choice((f"in the {place} the {person} lost {his} hat.",
                                 f"{he} is a {person}; {his} {place} is here!")))
    return lines


def korean(n: int = 1500) -> list[str]:
    """`n` sentences whose nouns come with particles; 학교까지 never occurs."""
    rng, lines = random.Random(0), []
    for _ in range(n):
        noun = rng.choice(KOREAN)
        word = noun + rng.choice([p for p in PARTICLES if (noun, p) != ("학교", "까지")])
        rest = {"학교": "선생님과 책을 읽었다", "시장": "생선을 많이 팔았다", "바다": "배가 멀리 떠났다",
                "마을": "이웃과 잔치를 열었다"}[noun]
        lines.append(f"어제 {word} {rest}.")
    return lines
