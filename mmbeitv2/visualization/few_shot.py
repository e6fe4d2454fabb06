"""Curves of accuracy over the number of labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from mmbeitv2.visualization.style import (
    MUTED,
    OURS,
    RANDOM,
    SECOND,
    new_figure,
    save_figure,
    styled,
)

# Beginning of the features' name: colour and line.
LOOKS = {
    'pretrained, [CLS]': (OURS, '-'),
    'pretrained, mean': (SECOND, '-'),
    'random weights, [CLS]': (RANDOM, '-'),
    'mean colours': (MUTED, '-'),
    'codes': (MUTED, (0, (1, 1.5))),
    'teacher': (MUTED, (0, (4, 3))),
}


class FewShotPanel(NamedTuple):
    """Axes of one question.

    Args:
        title: the question.
        features: accuracies (0 to 1) of all draws, by name of the features and number of labels.
        guess: accuracy of a guess, 0 to 1.
    """

    title: str
    features: Mapping[str, Mapping[str, Sequence[float]]]
    guess: float


def few_shot_curves(panels: Sequence[FewShotPanel], path: str | Path) -> Path:
    """Accuracy over labels a class, with the 95 % interval over draws of the labelled photos.

    Args:
        panels: one or more, drawn in two columns (a single one in one).
        path: of the PNG.

    Returns:
        The path.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with styled():
        figure = new_figure(7.8, (2.9 if columns == 2 else 3.8) * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(grid.flat, panels):
            _draw(axes, panel)
        grid.flat[0].legend(fontsize=7.5, labelcolor=MUTED, loc='best')
        figure.tight_layout(h_pad=1.6, w_pad=1.8)
        return save_figure(figure, path)


def _draw(axes: Axes, panel: FewShotPanel) -> None:
    axes.set_title(panel.title, pad=8)
    for look, (colour, line) in LOOKS.items():
        for name, by_shots in panel.features.items():
            if not name.startswith(look):
                continue
            shots = [int(k) for k in by_shots]
            draws = 100 * np.array(list(by_shots.values()))
            mean = draws.mean(1)
            interval = 1.96 * draws.std(1, ddof=1) / draws.shape[1] ** 0.5
            axes.plot(shots, mean, color=colour, linestyle=line, label=name)
            axes.fill_between(shots, mean - interval, mean + interval, color=colour, alpha=0.15)
            axes.set_xscale('log')
            axes.set_xticks(shots, [str(k) for k in shots])
    axes.minorticks_off()
    axes.axhline(100 * panel.guess, color=MUTED, linewidth=1.0, linestyle=':', label='guess')
    axes.set_xlabel('labelled photos a class')
    axes.set_ylabel('accuracy (%)')
    axes.set_ylim(bottom=0)
