"""Curves as inline SVG: sharp at any width, and light enough for a page that is written often."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from mmbeitv2.visualization.style import HAIRLINE, MUTED

WIDTH, HEIGHT = 440, 220
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 10, 26
TICKS = 4
# Of the lines at levels, so that two can be told apart: in the chart and in its legend.
DASHES = (('7 4', ' dashed'), ('2 4', ' dotted'))


@dataclass
class Curve:
    """Points joined by a line.

    Args:
        label: in the legend.
        points: x and y.
        colour: of the line.
        errors: half height of a band around each point; none if empty.
    """

    label: str
    points: Sequence[tuple[float, float]]
    colour: str
    errors: Sequence[float] = ()


@dataclass
class Chart:
    """Axes with curves.

    Args:
        title: above it.
        curves: those without a point are left out.
        levels: heights of dashed lines, two at most, with a name each.
        unit: behind the numbers of the y axis, such as ``'%'``.
        from_zero: whether the y axis begins at 0.
    """

    title: str
    curves: Sequence[Curve]
    levels: Sequence[tuple[float, str]] = field(default_factory=list)
    unit: str = ''
    from_zero: bool = False


def svg_chart(chart: Chart, x_label: str) -> str:
    """A ``<figure>`` with the chart and its legend; empty where no curve has a point.

    Args:
        chart: what to draw.
        x_label: of the x axis.
    """
    curves = [curve for curve in chart.curves if curve.points]
    if not curves:
        return ''
    scale = _Scale(curves, chart)
    drawn = ''.join(_curve(curve, scale) for curve in curves)
    levels = ''.join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{scale.y(height):.1f}" '
        f'y2="{scale.y(height):.1f}" stroke="{MUTED}" stroke-width="1.5" '
        f'stroke-dasharray="{dash}"/>'
        for (height, _), (dash, _) in zip(chart.levels, DASHES)
    )
    names = [_key(curve.colour, curve.label) for curve in curves]
    names += [_key(MUTED, label, kind) for (_, label), (_, kind) in zip(chart.levels, DASHES)]
    title = escape(chart.title)
    return (
        f'<figure class="chart"><h3>{title}</h3>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">'
        f'{_axes(scale, chart.unit, x_label)}{levels}{drawn}</svg>'
        f'<figcaption>{"".join(names)}</figcaption></figure>\n'
    )


def _key(colour: str, label: str, kind: str = '') -> str:
    return f'<span><i class="key{kind}" style="color:{colour}"></i>{escape(label)}</span>'


class _Scale:
    """From values to places."""

    def __init__(self, curves: Sequence[Curve], chart: Chart) -> None:
        xs = [x for curve in curves for x, _ in curve.points]
        ys = [height for height, _ in chart.levels]
        for curve in curves:
            errors = curve.errors or [0.0] * len(curve.points)
            for (_, y), error in zip(curve.points, errors):
                ys += [y - error, y + error]
        if chart.from_zero:
            ys.append(0.0)
        self.xs = _ticks(min(xs), max(xs), whole=True)
        self.ys = _ticks(min(ys), max(ys))
        self.left, self.right = min(xs), max(max(xs), min(xs) + 1e-9)
        self.low, self.high = self.ys[0], self.ys[-1]

    def x(self, value: float) -> float:
        share = (value - self.left) / (self.right - self.left)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Round numbers around a range, 1, 2 or 5 times a power of ten apart."""
    span = max(high - low, 1e-6 * max(abs(high), 1.0))
    rough = span / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, round(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _axes(scale: _Scale, unit: str, x_label: str) -> str:
    step = scale.ys[1] - scale.ys[0]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    lines = ''.join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{scale.y(y):.1f}" y2="{scale.y(y):.1f}" '
        f'stroke="{HAIRLINE}"/><text x="{LEFT - 6}" y="{scale.y(y) + 4:.1f}" '
        f'text-anchor="end">{y:.{digits}f}{escape(unit)}</text>'
        for y in scale.ys
    )
    below = HEIGHT - 8
    marks = ''.join(
        f'<text x="{scale.x(x):.1f}" y="{below}" text-anchor="middle">{x:g}</text>'
        for x in scale.xs
        if scale.left <= x <= scale.right - 0.12 * (scale.right - scale.left)
    )
    name = f'<text x="{WIDTH - RIGHT}" y="{below}" text-anchor="end">{escape(x_label)}</text>'
    return lines + marks + name


def _curve(curve: Curve, scale: _Scale) -> str:
    places = [(scale.x(x), scale.y(y)) for x, y in curve.points]
    line = ' '.join(f'{x:.1f},{y:.1f}' for x, y in places)
    dots = ''.join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in places)
    band = ''
    if curve.errors:
        pairs = list(zip(curve.points, curve.errors))
        around = [(x, y + error) for (x, y), error in pairs]
        around += [(x, y - error) for (x, y), error in reversed(pairs)]
        edge = ' '.join(f'{scale.x(x):.1f},{scale.y(y):.1f}' for x, y in around)
        band = f'<polygon points="{edge}" fill="{curve.colour}" opacity="0.15"/>'
    return (
        f'{band}<polyline points="{line}" fill="none" stroke="{curve.colour}" stroke-width="2"/>'
        f'<g fill="{curve.colour}">{dots}</g>'
    )
