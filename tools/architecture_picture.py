"""The picture of the rooms: a box for each, by floor, and an arrow for each import."""

import io
from collections.abc import Mapping
from typing import NamedTuple

from architecture import BESIDE, FLOORS
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve
from PIL import Image

# Inches; of a page's width in a README, letters of 10 points are then as large as its text.
WIDTH, HEIGHT, DPI = 9.2, 6.55, 130
INK, MUTED, ARROW = '#1f2933', '#6b7785', '#8494a5'
FILLS = ('#eef1f4', '#e3f1ef', '#dbe8fe', '#e9e5fb', '#fdeedb', '#fbe4e6')
EDGES = ('#aab4bf', '#5fb3a8', '#6c9bf2', '#9e8ee6', '#eaa64f', '#e2808a')
LEFT, RIGHT, SIDE, LANE = 1.6, 7.6, 1.08, 0.13
BOX, GAP, BETWEEN, SPACE = 0.66, 0.4, 0.16, 0.1
SHORT = {
    'registry': 'classes by name',
    'datasets': 'photo → crop, views, mask',
    'checkpoints': 'any file → tensors, our names',
    'models': 'the paper: ViT · quantizer · VQ-KD · teachers · BEiT v2',
    'engine': 'training hooks',
    'evaluation': 'metrics',
    'exchange': 'other projects',
    'visualization': 'figures',
    'launch': 'of the commands',
    'apis': 'for notebooks',
    'reports': 'pages of figures',
    'tools': 'the commands, and the benchmarks',
    'configs': 'every run of\nthe paper; the\ndemo. They\nname classes\nby registry.',
    'tests': 'mirror the\npackage;\nwhole runs;\nequality.\nMay import all.',
}


class Box(NamedTuple):
    """Corners of a room in inches, and its floor from the ground up."""

    left: float
    bottom: float
    right: float
    top: float
    floor: int

    @property
    def middle(self) -> float:
        """From the left."""
        return (self.left + self.right) / 2


def draw(imported: Mapping[str, set[str]], sizes: Mapping[str, str]) -> Image.Image:
    """Draw the map.

    Args:
        imported: the rooms that each room imports.
        sizes: the lines of each room, as they are written.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor='white')
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.set_axis_off()
    boxes = places()
    draw_arrows(axes, boxes, direct(imported))
    for room, box in boxes.items():
        draw_box(axes, room, box, sizes[room])
    axes.text(
        WIDTH / 2,
        0.16,
        'An arrow is an import, and runs down; those that a longer way implies are left out. '
        'k: thousand lines.',
        ha='center',
        va='center',
        color=MUTED,
        fontsize=8.5,
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI)
    return Image.open(buffer).convert('RGB')


def places() -> dict[str, Box]:
    """Where each room stands."""
    boxes = {}
    bottom = 0.4
    for i, floor in enumerate(FLOORS):
        width = (RIGHT - LEFT - BETWEEN * (len(floor) - 1)) / len(floor)
        for j, room in enumerate(floor):
            left = LEFT + j * (width + BETWEEN)
            boxes[room] = Box(left, bottom, left + width, bottom + BOX, i)
        bottom += BOX + GAP
    ground, roof = 0.4, bottom - GAP
    for room, left in zip(BESIDE, (0.14, WIDTH - 0.14 - SIDE)):
        boxes[room] = Box(left, ground, left + SIDE, roof, -1)
    return boxes


def draw_box(axes: Axes, room: str, box: Box, size: str) -> None:
    """A room with its name, purpose and lines."""
    beside = box.floor < 0
    axes.add_patch(
        FancyBboxPatch(
            (box.left, box.bottom),
            box.right - box.left,
            box.top - box.bottom,
            boxstyle='round,pad=0,rounding_size=0.08',
            facecolor='#f7f8fa' if beside else FILLS[box.floor],
            edgecolor='#c6ced6' if beside else EDGES[box.floor],
            linestyle='--' if beside else '-',
            linewidth=1.2,
            zorder=3,
        )
    )
    middle, height = box.middle, (box.top + box.bottom) / 2
    words = dict(ha='center', va='center', zorder=4)
    if beside:
        axes.text(middle, height + 0.75, room, weight='bold', fontsize=11, color=INK, **words)
        axes.text(middle, height, SHORT[room], fontsize=8.5, color=MUTED, **words)
        axes.text(middle, height - 0.75, size, fontsize=9, color=INK, **words)
        return
    axes.text(middle, height + 0.14, room, weight='bold', fontsize=11.5, color=INK, **words)
    purpose = axes.text(middle, height - 0.15, SHORT[room], fontsize=9, color=INK, **words)
    number = axes.text(middle, height - 0.15, size, fontsize=9, color=MUTED, **words)
    # Both are centred as one line.
    to_inches = axes.transData.inverted()
    widths = [t.get_window_extent().transformed(to_inches).width for t in (purpose, number)]
    purpose.set_x(middle - (widths[1] + SPACE) / 2)
    number.set_x(middle + (widths[0] + SPACE) / 2)


def direct(imported: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """Imports that no longer way of imports implies."""

    def reached(room: str) -> set[str]:
        return set().union(*({below} | reached(below) for below in imported[room]))

    return [
        (room, below)
        for room, others in imported.items()
        for below in sorted(others)
        if not any(below in reached(other) for other in others - {below})
    ]


def draw_arrows(axes: Axes, boxes: Mapping[str, Box], arrows: list[tuple[str, str]]) -> None:
    """Arrows to the floor below are straight; longer ones pass where no box is in the way."""
    lanes = {-1: 0, 1: 0}
    for room, below in arrows:
        upper, lower = boxes[room], boxes[below]
        x = clear_column(upper, lower, boxes)
        if x is not None:
            points = [(x, upper.bottom), (x, lower.top)]
        elif upper.floor - lower.floor == 1:
            points = bend(upper, lower)
        else:
            side = -1 if upper.middle + lower.middle < LEFT + RIGHT else 1
            lanes[side] += 1
            points = around(upper, lower, side, lanes[side])
        axes.add_patch(
            FancyArrowPatch(
                path=rounded(points),
                arrowstyle='-|>,head_length=4.5,head_width=2.6',
                color=ARROW,
                linewidth=1.3,
                shrinkA=0,
                shrinkB=0,
                joinstyle='round',
                zorder=2,
            )
        )


def clear_column(upper: Box, lower: Box, boxes: Mapping[str, Box]) -> float | None:
    """An x at which a straight line meets both rooms and no other; None if there is none."""
    left, right = max(upper.left, lower.left) + 0.1, min(upper.right, lower.right) - 0.1
    if left > right:
        return None
    between = [b for b in boxes.values() if lower.floor < b.floor < upper.floor]
    middle = (left + right) / 2
    candidates = [middle] + [b.right + BETWEEN / 2 for b in between]
    for x in sorted(candidates, key=lambda x: abs(x - middle)):
        if left <= x <= right and not any(b.left - 0.02 < x < b.right + 0.02 for b in between):
            return x
    return None


def bend(upper: Box, lower: Box) -> list[tuple[float, float]]:
    """To the next floor, sideways in the gap."""
    half = (upper.bottom + lower.top) / 2
    start = min(max(upper.middle, lower.left), lower.right)
    start = min(max(start, upper.left + 0.2), upper.right - 0.2)
    end = min(max(start, lower.left + 0.2), lower.right - 0.2)
    return [(start, upper.bottom), (start, half), (end, half), (end, lower.top)]


def around(upper: Box, lower: Box, side: int, lane: int) -> list[tuple[float, float]]:
    """Beside all floors (−1: left): out at the side of the room, down its own lane, and in."""
    edge = LEFT if side < 0 else RIGHT
    x = edge + side * LANE * lane
    start, end = ((b.left if side < 0 else b.right) for b in (upper, lower))
    # The outer lane leaves above the inner one, so that they do not cross.
    out = (upper.bottom + upper.top) / 2 + 0.1 * (lane - 1.5)
    into = (lower.bottom + lower.top) / 2
    return [(start, out), (x, out), (x, into), (end, into)]


def rounded(points: list[tuple[float, float]], radius: float = 0.09) -> Curve:
    """A line through the points with round corners."""
    vertices, codes = [points[0]], [Curve.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:]):
        for code, end in ((Curve.LINETO, before), (None, None), (Curve.CURVE3, after)):
            if code is None:
                vertices.append(corner)
                codes.append(Curve.CURVE3)
                continue
            dx, dy = end[0] - corner[0], end[1] - corner[1]
            length = max(abs(dx) + abs(dy), 1e-9)
            step = min(radius, length / 2) / length
            vertices.append((corner[0] + dx * step, corner[1] + dy * step))
            codes.append(code)
    return Curve([*vertices, points[-1]], [*codes, Curve.LINETO])
