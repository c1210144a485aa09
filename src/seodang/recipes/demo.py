"""The whole ladder on embedded data: a GPT learns to read, to answer and to chat while one watches."""

from __future__ import annotations

import json
import math
import os
import platform
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import seodang
from seodang.data.primer import PrimerFiles, Question, primer_dialogues, primer_questions, write_primer
from seodang.data.readers import read_documents
from seodang.errors import UsageError
from seodang.files import atomic_write, make_folder
from seodang.inference.language_model import LanguageModel, load
from seodang.inference.scoring import Score
from seodang.inference.suggest import Suggestion
from seodang.models.families import build_model
from seodang.models.sizes import published
from seodang.recipes.config import PretrainConfig, SFTConfig
from seodang.recipes.pretrain import pretrain
from seodang.recipes.report import DEMO, write_report
from seodang.recipes.run import RunResult, say
from seodang.recipes.sft import sft
from seodang.text.chat import render
from seodang.text.tokenizer import Tokenizer
from seodang.text.train import train_tokenizer
from seodang.training.log import peak_bytes, read_rows

PROMPTS = {
    "Once upon a time": "Tell me a story.",
    "The capital of France is": "What is the capital of France?",
    "7 + 5 =": "What is 7 + 5?",
    "옛날 옛적에": "이야기를 들려 주세요.",
    "한국의 수도는": "한국의 수도는 어디입니까?",
    "크다의 반대말은": "크다의 반대말은 무엇입니까?",
}
"""What is continued before, during and after pre-training; and how the same is asked in a chat."""
SCORED = (
    "Mia gave the drum to Ben. The wind was soft. Ben has the drum.",
    "민지는 공을 상자 안에 두었습니다. 바람이 부드러웠습니다. 공은 상자 안에 있습니다.",
)
"""Texts whose tokens' probabilities the report shows: what a reader can know at the end, the model should too."""
SUGGESTED = ("The opposite of", "Tom put the ball", "옛날 옛적에", "한국의 수도는")


@dataclass(frozen=True)
class DemoSize:
    """How large a demo is. The default is for two cores of a laptop; tests use less of everything."""

    minutes: float = 5.0
    """Training time, pre-training and instruction tuning together."""
    tuning_share: float = 0.24
    """Share of that time that instruction tuning gets."""
    model: str = "gpt2-primer"
    vocab_size: int = 4096
    megabytes: float = 4.0
    """Prose to pre-train on."""
    readings: int | None = None
    """Reading questions per language; the primer's own number by default."""
    questions: int | None = None
    """Held-out questions to ask; all by default."""
    evaluate_every: int = 400
    """Steps between looks at the held-out prose, and between samples."""
    steps: tuple[int, int] | None = None
    """Steps of pre-training and of instruction tuning at most; the clock alone decides by default."""


@dataclass
class DemoResult:
    """What came of it; `to_dict` is demo.json."""

    out: Path
    report: Path
    details: dict[str, Any]

    @property
    def before(self) -> dict[str, int]:
        return self.details["accuracy"]["before"]

    @property
    def after(self) -> dict[str, int]:
        return self.details["accuracy"]["after"]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"out": str(self.out), "report": str(self.report), **self.details}


@dataclass
class Ladder:
    """The rungs climbed so far, each with what it cost."""

    quiet: bool = False
    rungs: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def rung(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a rung; the block says in the yielded dict `what` happened, and `tokens` and `flops` if any."""
        if not self.quiet:
            say(f"\n── {len(self.rungs) + 1}. {name}")
        rung: dict[str, Any] = {"name": name, "what": ""}
        started = time.perf_counter()
        yield rung
        rung |= {"seconds": time.perf_counter() - started, "peak_bytes": peak_bytes(torch.device("cpu"))}
        self.rungs.append(rung)
        if not self.quiet:
            say(f"   {rung['what']} ({rung['seconds']:.1f} s)")


def run_demo(
    out: Path | str, minutes: float | None = None, seed: int = 0, *, size: DemoSize | None = None, quiet: bool = False
) -> DemoResult:
    """Write the primer, learn a tokenizer, pre-train, tune, examine before and after, write the report.

    `minutes` is the training time, pre-training and instruction tuning together; the rest takes under a minute.
    Raises UsageError when `out` already holds a demo, KeyboardInterrupt when a rung was interrupted (and saved).
    """
    out, size = Path(out), size or DemoSize()
    minutes = size.minutes if minutes is None else minutes
    if minutes <= 0:
        raise UsageError(f"--minutes {minutes}", "it must be above 0", "give --minutes 4, say")
    if any((out / name).exists() for name in ("primer", "tokenizer", "pretrain", "chat", DEMO)):
        fix = f"talk to it: seodang chat --model {out / 'chat'}, or choose another --out"
        raise UsageError(f"{out} already holds a demo", "it would be overwritten", fix)
    make_folder(out)
    clock, cpu = time.perf_counter(), _cpu_seconds()
    ladder = Ladder(quiet)
    with ladder.rung("The primer is written") as rung:
        files = write_primer(out / "primer", seed, size.megabytes, size.readings)
        held_out = primer_questions(seed, "heldout", size.readings)[: size.questions]
        n_bytes = sum(file.stat().st_size for file in files.prose)
        rung["what"] = f"{n_bytes / 1e6:.1f} MB of prose in English and Korean, {len(held_out)} held-out questions"
    with ladder.rung("A tokenizer is learned") as rung:
        tokenizer = train_tokenizer(_texts(files, seed, size), kind="bpe", vocab_size=size.vocab_size)
        tokenizer.save(out / "tokenizer")
        rung["what"] = f"byte-level BPE, {tokenizer.vocab_size:,} tokens"
    with ladder.rung("It learns to read") as rung:
        reading = _pretrain(out, files, minutes * (1 - size.tuning_share), seed, size, quiet)
        _note_training(rung, reading, "bits per byte on held-out prose")
    with ladder.rung("It is examined before it learned to answer") as rung:
        reader = load(out / "pretrain", device="cpu")
        before = ask(reader, held_out)
        rung["what"] = _score_line(before, held_out)
    with ladder.rung("It learns to answer") as rung:
        tuning = _tune(out, files, minutes * size.tuning_share, seed, size, quiet)
        _note_training(rung, tuning, "loss per answer token on held-out dialogues", "loss_per_token")
    with ladder.rung("It is examined again") as rung:
        pupil = load(out / "chat", device="cpu")
        after = ask(pupil, held_out)
        rung["what"] = _score_line(after, held_out)
    details = _details(ladder, reading, seed, size)
    details |= {"accuracy": accuracy(held_out, before, after), "answers": _some(held_out, before, after)}
    details |= {"samples": _samples(out, pupil), "suggest": _suggestions(reader), "score": _scores(reader, seed, size)}
    details["about"] |= _machine() | {
        "training time": f"{minutes:g} minutes", "wall time": f"{time.perf_counter() - clock:.0f} s",
        "processor time": f"{_cpu_seconds() - cpu:.0f} s",
    }  # fmt: skip
    atomic_write(out / DEMO, json.dumps(details, ensure_ascii=False, indent=1, default=str) + "\n")
    return DemoResult(out, write_report(out), details)


# ---- the rungs


def _texts(files: PrimerFiles, seed: int, size: DemoSize) -> Iterator[str]:
    """What the tokenizer learns from: the prose and the training questions, so that both have words for theirs."""
    for document in read_documents(files.prose):
        yield document.text
    for dialogue in primer_dialogues(seed, size.readings):
        for message in dialogue:
            yield message["content"]


def _pretrain(out: Path, files: PrimerFiles, minutes: float, seed: int, size: DemoSize, quiet: bool) -> RunResult:
    return _uninterrupted(pretrain(PretrainConfig(
        model=size.model, tokenizer=str(out / "tokenizer"), data=files.prose, eval=files.heldout_prose,
        out=out / "pretrain", minutes=minutes, batch_tokens=1024, lr=2e-3, min_lr_ratio=0.02, seed=seed,
        eval_every=size.evaluate_every, sample=tuple(PROMPTS), quiet=quiet, device="cpu",
        steps=size.steps[0] if size.steps else None,
    )))  # fmt: skip


def _tune(out: Path, files: PrimerFiles, minutes: float, seed: int, size: DemoSize, quiet: bool) -> RunResult:
    return _uninterrupted(sft(SFTConfig(
        model=str(out / "pretrain"), data=(files.questions,), out=out / "chat", minutes=minutes, batch_tokens=1024,
        lr=1e-3, min_lr_ratio=0.02, seed=seed, eval_every=200, quiet=quiet, device="cpu",
        steps=size.steps[1] if size.steps else None,
    )))  # fmt: skip


def _uninterrupted(result: RunResult) -> RunResult:
    if result.summary.interrupted:
        say(f"interrupted and saved; continue this rung with: seodang resume {result.out}")
        raise KeyboardInterrupt
    return result


def _note_training(rung: dict[str, Any], result: RunResult, what: str, key: str = "bits_per_byte") -> None:
    summary = result.summary
    rung["tokens"] = summary.tokens
    rung["flops"] = summary.tokens * result.facts.get("flops_per_token", 0)
    first, last = summary.first_evaluation.get(key, math.nan), summary.evaluation.get(key, math.nan)
    rung["what"] = f"{summary.steps:,} steps; {what}: {first:.2f} → {last:.3f}"


# ---- the examination


def ask(model: LanguageModel, questions: Sequence[Question], max_new_tokens: int = 40) -> list[str]:
    """The model's most probable answers, as a chat gives them."""
    prompts = [
        render(model.tokenizer, [{"role": "user", "content": question.question}], add_generation_prompt=True)
        for question in questions
    ]
    settings = model.settings(max_new_tokens=max_new_tokens, temperature=0)
    return [answer.text.strip() for answer in model.generate_ids(prompts, settings, batch_size=64)]


def accuracy(questions: Sequence[Question], before: Sequence[str], after: Sequence[str]) -> dict[str, Any]:
    """Exact answers, in all and by kind and language. An answer is right only when it is equal to the letter."""
    kinds: dict[tuple[str, str], dict[str, Any]] = {}
    totals = {name: {"right": 0, "total": len(questions)} for name in ("before", "after")}
    for question, *answers in zip(questions, before, after, strict=True):
        kind = kinds.setdefault(
            (question.kind, question.language),
            {"kind": question.kind, "language": question.language, "total": 0, "before": 0, "after": 0},
        )
        kind["total"] += 1
        for name, answer in zip(("before", "after"), answers, strict=True):
            right = answer == question.answer
            kind[name] += right
            totals[name]["right"] += right
    return {**totals, "kinds": [kinds[key] for key in sorted(kinds)]}


def _score_line(answers: Sequence[str], questions: Sequence[Question]) -> str:
    right = sum(answer == question.answer for answer, question in zip(answers, questions, strict=True))
    return f"{right} of {len(questions)} held-out questions answered exactly ({right / max(len(questions), 1):.1%})"


def _some(questions: Sequence[Question], before: Sequence[str], after: Sequence[str], most: int = 16) -> list[Any]:
    """Some answers drawn at random, by language and kind."""
    chosen = random.Random(1).sample(range(len(questions)), min(most, len(questions)))
    chosen.sort(key=lambda i: (questions[i].language, questions[i].kind))
    return [
        {"question": questions[i].question, "expected": questions[i].answer, "before": before[i], "after": after[i]}
        for i in chosen
    ]


# ---- what the report shows besides


def _samples(out: Path, pupil: LanguageModel) -> list[dict[str, Any]]:
    """Each prompt before, halfway through and after pre-training, and its question in a chat at the end."""
    rows = [row for row in read_rows(out / "pretrain" / "samples.jsonl") if not row["temperature"]]
    steps = sorted({row["step"] for row in rows})
    half = min(steps, key=lambda step: abs(step - steps[-1] / 2))
    named = {half: f"halfway (step {half:,})", steps[0]: "before training", steps[-1]: "after pre-training"}
    answers = [
        pupil.chat([{"role": "user", "content": question}], temperature=0, max_new_tokens=120).text
        for question in PROMPTS.values()
    ]
    entries = []
    for (prompt, question), answer in zip(PROMPTS.items(), answers, strict=True):
        said = [[named[row["step"]], row["text"]] for row in rows if row["prompt"] == prompt and row["step"] in named]
        entries.append({"prompt": prompt, "said": [*said, [f"asked in a chat: {question}", answer]]})
    return entries


def _suggestions(model: LanguageModel) -> list[dict[str, Any]]:
    def shown(found: list[Suggestion]) -> list[list[Any]]:
        return [[suggestion.text, suggestion.probability] for suggestion in found]

    return [{"prompt": prompt, "suggestions": shown(model.suggest(prompt, 5))} for prompt in SUGGESTED]


def _scores(reader: LanguageModel, seed: int, size: DemoSize) -> list[dict[str, Any]]:
    """Bits of surprise for every piece of a text, of a model with fresh weights and of the one that has read."""
    model = build_model(replace(published(size.model), vocab_size=reader.tokenizer.vocab_size))
    model.init_weights(torch.Generator().manual_seed(seed))
    fresh = LanguageModel(model, reader.tokenizer)
    return [
        {
            "before": _pieces(old, reader.tokenizer), "bits_before": old.bits_per_byte,
            "after": _pieces(new, reader.tokenizer), "bits_after": new.bits_per_byte,
        }
        for old, new in zip(fresh.score(list(SCORED)), reader.score(list(SCORED)), strict=True)
    ]  # fmt: skip


def _pieces(score: Score, tokenizer: Tokenizer) -> list[tuple[str, float]]:
    """Tokens joined until they are whole characters, with their bits."""
    pieces: list[tuple[str, float]] = []
    held, bits = b"", 0.0
    for token, logprob in zip(score.ids, score.logprobs, strict=True):
        held += tokenizer.token_bytes(token)
        bits -= (logprob or 0.0) / math.log(2)
        try:
            pieces.append((held.decode("utf-8"), bits))
        except UnicodeDecodeError:
            continue
        held, bits = b"", 0.0
    return pieces


def _details(ladder: Ladder, reading: RunResult, seed: int, size: DemoSize) -> dict[str, Any]:
    return {
        "lead": (
            "A GPT with fresh weights learned its letters, read a primer in English and Korean, learned to answer, "
            "and was examined on questions that it had never been asked."
        ),
        "parameters": reading.facts["parameters"],
        "rungs": ladder.rungs,
        "folders": {"pretrain": "pretrain", "chat": "chat"},
        "about": {"model": f"{size.model}, {reading.facts['parameters']:,} parameters", "seed": seed,
                  "computed in": reading.facts["dtype"]},
    }  # fmt: skip


def _machine() -> dict[str, str]:
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "processor": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
        "system": platform.platform(terse=True),
        "versions": f"Seodang {seodang.__version__}, torch {torch.__version__}, Python {sys.version.split()[0]}",
        "load at the end": load,
    }


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system
