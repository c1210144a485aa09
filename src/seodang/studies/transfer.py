"""Score against the number of transferred layers (Radford et al. 2018, sec. 5 and fig. 2 left)."""

from __future__ import annotations

from typing import Any

from seodang.checkpoints.resolve import load_model
from seodang.errors import UsageError
from seodang.studies.config import TransferConfig
from seodang.studies.figures import Line, draw_lines
from seodang.studies.finetuning import finetuning_cell, tasks_of
from seodang.studies.grid import Grid
from seodang.studies.published import FIGURE_2_LEFT
from seodang.studies.study import Study
from seodang.studies.tables import Summary, across, markdown, seeds_in_words, summarise


def transfer(config: TransferConfig) -> Study:
    """The study of `config`: its grid, and how its rows become tables and a figure."""
    tasks = tasks_of(config)
    n_layers = len(load_model(config.model).model.layers)
    chosen = tuple(sorted(set(config.layers))) or tuple(range(n_layers + 1))
    if chosen[0] < 0 or chosen[-1] > n_layers:
        raise UsageError(
            f"--layers {' '.join(map(str, config.layers))}",
            f"{config.model} has {n_layers} layers",
            f"choose from 0 (the embeddings alone) to {n_layers} (all)",
        )
    cells = [
        finetuning_cell(
            config, f"{task}-layers-{layers}-seed-{seed}", {"layers": layers, "seed": seed}, task,
            model=config.model, seed=seed, transfer_layers=layers,
        )
        for seed in range(config.seeds)  # the whole curve of one seed before the next one
        for task in tasks
        for layers in chosen
    ]  # fmt: skip
    return Study(Grid(config.out, cells, config.keep_models), _report, _draw(config))


def _report(rows: list[dict[str, Any]]) -> tuple[list[Summary], list[str]]:
    summaries = sorted(summarise(rows, ["layers"]), key=lambda entry: entry.labels["layers"])
    head, body = across(summaries, "layers", lambda layers: f"{layers}" if layers else "0 (embeddings alone)")
    lines = ["# Score against the number of transferred layers", "", *markdown(["layers transferred", *head[1:]], body)]
    return summaries, [*lines, "", seeds_in_words(summaries), "", f"The paper's own: {FIGURE_2_LEFT}"]


def _draw(config: TransferConfig) -> Any:
    def draw(summaries: list[Summary]) -> Any:
        lines = []
        for colour, task in enumerate(dict.fromkeys(entry.task for entry in summaries)):
            found = [entry for entry in summaries if entry.task == task]
            lines.append(
                Line(
                    f"{task} ({found[0].measure})",
                    [entry.labels["layers"] for entry in found],
                    [entry.score for entry in found],
                    [entry.spread[0] for entry in found],
                    [entry.spread[1] for entry in found],
                    colour=colour,
                )
            )
            if found[0].baseline is not None:
                ends = [found[0].labels["layers"], found[-1].labels["layers"]]
                level = [found[0].baseline] * 2
                lines.append(Line(f"{task}, most frequent class", ends, level, solid=False, colour=colour))
        path = config.out / "figure.png"
        return draw_lines(path, lines, "layers transferred (0: the embeddings alone)", "score", whole_x=True)

    return draw
