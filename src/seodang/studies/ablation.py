"""What pre-training, the auxiliary loss and the Transformer are worth (Radford et al. 2018, sec. 5 and table 5)."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from seodang.checkpoints.resolve import load_model
from seodang.errors import UsageError
from seodang.studies.config import AblationConfig
from seodang.studies.figures import Line, draw_bars
from seodang.studies.finetuning import finetuning_cell, tasks_of
from seodang.studies.grid import Grid
from seodang.studies.published import TABLE_5, TABLE_5_AVERAGES, TASKS
from seodang.studies.study import Study
from seodang.studies.tables import Summary, across, markdown, seeds_in_words, summarise


def ablation(config: AblationConfig) -> Study:
    """The study of `config`: its grid, and how its rows become tables and a figure."""
    tasks = tasks_of(config)
    variants: dict[str, dict[str, Any]] = {
        "full": {"model": config.model},
        "no auxiliary loss": {"model": config.model, "aux_weight": 0.0},
        "no pre-training": {"model": config.model, "from_scratch": True},
    }
    if config.lstm is not None:
        family = load_model(config.lstm).model.config.family
        if family != "lstm":
            raise UsageError(f"--lstm {config.lstm}", f"it is of the family {family}", "name a pre-trained LSTM")
        variants["lstm"] = {"model": config.lstm}
    cells = [
        finetuning_cell(
            config, f"{task}-{variant.replace(' ', '-')}-seed-{seed}", {"variant": variant, "seed": seed},
            task, seed=seed, **changes,
        )
        for seed in range(config.seeds)  # the whole table of one seed before the next one
        for task in tasks
        for variant, changes in variants.items()
    ]  # fmt: skip
    return Study(Grid(config.out, cells, config.keep_models), _report, lambda found: _draw(config, found))


def averages(summaries: list[Summary]) -> dict[str, float | None]:
    """Variant → the mean of its scores over the tasks; None where one is missing."""
    tasks = {entry.task for entry in summaries}
    found: dict[str, float | None] = {}
    for variant in dict.fromkeys(entry.labels["variant"] for entry in summaries):
        scores = [entry.score for entry in summaries if entry.labels["variant"] == variant]
        found[variant] = fmean(scores) if len(scores) == len(tasks) else None
    return found


def _report(rows: list[dict[str, Any]]) -> tuple[list[Summary], list[str]]:
    order = list(TABLE_5)
    summaries = sorted(summarise(rows, ["variant"]), key=lambda entry: order.index(entry.labels["variant"]))
    head, body = across(summaries, "variant")
    means = averages(summaries)
    said = {name: "–" if value is None else f"{100 * value:.1f}" for name, value in means.items()}
    body = [[row[0], said.get(row[0], "–"), *row[1:]] for row in body]
    lines = ["# What pre-training, the auxiliary loss and the Transformer are worth", ""]
    lines += [*markdown(["fine-tuned", "average", *head[1:]], body), "", seeds_in_words(summaries), ""]
    lines += ["## The paper's own: GPT-1, table 5", ""]
    lines += ["117M parameters, BooksCorpus, GLUE's test sets; not this run.", ""]
    paper = [
        [variant, f"{TABLE_5_AVERAGES[variant]:.1f}", *(f"{score:.1f}" for score in scores)]
        for variant, scores in TABLE_5.items()
    ]
    return summaries, [*lines, *markdown(["fine-tuned", "average", *TASKS], paper)]


def _draw(config: AblationConfig, summaries: list[Summary]) -> Any:
    tasks = list(dict.fromkeys(entry.task for entry in summaries))
    bars = []
    for colour, variant in enumerate(dict.fromkeys(entry.labels["variant"] for entry in summaries)):
        of = {entry.task: entry for entry in summaries if entry.labels["variant"] == variant}
        if set(of) != set(tasks):  # not all of it is finished
            continue
        found = [of[task] for task in tasks]
        lows, highs = ([entry.spread[end] for entry in found] for end in (0, 1))
        bars.append(Line(variant, [], [entry.score for entry in found], lows, highs, colour=colour))
    return draw_bars(config.out / "figure.png", tasks, bars, "score")
