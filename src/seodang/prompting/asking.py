"""Put examples to a model: prompts that fit, answers by their probability, or by what the model writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seodang.errors import FitError, UsageError
from seodang.inference.language_model import LanguageModel
from seodang.inference.requests import Continuation, continuations
from seodang.prompting import answers as rules
from seodang.prompting.answers import CONTENT_FREE, Scoring
from seodang.prompting.demonstrations import Embed, dropped_note, fit
from seodang.prompting.reasoning import Extract, extracted, majority, think
from seodang.prompting.template import (
    Template,
    answers_of,
    content_free,
    context_of,
    continuation_of,
    pairs_of,
    right_answer,
)

if TYPE_CHECKING:
    from seodang.data.labelled import Labelled

Shown = Sequence[Sequence["Labelled"]]
"""The demonstrations of each row."""

CONCLUSION_TOKENS = 32
"""New tokens of the sentence in which a zero-shot chain of thought ends."""

FORMS = frozenset(("schema", "regex", "choices"))
"""Options that a text must keep to; of a zero-shot chain of thought, its conclusion alone."""

TEMPERATURE = 0.7
"""Of several samples, where none is given (Wang et al. 2022, sec. 3.1, for GPT-3)."""


@dataclass(frozen=True)
class Answer:
    """What a model answers to one example."""

    text: str | None
    """The answer's words; None: what was generated names none."""
    label: int | None = None
    """Its number among `answers`."""
    answers: tuple[str, ...] = ()
    """The answers to choose from; () when the model was free."""
    probabilities: list[float] = field(default_factory=list)
    """Of each of `answers`, summing to 1; with several samples, the shares of their votes."""
    score: float | None = None
    """Expected value of numeric answers (tasks of scores)."""
    generated: tuple[str, ...] = ()
    """What the model wrote, reasoning included; one for each sample."""
    agreement: float | None = None
    """Share of the samples that end in this answer."""
    demonstrations: int = 0
    prompt: str = ""
    where: str = ""


def embedder(lm: LanguageModel) -> Embed:
    """Texts → unit vectors, by any model: its own hidden states, or what a folder of sentence-transformers says."""
    return lambda texts: lm.embed(texts, normalize=True, truncate=True)


def fitted(
    lm: LanguageModel, template: Template, examples: Sequence[Labelled], demonstrations: Shown, *, reserve: int = 0
) -> tuple[list[list[Labelled]], list[str]]:
    """(demonstrations that fit into the context with the question, remarks); the furthest are dropped first.

    reserve: tokens that will be generated; 0 where answers are scored, whose longest one is then counted. Raises
    FitError, naming the row, for a question that is too long without any demonstration.
    """
    kept = []
    free = [_Size(lm, template, example, reserve) for example in examples]
    whole = [text for one, shown in zip(free, demonstrations, strict=True) for text in one.texts(shown)]
    lengths = dict(zip(whole, map(len, lm.tokenizer.encode_batch(whole)), strict=True))
    for one, example, shown in zip(free, examples, demonstrations, strict=True):
        if one.total([lengths[text] for text in one.texts(shown)]) <= lm.context_length:
            kept.append(list(shown))
        else:
            kept.append(fit(shown, one, lm.context_length, example.where))
    return kept, dropped_note(demonstrations, kept)


@dataclass(frozen=True)
class _Size:
    """Tokens of an example's prompt with some demonstrations, and of what comes behind it."""

    lm: LanguageModel
    template: Template
    example: Labelled
    reserve: int

    def texts(self, demonstrations: Sequence[Labelled]) -> tuple[str, str]:
        """The prompt with the longest answer in it, and the longest continuation."""
        if self.reserve:
            return context_of(self.template, self.example, demonstrations), ""
        words = answers_of(self.template, self.example)
        behind = [continuation_of(self.template, self.example, answer) for answer in words]
        longest = max(words, key=len)
        return context_of(self.template, self.example, demonstrations, answer=longest), max(behind, key=len)

    def total(self, lengths: Sequence[int]) -> int:
        """Of `texts`' lengths: one more for bos; an encoder-decoder reads the prompt alone."""
        seq2seq = self.lm.model.kind == "seq2seq"
        return lengths[0] + 1 + (0 if seq2seq else lengths[1] + self.reserve)

    def __call__(self, demonstrations: Sequence[Labelled]) -> int:
        return self.total([len(ids) for ids in self.lm.tokenizer.encode_batch(self.texts(demonstrations))])


def score_answers(
    lm: LanguageModel,
    template: Template,
    examples: Sequence[Labelled],
    demonstrations: Shown,
    *,
    scoring: Scoring = "sum",
    calibrate: bool = False,
    regression: bool = False,
) -> list[Answer]:
    """The most probable of each example's answers, with the probabilities of all.

    scoring: how log-probabilities become scores (`answers.scores`); calibrate: contextual calibration with the same
    demonstrations (`answers.calibrated`); regression: the answers are numbers, and the score their expected value.
    """
    if calibrate and template.continuation != "{answer}":
        raise UsageError(
            "calibration of a template that fills a blank", "a text without content has no blank", "leave it away"
        )
    pairs = [pairs_of(template, *row) for row in zip(examples, demonstrations, strict=True)]
    wanted = {pair for row in pairs for pair in row}
    null = [[(template.answer_context, after) for _, after in row] for row in pairs] if scoring == "null" else []
    wanted |= {pair for row in null for pair in row}
    empty = [
        [pairs_of(template, content_free(example, text), shown) for text in CONTENT_FREE]
        for example, shown in zip(examples if calibrate else (), demonstrations, strict=False)
    ]
    wanted |= {pair for texts in empty for row in texts for pair in row}
    known = _logprobs(lm, wanted)

    def shares(row: list[tuple[str, str]], place: int) -> list[float]:
        other = [known[pair] for pair in null[place]] if null else None
        return rules.probabilities(rules.scores([known[pair] for pair in row], scoring, other))

    results = []
    for place, (example, row, shown) in enumerate(zip(examples, pairs, demonstrations, strict=True)):
        words, p = answers_of(template, example), shares(row, place)
        if calibrate:
            p = rules.calibrated(p, [shares(texts, place) for texts in empty[place]])
        label = rules.best(p)
        results.append(
            Answer(
                words[label], label, words, p, rules.expectation(p, words) if regression else None,
                demonstrations=len(shown), prompt=row[label][0], where=example.where,
            )
        )  # fmt: skip
    return results


def _logprobs(lm: LanguageModel, pairs: set[tuple[str, str]]) -> dict[tuple[str, str], Continuation]:
    ordered = sorted(pairs)  # so that prompts that begin alike are neighbours, and runs alike
    return dict(zip(ordered, continuations(lm, ordered), strict=True))


def generate_answers(
    lm: LanguageModel,
    template: Template,
    examples: Sequence[Labelled],
    demonstrations: Shown,
    *,
    cot: bool = False,
    samples: int = 1,
    extract: Extract | None = None,
    batch_size: int = 16,
    **options: Any,
) -> list[Answer]:
    """What the model writes behind each prompt, and the answer in it.

    Where a task has answers, the one that the text names (`answers.matched`); with `extract`, what it ends in
    (`reasoning.extracted`); else the text. cot: the reasoning comes first: as the demonstrations show it, or, without
    any, in two steps (`reasoning.think`). samples: so many texts for each prompt, whose majority is the answer; the
    temperature is then 0.7 where none is given. options: those of `generate`.
    """
    if samples < 1:
        raise UsageError(f"samples = {samples}", "there must be one at least", "set it to 1 or more")
    if samples > 1:
        if options.get("temperature") == 0:
            raise UsageError(
                f"{samples} samples at temperature 0", "they would be the same text", "set a temperature above 0"
            )
        if options.get("temperature") is None:
            options["temperature"] = TEMPERATURE
    choices = [_choices(template, example) for example in examples]
    prompts = [context_of(template, *row) for row in zip(examples, demonstrations, strict=True)]
    repeated = [prompt for prompt in prompts for _ in range(samples)]

    def generate(texts: list[str], stop: tuple[str, ...], **changed: Any) -> list[str]:
        told = {**options, **changed}
        kept = any(told.get(rule) for rule in FORMS)  # such a text ends by itself
        told["stop"] = options.get("stop") or (() if kept else stop)
        made = lm.generate(texts, batch_size=batch_size, **told)
        if kept:
            _refuse_unfinished([one.finish_reason for one in made])
        return [one.text.strip() for one in made]

    if cot and not any(demonstrations):
        written, ends = think(
            repeated,
            lambda texts: generate(texts, _new_question(template), **dict.fromkeys(FORMS.intersection(options))),
            lambda texts: generate(texts, ("\n",), max_new_tokens=CONCLUSION_TOKENS),
        )
        written = [f"{thought}\n{end}" for thought, end in zip(written, ends, strict=True)]
    else:
        written = ends = generate(repeated, _stops(template, demonstrations, any(choices) and not cot))
    ends_in = extract or ("number" if cot else None)
    asked = [words for words in choices for _ in range(samples)]
    found = [_read(end, words, ends_in, cot) for end, words in zip(ends, asked, strict=True)]
    return [
        _voted(found[first : first + samples], written[first : first + samples], words, samples > 1, len(shown),
               prompt, example.where)
        for first, words, shown, prompt, example in zip(
            range(0, len(found), samples), choices, demonstrations, prompts, examples, strict=True
        )
    ]  # fmt: skip


def _refuse_unfinished(reasons: Sequence[str]) -> None:
    n_cut = sum(reason == "length" for reason in reasons)
    if n_cut:
        raise FitError(
            f"{n_cut:,} of {len(reasons):,} texts are not whole",
            "the length limit came before the end that the schema, regex or choices ask for",
            "allow more tokens (max_new_tokens, --max-new-tokens)",
        )


def _choices(template: Template, example: Labelled) -> tuple[str, ...]:
    """The answers to look for in a text; none for a row of a prompt and its one completion."""
    if template.answers is None and len(example.answers) < 2:
        return ()
    return answers_of(template, example)


def _read(text: str, words: tuple[str, ...], extract: Extract | None, cot: bool) -> str | None:
    if words:
        number = rules.matched((extracted(text, "line") or "") if cot else text, words)
        return None if number is None else words[number]
    return extracted(text, extract) if extract else text


def _voted(
    found: list[str | None], written: list[str], words: tuple[str, ...], several: bool, shown: int, prompt: str,
    where: str,
) -> Answer:  # fmt: skip
    vote = majority(found)
    label = words.index(vote.answer) if vote.answer is not None and words else None
    n_votes = sum(vote.counts.values())
    shares = [vote.counts.get(word, 0) / n_votes for word in words] if several and n_votes else []
    return Answer(
        vote.answer, label, words, shares, None, tuple(written), vote.agreement if several else None, shown, prompt,
        where,
    )  # fmt: skip


def _new_question(template: Template) -> tuple[str, ...]:
    """Where a model that goes on after its answer begins the next question: the separator and the first words."""
    words = re.split(r"[{\n]", template.question, maxsplit=1)[0].strip()
    return (template.separator + words,) if words and template.separator else ()


def _stops(template: Template, demonstrations: Shown, one_line: bool) -> tuple[str, ...]:
    """What ends an answer: a line's end where every answer is a line, or else what stands between demonstrations."""
    shown = [right_answer(template, example) for row in demonstrations for example in row]
    if one_line or (shown and not any("\n" in answer for answer in shown)):
        return ("\n",)
    if shown and template.separator:
        return (template.separator,)
    return _new_question(template)
