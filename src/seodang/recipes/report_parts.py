"""The pieces of a report: tiles, tables, curves, samples, heat. Each returns HTML in which all text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class Series:
    """One line of a figure. `noisy` draws the points pale with their moving average over them."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    noisy: bool = False


def page(title: str, lead: str, body: Sequence[str], footer: str) -> str:
    """The whole document: one file that needs nothing else."""
    text = TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("<!--title-->", escape(title)).replace("<!--lead-->", escape(lead))
    # the body comes last, so that nothing a model says can be taken for a place to fill in
    head, _, tail = text.partition("<!--body-->")
    return head + "\n".join(body) + tail.replace("<!--footer-->", escape(footer))


def section(title: str, note: str, *parts: str) -> str:
    """A headed part of the page."""
    remark = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{remark}{''.join(parts)}</section>"


def tiles(items: Sequence[tuple[str, str, str]], hero: bool = False) -> str:
    """(label, value, remark) each in a box; with `hero` the first one is large."""
    boxes = [
        f'<div class="tile{" hero" if hero and index == 0 else ""}"><div class="label">{escape(label)}</div>'
        f'<div class="big">{escape(value)}</div><div class="small">{escape(remark)}</div></div>'
        for index, (label, value, remark) in enumerate(items)
    ]
    return f'<div class="tiles">{"".join(boxes)}</div>'


def table(header: Sequence[str], rows: Sequence[Sequence[str | Cell]], numeric: Sequence[int] = ()) -> str:
    """A table; columns in `numeric` are set flush right. Strings are escaped, `Cell`s are HTML already."""

    def line(cells: Sequence[str | Cell], tag: str) -> str:
        made = []
        for column, cell in enumerate(cells):
            content = cell.html if isinstance(cell, Cell) else escape(cell)
            made.append(f"<{tag}{' class=n' if column in numeric else ''}>{content}</{tag}>")
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="card scroll"><table><thead>{line(header, "th")}</thead><tbody>{body}</tbody></table></div>'


@dataclass(frozen=True)
class Cell:
    """Ready HTML for a table cell, made by `bar` and `verdict`."""

    html: str


def bar(share: float) -> Cell:
    """A share from 0 to 1 as a bar with its percentage."""
    width = 100 * min(max(share, 0.0), 1.0)
    return Cell(f'<span class="bar"><i style="width:{width:.1f}%"></i></span>&ensp;{share:.0%}')


def verdict(text: str, right: bool) -> Cell:
    """An answer, marked right or wrong."""
    shown = escape(text) if text else "<i>(nothing)</i>"
    return Cell(f'<span class="{"right" if right else "wrong"}">{"✓" if right else "✗"}</span> {shown}')


def stages(prompt: str, said: Sequence[tuple[str, str]]) -> str:
    """What was said to one prompt at several times, side by side: (when, text)."""
    columns = [
        f'<div class="stage"><div class="when">{escape(when)}</div>'
        + (f"<p>{escape(text)}</p></div>" if text.strip() else '<p class="none">(nothing)</p></div>')
        for when, text in said
    ]
    return (
        f'<div class="card"><div class="prompt">{escape(prompt)}</div>'
        f'<div class="stages">{"".join(columns)}</div></div>'
    )


def samples(cards: Sequence[str]) -> str:
    """Cards made by `stages`, one under the other."""
    return f'<div class="samples">{"".join(cards)}</div>'


def heat(pieces: Sequence[tuple[str, float]], title: str = "") -> str:
    """A text whose pieces are the redder the more they surprised the model: (text, bits of surprise)."""
    spans = [
        f'<span style="background:rgba(var(--heat),{min(bits / 10, 1) * 0.75:.2f})" '
        f'title="{bits:.1f} bits, p = {2.0**-bits:.3g}">{escape(text)}</span>'
        for text, bits in pieces
    ]
    head = f'<div class="when">{escape(title)}</div>' if title else ""
    return f'{head}<div class="heat">{"".join(spans)}</div>'


def completions(prompt: str, found: Sequence[tuple[str, float]]) -> str:
    """A prompt and how it would go on: (continuation, probability)."""
    rows = "".join(f"<tr><td>{escape(text)}</td><td>{bar(p).html}</td></tr>" for text, p in found)
    return f'<div class="prompt">{escape(prompt)} …</div><div class="scroll"><table>{rows}</table></div>'


def pair(*parts: str) -> str:
    """Cards beside each other where there is room."""
    return f'<div class="pair">{"".join(f"<div class=card>{part}</div>" for part in parts)}</div>'


# ---- curves

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 46, 10, 10, 34


def curve(title: str, series: Sequence[Series], x_label: str, note: str = "", from_zero: bool = False) -> str:
    """A figure of lines as inline SVG; points that are not finite are left out. Empty when nothing is left."""
    clean = [
        Series(s.name, [x for x, _ in points], [y for _, y in points], s.noisy)
        for s in series
        if (points := [(x, y) for x, y in zip(s.xs, s.ys, strict=True) if math.isfinite(x) and math.isfinite(y)])
    ]
    if not clean:
        return ""
    x_ticks = ticks(min(min(s.xs) for s in clean), max(max(s.xs) for s in clean), tight=True)
    low, high = _visible(clean)
    y_ticks = ticks(0.0 if from_zero else low, high)
    x_range = (min(min(s.xs) for s in clean), max(max(s.xs) for s in clean))
    parts = [_grid(x_ticks, y_ticks, x_range, x_label)]
    y_range = (y_ticks[0], y_ticks[-1])
    for number, line in enumerate(clean):
        colour = f"c{number % 4}"
        if line.noisy and len(line.xs) > 8:
            parts.append(f'<path class="raw {colour}" d="{_path(line.xs, line.ys, x_range, y_range)}"/>')
            parts.append(f'<path class="{colour}" d="{_path(line.xs, smooth(line.ys), x_range, y_range)}"/>')
            continue
        parts.append(f'<path class="{colour}" d="{_path(line.xs, line.ys, x_range, y_range)}"/>')
        for x, y in zip(line.xs, line.ys, strict=True) if len(line.xs) <= 60 else ():
            cx, cy = _place(x, y, x_range, y_range)
            label = f"<title>{escape(line.name)}: {y:.4g} at {short(x)}</title>"
            parts.append(f'<circle class="{colour}" cx="{cx:.1f}" cy="{cy:.1f}" r="2.6">{label}</circle>')
    legend = "".join(f'<span><i class="c{n % 4}"></i>{escape(s.name)}</span>' for n, s in enumerate(clean))
    remark = f" {escape(note)}" if note else ""
    return (
        f"<figure><figcaption><b>{escape(title)}</b>{remark}</figcaption>"
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'{"".join(parts)}</svg><div class="legend">{legend}</div></figure>'
    )


def _visible(series: Sequence[Series]) -> tuple[float, float]:
    """The range to draw: everything, but a few wild points of a noisy line may run out of the frame."""
    low, high = math.inf, -math.inf
    for line in series:
        ys = sorted(line.ys)
        cut = len(ys) // 200 if line.noisy else 0
        low, high = min(low, ys[0]), max(high, ys[len(ys) - 1 - cut])
    return low, high


def ticks(low: float, high: float, count: int = 5, tight: bool = False) -> list[float]:
    """Round numbers over the range: 1, 2 or 5 times a power of ten apart; `tight` keeps them inside it."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(multiple * power for multiple in (1, 2, 5, 10) if multiple * power >= raw * 0.999)
    first, last = (math.ceil, math.floor) if tight else (math.floor, math.ceil)
    return [round(k * step, 12) for k in range(first(low / step), last(high / step) + 1)]


def smooth(ys: Sequence[float]) -> list[float]:
    """A centred moving average over about a fortieth of the points."""
    half = max(1, len(ys) // 80)
    total = [0.0]
    for y in ys:
        total.append(total[-1] + y)
    spans = [(max(0, i - half), min(len(ys), i + half + 1)) for i in range(len(ys))]
    return [(total[end] - total[start]) / (end - start) for start, end in spans]


def _place(x: float, y: float, x_range: tuple[float, float], y_range: tuple[float, float]) -> tuple[float, float]:
    across = (x - x_range[0]) / ((x_range[1] - x_range[0]) or 1)
    up = (y - y_range[0]) / ((y_range[1] - y_range[0]) or 1)
    return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - min(up, 1.02) * (HEIGHT - TOP - BOTTOM)


def _path(
    xs: Sequence[float], ys: Sequence[float], x_range: tuple[float, float], y_range: tuple[float, float]
) -> str:
    every = max(1, len(xs) // 500)  # more points than pixels only make the file large
    chosen = [*range(0, len(xs), every)]
    if chosen[-1] != len(xs) - 1:
        chosen.append(len(xs) - 1)
    return "M" + "L".join("{:.1f} {:.1f}".format(*_place(xs[i], ys[i], x_range, y_range)) for i in chosen)


def _grid(x_ticks: list[float], y_ticks: list[float], x_range: tuple[float, float], x_label: str) -> str:
    parts = []
    base = HEIGHT - BOTTOM
    for y in y_ticks:
        _, place = _place(x_range[0], y, x_range, (y_ticks[0], y_ticks[-1]))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{place + 4:.1f}" text-anchor="end">{short(y)}</text>')
    for x in x_ticks:
        place, _ = _place(x, y_ticks[0], x_range, (y_ticks[0], y_ticks[-1]))
        parts.append(f'<text x="{place:.1f}" y="{base + 17}" text-anchor="middle">{short(x)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 2}" text-anchor="middle">{escape(x_label)}</text>')
    return "".join(parts)


def short(number: float) -> str:
    """1234567 as 1.23M; small numbers with what they need."""
    for limit, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.3g}"


def size(n_bytes: float) -> str:
    """573 MB, the number and its unit on one line."""
    number = short(n_bytes)
    return f"{number.rstrip('kMGTPE')}\u00a0{number.lstrip('0123456789.e+-')}B"


def span(seconds: float) -> str:
    """4.2 s, 3:05 min or 1:02:03 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"
