"""Where the parts of a chart go: axes with round ticks, a faint line of what was measured and a smooth one to read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.report.blocks import Chart, Series

__all__ = ["Drawing", "Line", "draw", "log_ticks", "round_ticks", "scale_bar"]

# size of the drawing; small, so that its text stays readable when a phone shrinks it
WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44
# fraction of a picture's width that its scale bar takes at most
BAR_FRACTION = 0.5
# points of a drawn line: more than one for each of its pixels shows nothing
MAX_POINTS = 400
# a running mean over this fraction of a curve is drawn on top of it when it has so many points
SMOOTH_FRACTION, SMOOTH_FROM = 1 / 25, 50


def round_ticks(low: float, high: float) -> list[float]:
    """About five multiples of 1, 2 or 5 times a power of ten within [low, high].

    Examples
    --------
    >>> round_ticks(0, 19.7)
    [0.0, 5.0, 10.0, 15.0]
    """
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within [low, high]; with 2 and 5 times them where these are few.

    Examples
    --------
    >>> log_ticks(0.004, 0.3)
    [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if math.log10(high / low) > 3 else (1, 2, 5)
    if len(decades) > 8:
        decades = decades[:: math.ceil(len(decades) / 6)]
    # rounded: 5 * 10**-3 has more digits than it should
    ticks = [float(f"{factor * 10.0**decade:.6g}") for decade in decades for factor in factors]
    return [tick for tick in ticks if low <= tick <= high]


def scale_bar(width: float) -> tuple[float, float]:
    """Length of a scale bar below a picture of a width: 1, 2 or 5 times a power of ten, and its fraction of the width.

    Examples
    --------
    >>> scale_bar(240.0)
    (100.0, 0.4166666666666667)
    """
    longest = BAR_FRACTION * width
    power = 10.0 ** math.floor(math.log10(longest) + 1e-9)
    length = max(factor * power for factor in (1, 2, 5) if factor == 1 or factor * power <= longest * (1 + 1e-9))
    return float(f"{length:.6g}"), length / width


@dataclass(frozen=True)
class Line:
    """A line to draw: ``kind`` is raw or line, ``index`` that of its series, ``points`` as SVG has them."""

    kind: str
    index: int
    points: str


@dataclass(frozen=True)
class Drawing:
    """A chart as its template draws it: where everything goes, and the data for the read-out."""

    title: str
    label: str
    size: tuple[int, int]
    frame: tuple[int, int, int, int]  # left, top, right, bottom
    x_ticks: Sequence[tuple[str, str]]  # where, and the text
    y_ticks: Sequence[tuple[str, str]]
    lines: Sequence[Line]
    data: dict[str, Any]


def draw(chart: Chart) -> Drawing | None:
    """Lay a chart out; None when no series has two points to show."""
    curves = [(series.name, *_usable(series, chart.is_log)) for series in chart.series]
    curves = [curve for curve in curves if len(curve[1]) > 1]
    if not curves:
        return None
    x_range = (min(x.min() for _, x, _ in curves), max(x.max() for _, x, _ in curves))
    if x_range[0] > 0 and x_range[0] < 0.1 * x_range[1]:
        x_range = (0.0, x_range[1])
    axes = _Axes(x_range, _padded(curves, chart.is_log), chart.is_log)
    lines, read = [], []
    for index, (name, x, y) in enumerate(curves):
        smooth = _smoothed(y)
        if smooth is not y:
            lines.append(Line("raw", index, axes.points(*_thinned(x, y))))
        x, smooth = _thinned(x, smooth)
        lines.append(Line("line", index, axes.points(x, smooth)))
        read.append({"name": name, "x": _rounded(x), "y": _rounded(smooth)})
    data = {"box": axes.box, "x": axes.x_range, "y": axes.y_range, "log": chart.is_log, "series": read}
    data |= {"xLabel": chart.x_label, "yLabel": chart.y_label}
    last = ", ".join(f"{name} ends at {y[-1]:.4g}" for name, _, y in curves)
    return Drawing(
        title=chart.title, label=f"{chart.title}: {last} {chart.y_label}", size=(WIDTH, HEIGHT),
        frame=(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM), x_ticks=axes.x_ticks(), y_ticks=axes.y_ticks(), lines=lines,
        data=data,
    )  # fmt: skip


class _Axes:
    """Where values go on the drawing."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float], is_log: bool) -> None:
        # two equal ends leave nothing to divide by
        self.x_range = [float(x_range[0]), float(max(x_range[1], x_range[0] + 1e-9))]
        self.y_range = [float(value) for value in y_range]
        self.is_log = is_log
        self.box = [LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM]

    def x(self, value: NDArray | float) -> NDArray | float:
        low, high = self.x_range
        return LEFT + self.box[2] * (value - low) / (high - low)

    def y(self, value: NDArray | float) -> NDArray | float:
        low, high = (math.log(end) for end in self.y_range) if self.is_log else self.y_range
        return TOP + self.box[3] * (high - (np.log(value) if self.is_log else value)) / (high - low)

    def points(self, x: NDArray, y: NDArray) -> str:
        pairs = zip(np.atleast_1d(self.x(x)), np.atleast_1d(self.y(y)), strict=True)
        return " ".join(f"{px:.1f},{py:.1f}" for px, py in pairs)

    def x_ticks(self) -> list[tuple[str, str]]:
        return [(f"{self.x(tick):.1f}", f"{tick:g}") for tick in round_ticks(*self.x_range)]

    def y_ticks(self) -> list[tuple[str, str]]:
        ticks = log_ticks(*self.y_range) if self.is_log else round_ticks(*self.y_range)
        return [(f"{self.y(tick):.1f}", f"{tick:g}") for tick in ticks]


def _usable(series: Series, is_log: bool) -> tuple[NDArray, NDArray]:
    x, y = np.asarray(series.x, float), np.asarray(series.y, float)
    keep = np.isfinite(x) & np.isfinite(y)
    if is_log:
        keep &= y > 0
    return x[keep], y[keep]


def _padded(lines: Sequence[tuple[str, NDArray, NDArray]], is_log: bool) -> tuple[float, float]:
    """Range of the values with a little room; never of no height."""
    low, high = min(y.min() for *_, y in lines), max(y.max() for *_, y in lines)
    if is_log:
        room = max((high / low) ** 0.05, 1.1)
        return low / room, high * room
    room = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - room, high + room


def _smoothed(y: NDArray) -> NDArray:
    """Running mean; ``y`` itself where it is short."""
    if len(y) < SMOOTH_FROM:
        return y
    half = max(1, round(len(y) * SMOOTH_FRACTION / 2))
    sums = np.concatenate([[0.0], np.cumsum(y)])
    index = np.arange(len(y))
    # shrinks on both sides at the steep start, which it would bend; on one side at the end, which is read as the result
    first = index - np.minimum(half, index)
    after = np.minimum(index + np.minimum(half, index), len(y) - 1) + 1
    return (sums[after] - sums[first]) / (after - first)


def _thinned(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    """At most MAX_POINTS of the points, both ends among them."""
    if len(x) <= MAX_POINTS:
        return x, y
    chosen = np.linspace(0, len(x) - 1, MAX_POINTS).round().astype(int)
    return x[chosen], y[chosen]


def _rounded(values: NDArray) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
