"""Line plots as SVG text: two axes, round numbers on them, a line and a label for each series."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 150, 14, 40
COLOURS = ("#1f6feb", "#d1570b", "#2c8a3d", "#8a3ab9", "#6e7781")


@dataclass(frozen=True)
class Series:
    """A named line through (x, y). ``steps``: it keeps its height until the next point."""

    name: str
    points: Sequence[tuple[float, float]]
    steps: bool = False


def ticks(top: float, wanted: int = 5) -> list[float]:
    """Round numbers from 0 to at least ``top``: 1, 2 or 5 times a power of ten apart."""
    if not (top > 0 and math.isfinite(top)):
        return [0.0, 1.0]
    raw = top / wanted
    size = 10.0 ** math.floor(math.log10(raw))
    apart = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw * 0.999)
    return [round(apart * number, 10) for number in range(math.ceil(top / apart - 1e-9) + 1)]


def cumulative(values: Sequence[float]) -> list[tuple[float, float]]:
    """How many values are no greater than x, for a line in steps."""
    return [(0.0, 0.0), *((value, float(number)) for number, value in enumerate(sorted(values), start=1))]


def plot(title: str, across: str, up: str, series: Sequence[Series], top: float | None = None) -> str:
    """An SVG picture. ``across`` and ``up`` name the axes; ``top``: how far up the axis goes at least."""
    shown = [line for line in series if line.points]
    last = max((x for line in shown for x, _ in line.points), default=1.0)
    highest = max([top or 0.0, *(y for line in shown for _, y in line.points)])
    columns, rows = ticks(last), ticks(highest)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> str:
        return f"{LEFT + width * x / columns[-1]:.1f},{TOP + height * (1 - y / rows[-1]):.1f}"

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title, quote=True)}" '
        'xmlns="http://www.w3.org/2000/svg">'
    ]
    for value in rows:
        start, end = place(0, value), place(columns[-1], value)
        x, y = start.split(",")
        parts.append(_line("grid", f"{start} {end}") + _text("end", float(x) - 6, float(y) + 4, f"{value:g}"))
    for value in columns:
        x, y = place(value, 0).split(",")
        parts.append(_text("middle", float(x), float(y) + 16, f"{value:g}"))
    parts.append(_text("middle", LEFT + width / 2, HEIGHT - 6, across))
    parts.append(
        f'<g transform="rotate(-90 12 {TOP + height / 2:.0f})">{_text("middle", 12, TOP + height / 2, up)}</g>'
    )
    for number, line in enumerate(shown):
        colour = COLOURS[number % len(COLOURS)]
        points = _stairs(line.points) if line.steps else list(line.points)
        parts.append(_line("", " ".join(place(x, y) for x, y in points), f' stroke="{colour}"'))
        row = TOP + 12 + 18 * number
        parts.append(f'<rect x="{LEFT + width + 12}" y="{row - 8}" width="10" height="10" fill="{colour}"/>')
        parts.append(_text("start", LEFT + width + 27, row + 1, line.name))
    return "".join([*parts, "</svg>"])


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    made: list[tuple[float, float]] = []
    for x, y in points:
        if made:
            made.append((x, made[-1][1]))
        made.append((x, y))
    return made


def _line(kind: str, points: str, more: str = "") -> str:
    return f'<polyline class="{kind or "line"}" points="{points}"{more}/>'


def _text(anchor: str, x: float, y: float, text: str) -> str:
    return f'<text text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{html.escape(text)}</text>'
