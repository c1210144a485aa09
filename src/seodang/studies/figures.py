"""The studies' figures, where matplotlib is installed (extra `pictures`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seodang.files import atomic_file


@dataclass(frozen=True)
class Line:
    """One curve: points with the range of their seeds. `solid` or dashed; equal `colour` numbers look alike."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    solid: bool = True
    colour: int = 0


def _canvas() -> tuple[Any, Any] | None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(7, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Any, path: Path) -> Path:
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")
    return path


def draw_lines(
    path: Path, lines: Sequence[Line], x: str, y: str, *, title: str = "", whole_x: bool = False
) -> Path | None:
    """Curves over a number. Returns the path, None without matplotlib."""
    canvas = _canvas()
    if canvas is None:
        return None
    figure, axes = canvas
    for line in lines:
        style = {"color": f"C{line.colour}", "linestyle": "-" if line.solid else "--"}
        axes.plot(line.x, line.y, marker="o", markersize=3, label=line.name, **style)
        if line.low:
            axes.fill_between(line.x, line.low, line.high, color=style["color"], alpha=0.15, linewidth=0)
    if whole_x:
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return _save(figure, path)


def draw_bars(
    path: Path, groups: Sequence[str], bars: Sequence[Line], y: str, *, title: str = ""
) -> Path | None:
    """For each group (such as a task) one bar of each kind; `x` of a bar is not used. Returns the path, None without
    matplotlib."""
    canvas = _canvas()
    if canvas is None:
        return None
    figure, axes = canvas
    width = 0.8 / max(1, len(bars))
    for number, bar in enumerate(bars):
        places = [group + width * (number - (len(bars) - 1) / 2) for group in range(len(groups))]
        below = [value - low for value, low in zip(bar.y, bar.low, strict=True)]
        above = [high - value for value, high in zip(bar.y, bar.high, strict=True)]
        axes.bar(places, bar.y, width, label=bar.name, color=f"C{bar.colour}", yerr=[below, above], capsize=2)
    axes.set_xticks(range(len(groups)), groups)
    axes.set(ylabel=y, title=title)
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize="small")
    return _save(figure, path)
