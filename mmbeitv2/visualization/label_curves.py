"""Curves of accuracy over the number of labelled training photos, up to all of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from mmbeitv2.visualization.style import (
    MUTED,
    OURS,
    RANDOM,
    new_figure,
    save_figure,
    styled,
)

# Beginning of a curve's name: colour and line.
LOOKS = {
    'pretrained': (OURS, '-'),
    'random': (RANDOM, '-'),
    'mean colours': (MUTED, '-'),
    'teacher': (MUTED, (0, (4, 3))),
}


class Point(NamedTuple):
    """Accuracy with half of its interval, 0 to 1 both."""

    accuracy: float
    interval: float


class LabelPanel(NamedTuple):
    """Axes of one way to learn from labels.

    Args:
        title: what learns, and what it is asked about.
        curves: points by name and by labelled photos a class, above 0.
        every: photos a class where all are labelled; it is a mark of the axis.
        guess: accuracy of a guess, 0 to 1.
    """

    title: str
    curves: Mapping[str, Mapping[float, Point]]
    every: float
    guess: float


def label_curves(rows: Sequence[Sequence[LabelPanel | None]], path: str | Path) -> Path:
    """Accuracy over labelled photos a class, with its interval as a band.

    Args:
        rows: of panels, as many in each; None leaves a place empty.
        path: of the PNG.

    Returns:
        The path.
    """
    with styled():
        figure = new_figure(7.8, 2.9 * len(rows))
        grid = figure.subplots(len(rows), len(rows[0]), squeeze=False)
        for places, panels in zip(grid, rows, strict=True):
            for axes, panel in zip(places, panels, strict=True):
                if panel is None:
                    axes.set_visible(False)
                else:
                    _draw(axes, panel)
        for axes in grid[0]:
            if axes.get_visible():
                # Room for the legend above the curves of few labels.
                axes.set_ylim(top=1.25 * axes.get_ylim()[1])
                axes.legend(fontsize=7.5, labelcolor=MUTED, loc='upper left')
        figure.tight_layout(h_pad=1.6, w_pad=1.8)
        return save_figure(figure, path)


def _draw(axes: Axes, panel: LabelPanel) -> None:
    axes.set_title(panel.title, pad=8)
    axes.set_xscale('log')
    for look, (colour, line) in LOOKS.items():
        for name, points in panel.curves.items():
            if not name.startswith(look):
                continue
            labels = sorted(points)
            mean = 100 * np.array([points[k].accuracy for k in labels])
            interval = 100 * np.array([points[k].interval for k in labels])
            axes.plot(
                labels, mean, color=colour, linestyle=line, marker='o', markersize=3.5, label=name
            )
            axes.fill_between(labels, mean - interval, mean + interval, color=colour, alpha=0.15)
    marks = sorted({k for points in panel.curves.values() for k in points})
    axes.set_xticks(marks, [f'all ({k:g})' if k == panel.every else f'{k:g}' for k in marks])
    axes.minorticks_off()
    axes.axhline(100 * panel.guess, color=MUTED, linewidth=1.0, linestyle=':', label='guess')
    axes.set_xlabel('labelled photos a class')
    axes.set_ylabel('accuracy (%)')
    axes.set_ylim(bottom=0)
