"""Loss and accuracy curves of runs, from the records that they logged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mmbeitv2.visualization.runs import Record, series
from mmbeitv2.visualization.style import (
    MUTED,
    OURS,
    RANDOM,
    SECOND,
    new_figure,
    save_figure,
    styled,
)


@dataclass
class Line:
    """One curve: a key of the records and how it is drawn.

    Args:
        records: of one run.
        key: of the value.
        label: in the legend; empty for none.
        colour: of the curve.
        style: matplotlib's line style; ``'o'`` draws points joined by a thin line, for values
            measured now and then on held-out images.
        scale: factor of the values.
        alpha: opacity, 0 to 1.
    """

    records: list[Record]
    key: str
    label: str
    colour: str = OURS
    style: str = '-'
    scale: float = 1.0
    alpha: float = 1.0


@dataclass
class Panel:
    """Axes with their lines; ``level`` is a horizontal reference with its name."""

    title: str
    lines: list[Line] = field(default_factory=list)
    level: tuple[float, str] | None = None
    from_zero: bool = False


@dataclass
class Comparison:
    """A task trained from pretrained weights and from random ones, by seed.

    Args:
        title: of the task.
        loss: key of the training loss.
        metric: key of the validation metric.
        metric_title: of its panel.
        scale: factor that makes the metric a percentage.
        pretrained: records of each seed.
        random: the same from random initialisation.
        baseline: percentage that a constant prediction reaches, None if unknown.
    """

    title: str
    loss: str
    metric: str
    metric_title: str
    scale: float
    pretrained: Sequence[list[Record]]
    random: Sequence[list[Record]]
    baseline: float | None = None


def draw_panels(panels: Sequence[Panel], path: str | Path, columns: int = 2) -> Path:
    """Draw panels in rows and write the PNG.

    Args:
        panels: one or more.
        path: of the PNG.
        columns: panels in a row.

    Returns:
        The path.
    """
    rows = -(-len(panels) // columns)
    with styled():
        figure = new_figure(3.9 * columns, 2.55 * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, panel in zip(grid.flat, panels):
            _draw_panel(axes, panel)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes in grid[-1]:
            axes.set_xlabel('iteration')
        figure.tight_layout(h_pad=1.6, w_pad=1.8)
        return save_figure(figure, path)


def tokenizer_curves(records: list[Record], path: str | Path, num_codes: int | None = None) -> Path:
    """Reconstruction, commitment, usage and perplexity of a VQ-KD run.

    Args:
        records: of the run.
        path: of the PNG.
        num_codes: K, drawn as the limit of the perplexity.

    Returns:
        The path.
    """

    def lines(batch: str, epoch: str | None, held_out: str, scale: float = 1.0) -> list[Line]:
        chosen = [Line(records, batch, 'one training batch', OURS, scale=scale)]
        if epoch is not None:
            chosen.append(Line(records, epoch, 'all of an epoch', SECOND, scale=scale))
        return chosen + [Line(records, held_out, 'held-out images', RANDOM, 'o', scale=scale)]

    limit = None if num_codes is None else (float(num_codes), f'all {num_codes} codes alike')
    panels = [
        Panel(
            'Reconstruction loss (1 − cosine)', lines('loss_rec', None, 'tokenizer/reconstruction')
        ),
        Panel('Commitment loss', lines('loss_commit', None, 'tokenizer/commitment')),
        Panel(
            'Codes in use (%)',
            lines('batch_usage', 'codebook_usage', 'tokenizer/codebook_usage', 100.0),
            from_zero=True,
        ),
        Panel(
            'Perplexity of the codes',
            lines('batch_perplexity', 'codebook_perplexity', 'tokenizer/codebook_perplexity'),
            level=limit,
            from_zero=True,
        ),
    ]
    return draw_panels(panels, path)


def pretraining_curves(seeds: Mapping[str, list[Record]], path: str | Path) -> Path:
    """Losses and masked-code accuracies of the pretraining runs of several seeds.

    Args:
        seeds: records by name of the run.
        path: of the PNG.

    Returns:
        The path.
    """
    loss, accuracy = Panel('Masked-code loss (cross-entropy)'), Panel('Masked-code accuracy (%)')
    accuracy.from_zero = True
    for number, records in enumerate(seeds.values()):
        first = number == 0
        for name, label, colour in (
            ('mim', 'last layer', OURS),
            ('cls', 'from [CLS] (aggregation)', SECOND),
        ):
            loss.lines.append(_seed_line(records, f'loss_{name}', label, colour, first))
            accuracy.lines.append(_seed_line(records, f'acc_{name}', label, colour, first, 100.0))
            held_out = f'masked_codes/acc_{name}'
            accuracy.lines.append(Line(records, held_out, '', colour, 'o', 100.0))
    majority = [y for r in seeds.values() for y in series(r, 'masked_codes/acc_majority')[1]]
    if majority:
        accuracy.level = (100 * max(majority), 'always the most frequent code')
    return draw_panels([loss, accuracy], path)


def comparison_curves(tasks: Sequence[Comparison], path: str | Path) -> Path:
    """Pretrained against random initialisation in the same axes, one row a task.

    Args:
        tasks: to draw; training loss left, validation metric right.
        path: of the PNG.

    Returns:
        The path.
    """
    panels = []
    for task in tasks:
        loss = Panel(f'{task.title}: training loss')
        metric = Panel(task.metric_title, from_zero=True)
        for label, colour, seeds in (
            ('pretrained', OURS, task.pretrained),
            ('random initialisation', RANDOM, task.random),
        ):
            for number, records in enumerate(seeds):
                first = number == 0
                loss.lines.append(_seed_line(records, task.loss, label, colour, first))
                metric.lines.append(
                    Line(records, task.metric, label if first else '', colour, 'o', task.scale)
                )
        if task.baseline is not None:
            metric.level = (task.baseline, 'constant prediction')
        panels += [loss, metric]
    return draw_panels(panels, path)


def _seed_line(
    records: list[Record], key: str, label: str, colour: str, first: bool, scale: float = 1.0
) -> Line:
    return Line(records, key, label if first else '', colour, '-', scale, 1.0 if first else 0.45)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title, pad=8)
    for line in panel.lines:
        x, y = series(line.records, line.key)
        if not x:
            continue
        dots = dict(marker='o', markersize=4.5, linewidth=1.0)
        marks: dict[str, Any] = dots if line.style == 'o' else {}
        axes.plot(
            x,
            [line.scale * value for value in y],
            color=line.colour,
            label=line.label or None,
            alpha=line.alpha,
            **marks,
        )
    if panel.level is not None:
        height, name = panel.level
        axes.axhline(height, color=MUTED, linestyle=(0, (4, 3)), linewidth=1.2, label=name)
    if panel.from_zero:
        axes.set_ylim(bottom=0)
        axes.margins(y=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7.5, labelcolor=MUTED)
    else:
        axes.text(0.5, 0.5, 'not logged yet', transform=axes.transAxes, ha='center', color=MUTED)
