"""Figures beside their baselines, with the spread over seeds."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

NOT_RUN = 'not run'
NOTHING = '–'
GAIN, LOSS, NOISE = 'gain', 'loss', 'within noise'


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
        interval: lower and upper end of the 95 % interval of the gain, from the photos or labels it
            was measured with; None where it is not known.
        over_guess: whether the baseline is what it has to beat, where random weights have no such
            figure.
        reason: why there is no gain, said only where there is none.
    """

    name: str
    data: str
    values: Mapping[str, float] = field(default_factory=dict)
    random: Mapping[str, float] = field(default_factory=dict)
    baseline: float | None = None
    percent: bool = True
    note: str = ''
    interval: tuple[float, float] | None = None
    over_guess: bool = False
    reason: str = ''

    @property
    def gain(self) -> float | None:
        """Mean minus mean of the random initialisation, or minus the guess; None without either."""
        others = list(self.random.values())
        if self.over_guess and self.baseline is not None:
            others = [self.baseline]
        if not self.values or not others:
            return None
        return statistics.fmean(self.values.values()) - statistics.fmean(others)

    @property
    def uncertainty(self) -> float | None:
        """The larger spread over seeds, which a gain has to exceed; None of one seed."""
        compared = [self.values] if self.over_guess else [self.values, self.random]
        spreads = [spread(list(v.values())) for v in compared]
        known = [s for s in spreads if s is not None]
        return max(known) if len(known) == len(spreads) else None

    @property
    def range(self) -> tuple[float, float] | None:
        """Where the gain lies: within the spread over seeds or, of one seed, the interval."""
        if self.gain is None or self.uncertainty is None:
            return None if self.gain is None else self.interval
        return self.gain - self.uncertainty, self.gain + self.uncertainty

    @property
    def verdict(self) -> str | None:
        """``GAIN``, ``LOSS`` or ``NOISE``; None without a comparison or its range."""
        if self.range is None:
            return None
        low, high = self.range
        if low <= 0 <= high:
            return NOISE
        return GAIN if low > 0 else LOSS

    @property
    def remark(self) -> str:
        """The note and, where nothing is gained, a sentence that says so and why."""
        other = 'the guess' if self.over_guess else 'random weights'
        said = {
            LOSS: f'the other way: {other} did better, by more than chance',
            NOISE: f'within the noise: chance alone makes such differences from {other}',
        }.get(self.verdict or '')
        return '; '.join(filter(None, (self.note, said, said and self.reason)))

    def row(self) -> list[str]:
        """Cells of the summary table: name, value, random initialisation, baseline, gain."""
        show = self._show
        baseline = NOTHING if self.baseline is None else show([self.baseline])
        return [
            self.name,
            show(list(self.values.values())) if self.values else NOT_RUN,
            show(list(self.random.values())) if self.random else NOTHING,
            baseline,
            NOTHING if self.gain is None else self._show_gain(self.gain),
        ]

    def as_json(self) -> dict[str, Any]:
        """Values per seed, means, standard deviations and baselines; None for what is not there."""
        result = asdict(self)
        for name in ('values', 'random'):
            numbers = list(getattr(self, name).values())
            result[name] = dict(
                per_seed=dict(getattr(self, name)),
                mean=statistics.fmean(numbers) if numbers else None,
                std=spread(numbers),
            )
        return {**result, 'gain': self.gain, 'verdict': self.verdict}

    def _show_gain(self, gain: float) -> str:
        factor, digits = (100, 1) if self.percent else (1, 3)
        text = f'{factor * gain:+.{digits}f}'
        if self.uncertainty is not None:
            text += f' ± {factor * self.uncertainty:.{digits}f}'
        text += ' points' * self.percent
        if self.uncertainty is None and self.interval is not None:
            text += ' ({:+.{d}f} to {:+.{d}f})'.format(
                *(factor * x for x in self.interval), d=digits
            )
        # A hyphen is hardly seen.
        return text.replace('-', '−')

    def _show(self, numbers: Sequence[float]) -> str:
        factor, digits = (100, 1) if self.percent else (1, 3 if max(numbers) < 10 else 1)
        text = f'{factor * statistics.fmean(numbers):.{digits}f}'
        deviation = spread(numbers)
        if deviation is not None:
            text += f' ± {factor * deviation:.{digits}f}'
        return f'{text} %' if self.percent else text


# Falls that are named one by one in words; of more the largest alone.
NAMED_LOSSES = 3
HEADER = ['', 'trained / pretrained', 'random init', 'simple guess', 'gain']


def spread(numbers: Sequence[float]) -> float | None:
    """Standard deviation over seeds (n − 1), None for fewer than two."""
    return statistics.stdev(numbers) if len(numbers) > 1 else None


def in_words(measurements: Sequence[Measurement]) -> str:
    """The summary in a few sentences."""
    judged = [m for m in measurements if m.verdict is not None and not m.over_guess]
    if not judged:
        return 'Nothing has been compared with random initialisation yet.'
    by = {kind: [m for m in judged if m.verdict == kind] for kind in (GAIN, LOSS, NOISE)}
    text = f'Pretraining raises {len(by[GAIN])} of {len(judged)} figures by more than the noise'
    if by[GAIN]:
        best = max(by[GAIN], key=lambda m: m.gain or 0.0)
        text += f', most of all “{best.name}” ({best.data}), {best.row()[-1]}'
    if by[LOSS]:
        worst = sorted(by[LOSS], key=lambda m: m.gain or 0.0)
        few = len(worst) <= NAMED_LOSSES
        named = by[LOSS] if few else worst[:1]
        names = '; '.join(f'“{m.name}” ({m.data}), {m.row()[-1]}' for m in named)
        text += f'. It lowers {len(worst)}{":" if few else ", most of all"} {names}'
    text += f'. {len(by[NOISE])} lie{"s" * (len(by[NOISE]) == 1)} within the noise.'
    guessed = [m for m in measurements if m.verdict is not None and m.over_guess]
    if guessed:
        better = sum(m.verdict == GAIN for m in guessed)
        text += (
            f' Hidden patches are told better than by a simple guess in {better} of {len(guessed)} '
            'comparisons.'
        )
    return text


def grouped(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Those of the same data together, and within it those of one kind, a name's beginning."""
    datas = list(dict.fromkeys(m.data for m in measurements))
    kinds = list(dict.fromkeys(m.name.split(',')[0] for m in measurements))
    return sorted(
        measurements, key=lambda m: (datas.index(m.data), kinds.index(m.name.split(',')[0]))
    )


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
