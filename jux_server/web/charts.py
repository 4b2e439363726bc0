"""The geometry of charts: from figures to points, numbers only; `templates/charts.html` draws them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH, HEIGHT = 900, 160  # of the area that is drawn in
_STEPS = (1, 2, 2.5, 5, 10)


class Tick(NamedTuple):
    """A line across a chart: its distance from the top, and what it stands for."""

    y: float
    label: str


class Column(NamedTuple):
    """A column: its left edge, and the parts of it from the bottom up as (class, top, height)."""

    x: float
    width: float
    parts: list[tuple[str, float, float]]


class Chart(NamedTuple):
    """Columns or points of one figure over runs, oldest first, with lines across."""

    columns: list[Column]
    points: list[tuple[float, float] | None]
    ticks: list[Tick]


def columns_of(values: Sequence[Sequence[tuple[str, float]]], label: Callable[[float], str]) -> Chart:
    """Return a chart of columns, each of which has parts: (class, value), from the bottom up."""
    most = max((sum(value for _, value in parts) for parts in values), default=0)
    top, ticks = _ticks(most, label)
    step = WIDTH / max(len(values), 1)
    gap = min(2.0, step / 5) if len(values) <= WIDTH / 4 else 0
    columns = []
    for number, parts in enumerate(values):
        bottom = float(HEIGHT)
        drawn = []
        for name, value in parts:
            if value > 0:
                height = HEIGHT * value / top
                bottom -= height
                drawn.append((name, round(bottom, 1), round(max(height, 0.5), 1)))
        columns.append(Column(round(number * step + gap / 2, 2), round(step - gap, 2), drawn))
    return Chart(columns, [], ticks)


def points_of(values: Sequence[float | None], low: float, high: float, label: Callable[[float], str]) -> Chart:
    """Return a chart of points between two figures; where there is none, the line is broken."""
    step = WIDTH / max(len(values), 1)
    span = high - low or 1
    points = [
        None if value is None else (round((number + 0.5) * step, 2), round(HEIGHT * (high - value) / span, 1))
        for number, value in enumerate(values)
    ]
    ticks = [Tick(round(HEIGHT * share, 1), label(high - span * share)) for share in (0, 0.5, 1)]
    return Chart([], points, ticks)


def lines_of(points: Sequence[tuple[float, float] | None]) -> list[str]:
    """Return the points of unbroken lines as SVG's `points` has them."""
    lines: list[list[str]] = [[]]
    for point in points:
        if point is None:
            lines.append([])
        else:
            lines[-1].append(f"{point[0]:g},{point[1]:g}")
    return [" ".join(line) for line in lines if line]


def _ticks(most: float, label: Callable[[float], str]) -> tuple[float, list[Tick]]:
    """Return a round figure that nothing exceeds, and the lines for it, its half and zero."""
    if most <= 0:
        return 1.0, [Tick(HEIGHT, label(0))]
    power = 10.0 ** math.floor(math.log10(most))
    top = next(step * power for step in _STEPS if step * power >= most * (1 - 1e-9))
    return top, [Tick(0, label(top)), Tick(HEIGHT / 2, label(top / 2)), Tick(HEIGHT, label(0))]
