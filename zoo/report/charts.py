"""Small SVG charts as text. Colours are CSS classes, so that one file reads well in light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 340, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 30
MOST_POINTS = 400


@dataclass(frozen=True)
class Series:
    """One line: points (n,), drawn in the colour ``s0``, ``s1``, ... of its place."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover low..high: multiples of 1, 2 or 5 times a power of ten, about ``count`` of them."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return [0.0, 1.0]
    size = max(abs(low), abs(high))
    if high - low <= max(1e-9 * size, 1e-300):
        margin = size / 2 if size > 1e-300 else 0.5
        low, high = low - margin, high + margin
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{step * i:.12g}") for i in range(first, last + 1)]


def label(value: float) -> str:
    """A tick's text."""
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:,.6g}"


class Frame:
    """Axes of a chart: maps values to pixels and draws grid and ticks."""

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], *, width: int = WIDTH, height: int = HEIGHT
    ) -> None:
        self.width, self.height = width, height
        self.x_ticks, self.y_ticks = ticks(*x), ticks(*y, 4)
        self.x_range = x if x[1] > x[0] else (self.x_ticks[0], self.x_ticks[-1])
        self.y_range = self.y_ticks[0], self.y_ticks[-1]
        self.x_ticks = [t for t in self.x_ticks if self.x_range[0] <= t <= self.x_range[1]]

    def px(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (self.width - LEFT - RIGHT)

    def py(self, value: float) -> float:
        low, high = self.y_range
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM)

    def axes(self, x_label: str = "") -> str:
        parts = []
        for tick in self.y_ticks:
            y = self.py(tick)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{self.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{label(tick)}</text>')
        for tick in self.x_ticks:
            x = self.px(tick)
            parts.append(f'<text x="{x:.1f}" y="{self.height - BOTTOM + 14}" text-anchor="middle">{label(tick)}</text>')
        middle = (LEFT + self.width - RIGHT) / 2
        parts.append(f'<text x="{middle:.0f}" y="{self.height - 2}" text-anchor="middle">{escape(x_label)}</text>')
        return "".join(parts)

    def wrap(self, body: str, title: str) -> Markup:
        return Markup(
            f'<svg class="chart" viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(title)}">'
            f"{body}</svg>"
        )


def line_chart(title: str, series: Sequence[Series], *, x_label: str = "step", log: bool = False) -> Markup:
    """Lines over a common x. Points that are not finite break a line; few points get markers.

    Args:
        log: draw log10 of y where all values are positive; ticks then show powers of ten.
    """
    cleaned = [_thin(one) for one in series]
    values = [v for one in cleaned for v in one.y if math.isfinite(v)]
    across = [v for one in cleaned for v in one.x]
    if not values:
        return Markup("")
    log = log and min(values) > 0
    scale = math.log10 if log else float
    frame = Frame((min(across), max(across)), (scale(min(values)), scale(max(values))))
    body = [frame.axes(x_label)]
    for number, one in enumerate(cleaned):
        path, pen = [], "M"
        for x, y in zip(one.x, one.y, strict=True):
            if not math.isfinite(y):
                pen = "M"
                continue
            path.append(f"{pen}{frame.px(x):.1f} {frame.py(scale(y)):.1f}")
            pen = "L"
        body.append(f'<path class="line s{number}" d="{"".join(path)}"/>')
        if len(one.x) <= 40:
            body += [
                f'<circle class="dot s{number}" r="2.6" cx="{frame.px(x):.1f}" cy="{frame.py(scale(y)):.1f}">'
                f"<title>{escape(one.name)} {y:.5g} at {escape(x_label)} {x:g}</title></circle>"
                for x, y in zip(one.x, one.y, strict=True)
                if math.isfinite(y)
            ]
    return frame.wrap("".join(body), title)


def scatter(title: str, truth: np.ndarray, predicted: np.ndarray) -> Markup:
    """Predicted over true values, with the line where they are equal."""
    low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
    frame = Frame((low, high), (low, high), width=460, height=360)
    a, b = max(frame.x_range[0], frame.y_range[0]), min(frame.x_range[1], frame.y_range[1])
    body = [
        frame.axes("true value"),
        f'<line class="ideal" x1="{frame.px(a):.1f}" y1="{frame.py(a):.1f}" x2="{frame.px(b):.1f}" '
        f'y2="{frame.py(b):.1f}"/>',
    ]
    keep = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), 2000)).astype(int))
    body += [
        f'<circle class="point" r="2.4" cx="{frame.px(float(truth[i])):.1f}" cy="{frame.py(float(predicted[i])):.1f}"/>'
        for i in keep
    ]
    return frame.wrap("".join(body), title)


def histogram(title: str, values: np.ndarray, *, x_label: str, bins: int = 30) -> Markup:
    """Counts in equal bins."""
    counts, edges = np.histogram(values, bins=bins)
    frame = Frame((float(edges[0]), float(edges[-1])), (0, float(counts.max())), width=460, height=360)
    body = [frame.axes(x_label)]
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        x, width = frame.px(float(left)), frame.px(float(right)) - frame.px(float(left))
        y = frame.py(float(count))
        body.append(
            f'<rect class="bar" x="{x + 0.5:.1f}" y="{y:.1f}" width="{max(width - 1, 0.5):.1f}" '
            f'height="{frame.py(0) - y:.1f}"><title>{left:.4g} to {right:.4g}: {count}</title></rect>'
        )
    return frame.wrap("".join(body), title)


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 10) -> Markup:
    """Share of right answers over the confidence they were given with; the diagonal is a calibrated model. The area of
    a disc grows with the number of answers in its bin."""
    frame = Frame((0.0, 1.0), (0.0, 1.0))
    body = [
        frame.axes("confidence"),
        f'<line class="ideal" x1="{frame.px(0)}" y1="{frame.py(0)}" x2="{frame.px(1)}" y2="{frame.py(1)}"/>',
    ]
    where = np.minimum((confidence * bins).astype(int), bins - 1)
    points = []
    for one in range(bins):
        inside = where == one
        if inside.any():
            points.append((float(confidence[inside].mean()), float(correct[inside].mean()), int(inside.sum())))
    body.append(
        f'<polyline class="line s0" points="{" ".join(f"{frame.px(x):.1f},{frame.py(y):.1f}" for x, y, _ in points)}"/>'
    )
    body += [
        f'<circle class="dot s0" r="{2.5 + 6 * math.sqrt(n / len(confidence)):.1f}" cx="{frame.px(x):.1f}" '
        f'cy="{frame.py(y):.1f}"><title>{n} answers, mean confidence {x:.1%}, {y:.1%} right</title></circle>'
        for x, y, n in points
    ]
    return frame.wrap("".join(body), "calibration")


def confusion_heatmap(matrix: np.ndarray, labels: Sequence[str]) -> Markup:
    """Rows are true, columns predicted; shade is the share of the row. Names and counts where they fit (up to 25)."""
    classes = len(labels)
    named = classes <= 25
    cell = max(4, min(96 if classes < 4 else 56, 520 // classes))
    longest = max((len(name) for name in labels), default=0)
    left = min(150, 14 + 6.2 * longest) if named else 20
    top = (18 if classes <= 8 and longest <= cell / 6 else min(150, 14 + 6.2 * longest)) if named else 20
    width, height = left + cell * classes + 10, top + cell * classes + 26
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    body = []
    for row in range(classes):
        for column in range(classes):
            count = int(matrix[row, column])
            if not count and not named:
                continue
            x, y, part = left + cell * column, top + cell * row, float(share[row, column])
            kind = "right" if row == column else "wrong"
            hint = f"true {escape(labels[row])}, predicted {escape(labels[column])}: {count} ({part:.1%} of the class)"
            body.append(
                f'<rect class="cell" x="{x:.1f}" y="{y:.1f}" width="{cell - 1}" height="{cell - 1}">'
                f"<title>{hint}</title></rect>"
                f'<rect class="cell {kind}" x="{x:.1f}" y="{y:.1f}" width="{cell - 1}" height="{cell - 1}" '
                f'fill-opacity="{0.06 + 0.94 * part if count else 0:.3f}"><title>{hint}</title></rect>'
            )
            if named and count and cell >= 18:
                tone = "on" if part > 0.55 else "off"
                body.append(
                    f'<text class="count {tone}" x="{x + cell / 2 - 0.5:.1f}" y="{y + cell / 2 + 3.5:.1f}" '
                    f'text-anchor="middle">{count}</text>'
                )
    if not named:
        body.insert(0, f'<rect class="cell" x="{left}" y="{top}" width="{cell * classes}" height="{cell * classes}"/>')
    if named:
        slanted = top > 18
        for i, name in enumerate(labels):
            short = escape(name if len(name) <= 22 else name[:21] + "…")
            y = top + cell * i + cell / 2 + 3.5
            body.append(f'<text x="{left - 6:.1f}" y="{y:.1f}" text-anchor="end">{short}</text>')
            x = left + cell * i + cell / 2
            if slanted:
                body.append(f'<text transform="translate({x + 3:.1f},{top - 6:.1f}) rotate(-90)">{short}</text>')
            else:
                body.append(f'<text x="{x:.1f}" y="{top - 6:.1f}" text-anchor="middle">{short}</text>')
    middle = left + cell * classes / 2
    body.append(f'<text class="axis" x="{middle:.1f}" y="{height - 8:.1f}" text-anchor="middle">predicted</text>')
    return Markup(
        f'<svg class="confusion" viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px" role="img" '
        f'aria-label="confusion matrix">{"".join(body)}</svg>'
    )


def interval_bar(value: float | None, low: float | None, high: float | None) -> Markup:
    """A value in 0..1 as a bar with its interval as a whisker."""
    if value is None:
        return Markup("")
    whisker = ""
    if low is not None and high is not None:
        whisker = f'<line class="whisker" x1="{100 * low:.1f}" x2="{100 * high:.1f}" y1="6" y2="6"/>'
    return Markup(
        '<svg class="meter" viewBox="0 0 100 12" preserveAspectRatio="none">'
        '<rect class="track" width="100" height="12"/>'
        f'<rect class="fill" width="{100 * value:.1f}" height="12"/>{whisker}</svg>'
    )


def _thin(one: Series) -> Series:
    """Long lines as bin means: a pixel shows no more."""
    if len(one.x) <= MOST_POINTS:
        return Series(one.name, [float(v) for v in one.x], [float(v) for v in one.y])
    bins = np.array_split(np.arange(len(one.x)), MOST_POINTS // 2)
    x, y = np.asarray(one.x, float), np.asarray(one.y, float)
    return Series(one.name, [float(x[b].mean()) for b in bins], [float(y[b].mean()) for b in bins])
