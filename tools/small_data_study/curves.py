"""The picture of docs/small_data.md: figures of held-out photos over K, a line for each set.

Means of all seeds, with their standard deviation.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmbeitv2.errors import InputError
from mmbeitv2.visualization.style import (
    CLASS_COLOURS,
    INK,
    MUTED,
    new_figure,
    save_figure,
    styled,
)

from .cells import PHOTOS, rule_codes
from .record import Result

COLOURS = dict(zip(PHOTOS, CLASS_COLOURS[1:]))
# Marker and line of a revival.
LOOKS = dict(half=('o', '-'), tenth=('^', ''), off=('x', ''))
SAYINGS = dict(half='revived below 0.5 a step', tenth='below a tenth of the mean', off='no revival')
PANELS = (
    ('usage', 'Codes in use (%)', 100),
    ('perplexity', 'Perplexity over K (%)', 100),
    ('purity', 'Purity: classes that codes name (%)', 100),
    ('changed', 'Codes changed in the last quarter (%)', 100),
    ('reconstruction', 'Reconstruction loss (1 − cosine)', 1),
    ('five_labels_avg', 'Five labels a class, mean of patches (%)', 100),
)


def draw_curves(results: Sequence[Result], path: Path) -> Path:
    """Draw what the demo's teacher and quantizer give; rings mark the rule's K.

    Args:
        results: of the record.
        path: of the PNG.

    Raises:
        ValueError: no tokenizer has been measured.
    """
    shown = [r for r in results if (r.cell.teacher, r.cell.quantizer) == ('lite0', 'ema')]
    if not any(r.cell.stage == 'tokenizer' for r in shown):
        raise InputError('the record has no tokenizer yet: run `python tools/small_data.py`')
    with styled():
        figure = new_figure(7.8, 8.0)
        grid = figure.subplots(3, 2)
        for axes, (key, title, scale) in zip(grid.flat, PANELS):
            _draw(axes, shown, key, scale)
            axes.set_title(title, pad=8)
        for axes in grid[-1]:
            axes.set_xlabel('K')
        _legend(figure)
        figure.tight_layout(h_pad=1.6, w_pad=1.8, rect=(0, 0.06, 1, 1))
        return save_figure(figure, path)


def value_of(result: Result, key: str) -> float | None:
    """What is drawn; the perplexity as a share of K. None where it was not measured."""
    value = result.figures.get(key)
    if value is not None and key == 'perplexity':
        return value / result.cell.num_codes
    return value


def _draw(axes: Axes, results: Sequence[Result], key: str, scale: float) -> None:
    axes.set_xscale('log', base=2)
    for photos, colour in COLOURS.items():
        for revival, (marker, line) in LOOKS.items():
            points: dict[int, list[float]] = {}
            for result in results:
                cell, value = result.cell, value_of(result, key)
                wanted = (cell.photos, cell.revival) == (photos, revival)
                if wanted and cell.stage != 'untrained' and value is not None:
                    points.setdefault(cell.num_codes, []).append(scale * value)
            if not points:
                continue
            codes = sorted(points)
            heights = [fmean(points[k]) for k in codes]
            # A seed alone has no spread.
            spreads = [stdev(points[k]) if len(points[k]) > 1 else 0 for k in codes]
            look = dict(color=colour, marker=marker, linestyle=line, markersize=4.5)
            axes.errorbar(codes, heights, spreads, elinewidth=0.8, **look)
            at_rule = [(k, y) for k, y in zip(codes, heights) if k == rule_codes(photos)]
            if revival == 'half' and at_rule:
                ring = dict(s=75, facecolors='none', edgecolors=INK, linewidths=0.9)
                axes.scatter(*zip(*at_rule), **ring, zorder=3)
    untrained = [
        scale * value
        for result in results
        if result.cell.stage == 'untrained' and (value := value_of(result, key)) is not None
    ]
    if untrained:
        axes.axhline(fmean(untrained), color=MUTED, linewidth=1.0, linestyle=':')
    marks = sorted({r.cell.num_codes for r in results if r.cell.num_codes})
    axes.set_xlim(min(marks) / 1.4, max(marks) * 1.4)
    axes.set_xticks(marks, [str(k) for k in marks])
    axes.minorticks_off()


def _legend(figure: Figure) -> None:
    """Below all panels, where it hides no point."""
    colours = [
        Line2D([], [], color=colour, marker='o', markersize=4.5, label=f'{photos:,} photos')
        for photos, colour in COLOURS.items()
    ]
    marks = [
        Line2D([], [], color=MUTED, marker=m, linestyle=line, markersize=4.5, label=SAYINGS[name])
        for name, (m, line) in LOOKS.items()
    ]
    style = dict(loc='lower center', fontsize=7.5, labelcolor=MUTED)
    figure.legend(handles=colours, ncols=4, bbox_to_anchor=(0.5, 0.022), **style)
    figure.legend(handles=marks, ncols=3, bbox_to_anchor=(0.5, 0.0), **style)
