"""Figures beside their baselines, with the spread over seeds."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

NOT_RUN = 'not run'


@dataclass
class Measurement:
    """One figure of the summary: what was measured, and what it has to beat.

    Args:
        name: of the figure.
        data: name of the set it was measured on.
        values: by seed; empty if the stage has not run.
        random: the same from random initialisation, by seed; empty where there is none.
        baseline: of a prediction that ignores the image, such as always the most frequent class.
        percent: whether values are shares (0 to 1) that are shown as percentages.
        note: a few words on the baseline or the unit.
    """

    name: str
    data: str
    values: Mapping[str, float] = field(default_factory=dict)
    random: Mapping[str, float] = field(default_factory=dict)
    baseline: float | None = None
    percent: bool = True
    note: str = ''

    @property
    def gain(self) -> float | None:
        """Mean minus mean of the random initialisation, None if either is missing."""
        if not self.values or not self.random:
            return None
        return statistics.fmean(self.values.values()) - statistics.fmean(self.random.values())

    @property
    def beats_spread(self) -> bool:
        """Whether the gain is larger than either spread over seeds, which takes two seeds."""
        spreads = [spread(list(v.values())) for v in (self.values, self.random)]
        return self.gain is not None and None not in spreads and self.gain > max(spreads)

    def row(self) -> list[str]:
        """Cells of the summary table: name, value, random initialisation, baseline, gain."""
        show = self._show
        gain = '–'
        if self.gain is not None:
            gain = f'{100 * self.gain:+.1f} points' if self.percent else f'{self.gain:+.3f}'
        baseline = '–' if self.baseline is None else show([self.baseline])
        return [
            self.name,
            show(list(self.values.values())) if self.values else NOT_RUN,
            show(list(self.random.values())) if self.random else '–',
            baseline,
            gain,
        ]

    def as_json(self) -> dict:
        """Values per seed, means, standard deviations and baselines; None for what is not there."""
        result = asdict(self)
        for name in ('values', 'random'):
            numbers = list(getattr(self, name).values())
            result[name] = dict(
                per_seed=dict(getattr(self, name)),
                mean=statistics.fmean(numbers) if numbers else None,
                std=spread(numbers),
            )
        return {**result, 'gain': self.gain, 'gain_beats_spread': self.beats_spread}

    def _show(self, numbers: Sequence[float]) -> str:
        factor, digits = (100, 1) if self.percent else (1, 3 if max(numbers) < 10 else 1)
        text = f'{factor * statistics.fmean(numbers):.{digits}f}'
        deviation = spread(numbers)
        if deviation is not None:
            text += f' ± {factor * deviation:.{digits}f}'
        return f'{text} %' if self.percent else text


HEADER = ['', 'trained / pretrained', 'random init', 'constant guess', 'gain over random']


def spread(numbers: Sequence[float]) -> float | None:
    """Standard deviation over seeds (n − 1), None for fewer than two."""
    return statistics.stdev(numbers) if len(numbers) > 1 else None


def text_table(measurements: Sequence[Measurement]) -> str:
    """The summary for a terminal, one block for each set of data."""
    lines = []
    for data in dict.fromkeys(m.data for m in measurements):
        rows = [[data, *HEADER[1:]], *(m.row() for m in measurements if m.data == data)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
        for number, row in enumerate(rows):
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
            lines.append('  '.join(cells).rstrip())
            if number == 0:
                lines.append('-' * (sum(widths) + 2 * (len(widths) - 1)))
        lines.append('')
    return '\n'.join(lines)
