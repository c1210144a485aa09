"""A one-file HTML report of a run folder, or of a whole demo: curves, samples side by side, tables, costs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import seodang
from seodang.errors import DataError, UsageError
from seodang.files import atomic_write
from seodang.recipes import report_parts as parts
from seodang.recipes.report_parts import Series, short, size, span
from seodang.training.log import loss_unit

DEMO = "demo.json"
"""What `seodang demo` leaves in its folder for this report."""
LANGUAGE_NAMES = {"en": "English", "ko": "Korean"}


@dataclass
class Run:
    """What a run folder says of itself."""

    folder: Path
    verb: str
    options: dict[str, Any]
    facts: dict[str, Any]
    """The plan: parameters, batch, memory; empty for a run that has not ended."""
    train: list[dict[str, Any]]
    """Rows of metrics.jsonl, one per step."""
    evaluations: dict[str, list[dict[str, Any]]]
    """Its evaluation rows, by split."""
    samples: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Raises UsageError when the folder holds no run, DataError when its metrics are damaged."""
        path = folder / "metrics.jsonl"
        if not path.is_file():
            raise UsageError(f"{folder} is not a run", "it has no metrics.jsonl", "give the --out folder of a run")
        rows = _rows(path)
        stored, lineage = _json(folder / "run.json"), _json(folder / "seodang.json")
        evaluations: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            if "split" in row and row["split"] != "train":
                evaluations.setdefault(row["split"], []).append(row)
        return cls(
            folder=folder,
            verb=str(stored.get("verb", "run")),
            options=dict(stored.get("options", {})),
            facts=dict(_found(lineage, "plan") or {}),
            train=[row for row in rows if row.get("split", "train") == "train"],
            evaluations=evaluations,
            samples=_rows(folder / "samples.jsonl") if (folder / "samples.jsonl").is_file() else [],
        )

    @property
    def last(self) -> dict[str, Any]:
        return self.train[-1] if self.train else {}


def write_report(folder: Path | str, out: Path | str | None = None) -> Path:
    """Write the report of a run folder or demo folder to `out` (its own report.html by default); return its path.

    Raises UsageError when the folder holds neither, DataError when a file in it is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", "there is no run there", "give the --out folder of a run")
    html = _demo_page(folder) if (folder / DEMO).is_file() else _run_page(Run.read(folder))
    target = folder / "report.html" if out is None else Path(out)
    atomic_write(target, html)
    return target


# ---- one run


def _run_page(run: Run) -> str:
    model = str(run.options.get("model", run.folder.name))
    title = f"{run.verb} · {Path(model).name}"
    lead = f"{run.folder.name}: {len(run.train):,} logged steps, {short(run.last.get('tokens', 0))} tokens."
    body = [_run_tiles(run), parts.section("Curves", "", *_curve_pairs(run))]
    if run.samples:
        body.append(parts.section("Samples", _SAMPLES_NOTE, parts.samples(_sample_cards(run.samples))))
    for name, values in (("Plan", run.facts), ("Options", run.options)):
        if values:
            shown = [[key, _plain(value)] for key, value in values.items() if value not in (None, (), [], "")]
            body.append(parts.section(name, "", parts.table(["setting", "value"], shown)))
    return parts.page(title, lead, body, _footer())


_SAMPLES_NOTE = "The same prompts, continued by the most probable token each time, as training went on."


def _run_tiles(run: Run) -> str:
    last = run.last
    items = [
        (f"loss {_loss_unit(run)}", _figure(last.get("loss_per_token"), ".3f"), "training, last step"),
        ("tokens", short(last.get("tokens", 0)), f"{len(run.train):,} steps"),
        ("time", span(last.get("seconds", 0)), f"{short(_rate(run))} tokens/s"),
        ("peak memory", size(last.get("peak_bytes", 0)), "of the process"),
    ]
    for split, rows in run.evaluations.items():
        shown = ["bits_per_byte"] if math.isfinite(_number(rows[-1].get("bits_per_byte"))) else _measured(run)
        items[:0] = [
            (f"{key.replace('_', ' ')} ({_split(split)})", _figure(rows[-1].get(key), ".3f"),
             f"first {_figure(rows[0].get(key), '.3f')}")
            for key in shown
        ]  # fmt: skip
    if "parameters" in run.facts:
        items.append(("parameters", short(run.facts["parameters"]), f"vocabulary {run.facts.get('vocabulary', 0):,}"))
    return parts.tiles(items, hero=True)


def _curve_pairs(run: Run) -> list[str]:
    figures = [
        _loss_curve(run, f"Loss {_loss_unit(run)}"),
        _bits_curve(run),
        *(_measure_curve(run, key) for key in _measured(run)),
        parts.curve("Learning rate", [_series(run.train, "learning_rate", "learning rate")], "tokens", from_zero=True),
        parts.curve("Speed", [_series(run.train, "tokens_per_second", "tokens per second", noisy=True)], "tokens",
                    from_zero=True),
        parts.curve("Gradient norm", [_series(run.train, "grad_norm", "before clipping", noisy=True)], "tokens",
                    from_zero=True),
    ]  # fmt: skip
    shown = [figure for figure in figures if figure]
    return [parts.pair(*shown)] if shown else ['<p class="note">No step was logged.</p>']


def _loss_curve(run: Run, title: str = "Loss per token") -> str:
    smoothed = ", labels smoothed" if "smoothed_loss" in run.last else ""
    lines = [_series(run.train, "loss_per_token", f"training{smoothed}", noisy=True)]
    lines += [_series(rows, "loss_per_token", _split(name)) for name, rows in run.evaluations.items()]
    return parts.curve(title, lines, "tokens", "(nats)")


def _bits_curve(run: Run, title: str = "Bits per byte") -> str:
    lines = [_series(run.train, "bits_per_byte", "training", noisy=True)]
    lines += [_series(rows, "bits_per_byte", _split(name)) for name, rows in run.evaluations.items()]
    return parts.curve(title, lines, "tokens", "(lower is better; independent of the tokenizer)")


def _measure_curve(run: Run, key: str) -> str:
    lines = [_series(rows, key, _split(name)) for name, rows in run.evaluations.items()]
    return parts.curve(key.replace("_", " ").capitalize(), lines, "tokens", "(a share of 1)", from_zero=True)


def _measured(run: Run) -> list[str]:
    """What the evaluations count beside the loss: masked_accuracy and the like."""
    rows = [row for rows in run.evaluations.values() for row in rows]
    return list(dict.fromkeys(key for row in rows for key in row if key.endswith(("_accuracy", "_recall", "_share"))))


def _loss_unit(run: Run) -> str:
    names = set(run.last).union(*(row for rows in run.evaluations.values() for row in rows))
    return {"in all": "of all terms"}.get(unit := loss_unit(names), unit)


def _split(name: str) -> str:
    return "held out" if name == "eval" else name


def _series(rows: Sequence[dict[str, Any]], key: str, name: str, noisy: bool = False) -> Series:
    ys = [_number(row.get(key)) for row in rows]
    return Series(name, [_number(row.get("tokens", row.get("step"))) for row in rows], ys, noisy)


def _sample_cards(rows: Sequence[dict[str, Any]], most: int = 4) -> list[str]:
    """Greedy samples of each prompt at the first, the last and some steps between."""
    greedy = [row for row in rows if not row.get("temperature")] or list(rows)
    cards = []
    for prompt in dict.fromkeys(row["prompt"] for row in greedy):
        said = [row for row in greedy if row["prompt"] == prompt]
        count = min(most, len(said))
        chosen = [round(i * (len(said) - 1) / max(count - 1, 1)) for i in range(count)]
        cards.append(parts.stages(prompt, [(f"step {said[i]['step']:,}", said[i]["text"]) for i in chosen]))
    return cards


# ---- a demo


def _demo_page(folder: Path) -> str:
    demo = _json(folder / DEMO)
    try:
        runs = {name: Run.read(folder / where) for name, where in demo["folders"].items()}
        body = [
            _demo_tiles(demo, runs),
            parts.section("The ladder", "What each rung did, and what it cost on this machine.", _rungs(demo)),
            _accuracy(demo),
            _answers(demo),
            parts.section("What it says to the same prompts", _LADDER_NOTE, parts.samples([
                parts.stages(entry["prompt"], [(when, _shorten(text, 240)) for when, text in entry["said"]])
                for entry in demo["samples"]
            ])),
            _demo_curves(runs),
            _surprise(demo),
            _suggestions(demo),
            parts.section("This run", "", parts.table(["", ""], [[k, _plain(v)] for k, v in demo["about"].items()])),
        ]  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise DataError(f"{folder / DEMO} is damaged", why, "run seodang demo again") from None
    return parts.page("From first letters to conversation", demo["lead"], body, _footer())


_LADDER_NOTE = (
    "Continued by the most probable token each time. The last column asks the instruction-tuned model "
    "in a chat; the others continue the bare text."
)


def _demo_tiles(demo: dict[str, Any], runs: dict[str, Run]) -> str:
    before, after = demo["accuracy"]["before"], demo["accuracy"]["after"]
    pretrain = runs["pretrain"]
    held_out = [row["bits_per_byte"] for rows in pretrain.evaluations.values() for row in rows]
    return parts.tiles(
        [
            ("held-out questions answered exactly", f"{_share(before):.0%} → {_share(after):.0%}",
             f"{before['right']} → {after['right']} of {after['total']}, before and after instruction tuning"),
            ("parameters", short(demo["parameters"]), "a GPT-2, from fresh weights"),
            ("bits per byte, held out", _figure(held_out[-1] if held_out else None, ".3f"),
             f"{_figure(held_out[0] if held_out else None, '.2f')} before training"),
            ("the whole ladder", span(sum(rung["seconds"] for rung in demo["rungs"])), "on this machine"),
        ],
        hero=True,
    )  # fmt: skip


def _rungs(demo: dict[str, Any]) -> str:
    rows = [
        [rung["name"], rung["what"], span(rung["seconds"])]
        + [short(rung[key]) if rung.get(key) else "–" for key in ("tokens", "flops")]
        + [size(rung["peak_bytes"]) if rung.get("peak_bytes") else "–"]
        for rung in demo["rungs"]
    ]
    total = [*["Together", ""], span(sum(rung["seconds"] for rung in demo["rungs"]))]
    total += [short(sum(rung.get(key) or 0 for rung in demo["rungs"])) for key in ("tokens", "flops")]
    total += [size(max(rung.get("peak_bytes") or 0 for rung in demo["rungs"]))]
    header = ["rung", "what happened", "time", "tokens", "FLOPs", "peak memory"]
    return parts.table(header, [*rows, total], numeric=(2, 3, 4, 5))


def _accuracy(demo: dict[str, Any]) -> str:
    found = {(kind["kind"], kind["language"]): kind for kind in demo["accuracy"]["kinds"]}
    languages = sorted({language for _, language in found})
    rows: list[list[str | parts.Cell]] = []
    for name in sorted({name for name, _ in found}):
        row: list[str | parts.Cell] = [name]
        for language in languages:
            kind = found.get((name, language), {"before": 0, "after": 0, "total": 0})
            row.append(f"{kind['before']} → {kind['after']} of {kind['total']}")
            row.append(parts.bar(kind["after"] / max(kind["total"], 1)))
        rows.append(row)
    note = (
        "An answer counts only if it is the expected sentence to the letter. No held-out question, in any wording, "
        "is among the training questions; what it asks is in the prose, or in the little story it tells."
    )
    header = ["kind", *[text for code in languages for text in (f"{LANGUAGE_NAMES.get(code, code)}: right", "after")]]
    return parts.section("Exact answers to held-out questions", note, parts.table(header, rows))


def _answers(demo: dict[str, Any]) -> str:
    rows: list[list[str | parts.Cell]] = [
        [
            answer["question"],
            parts.verdict(_shorten(answer["before"]), answer["before"] == answer["expected"]),
            parts.verdict(answer["after"], answer["after"] == answer["expected"]),
            answer["expected"],
        ]
        for answer in demo["answers"]
    ]
    note = "Drawn at random: right and wrong ones as they came."
    header = ["asked", "before instruction tuning", "after", "expected"]
    return parts.section("Some of the answers", note, parts.table(header, rows))


def _demo_curves(runs: dict[str, Run]) -> str:
    figures = [
        _bits_curve(runs["pretrain"], "Pre-training: bits per byte"),
        _loss_curve(runs["pretrain"], "Pre-training: loss per token"),
        _loss_curve(runs["chat"], "Instruction tuning: loss per answer token"),
        parts.curve(
            "Learning rate",
            [_series(runs[name].train, "learning_rate", label) for name, label in
             (("pretrain", "pre-training"), ("chat", "instruction tuning"))],
            "tokens of each rung", from_zero=True,
        ),
    ]  # fmt: skip
    return parts.section("Learning curves", "Every step is a pale point; the line is their moving average.",
                         parts.pair(*[figure for figure in figures if figure]))  # fmt: skip


def _surprise(demo: dict[str, Any]) -> str:
    cards = [
        parts.heat(entry["before"], f"before training: {entry['bits_before']:.2f} bits per byte")
        + parts.heat(entry["after"], f"after pre-training: {entry['bits_after']:.2f} bits per byte")
        for entry in demo["score"]
    ]
    note = (
        "Each piece is the redder the less the model expected it (hover for its probability). "
        "A fresh model is surprised by everything; a trained one only where something really is open."
    )
    return parts.section("What surprises it", note, *(f'<div class="card">{card}</div><br>' for card in cards))


def _suggestions(demo: dict[str, Any]) -> str:
    boxes = [parts.completions(entry["prompt"], entry["suggestions"]) for entry in demo["suggest"]]
    note = "As a search box completes what one types, with the probability of each continuation."
    return parts.section("What would come next", note, parts.pair(*boxes))


# ---- small things


def _share(count: dict[str, int]) -> float:
    return count["right"] / count["total"] if count["total"] else 0.0


def _shorten(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[:most] + " …"


def _rate(run: Run) -> float:
    return run.last.get("tokens", 0) / max(run.last.get("seconds", 0), 1e-9)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _figure(value: Any, spec: str) -> str:
    number = _number(value)
    return format(number, spec) if math.isfinite(number) else "–"


def _plain(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _footer() -> str:
    return f"Written by Seodang {seodang.__version__} (seodang report). One file; it needs no network."


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a jsonl file; a last line that a crash cut short is left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            if number == len(lines):
                break
            raise DataError(f"{path}:{number} is damaged", "the line is not JSON", "remove the line") from None
    return rows


def _json(path: Path) -> dict[str, Any]:
    """A JSON file's object; an absent file has nothing to say."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataError(f"{path} is damaged", str(error), "take it from a backup, or run again") from None
    return found if isinstance(found, dict) else {}


def _found(value: Any, key: str) -> Any:
    """The value of `key` anywhere in nested objects: a folder's metadata may be wrapped."""
    if isinstance(value, dict):
        if key in value:
            return value[key]
        for inner in value.values():
            if (found := _found(inner, key)) is not None:
                return found
    return None
