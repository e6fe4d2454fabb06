"""The tables of docs/small_data.md, from the record alone."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .cells import QUANTIZERS, REVIVALS, TEACHERS, Cell, rule_codes
from .record import Result

BEGIN, END = '<!-- small data -->', '<!-- end of small data -->'
CELL = ('photos', 'K', 'revival', 'teacher', 'quantizer', 'seeds')
CODES_HEADER = (
    *CELL,
    'used',
    'perplexity',
    'told',
    'purity',
    'held-out loss (training)',
    'changed',
)
PROBE_HEADER = (
    *CELL,
    '[CLS]',
    'mean of patches',
    'other things, [CLS]',
    'other things, mean',
)
TRAINING_LOSS = 'reconstruction_train'
PROBES = (
    'five_labels_cls',
    'five_labels_avg',
    'five_labels_other_things_cls',
    'five_labels_other_things_avg',
)


def tables(results: Sequence[Result]) -> str:
    """Markdown: tokenizers, then probes of backbones, then where they were measured.

    A row is a cell of all its seeds: their mean ± standard deviation, where there are several.
    """
    tokenizers = _rows(r for r in results if r.cell.stage == 'tokenizer')
    backbones = _rows(r for r in results if r.cell.stage != 'tokenizer')
    if not results:
        return 'Nothing has been measured yet.'
    return '\n\n'.join(
        [
            _markdown(CODES_HEADER, map(_codes_row, tokenizers)),
            _markdown(PROBE_HEADER, map(_probe_row, backbones)),
            origin(results),
        ]
    )


def origin(results: Sequence[Result]) -> str:
    """A sentence on the runs: how many, when, where, with what."""
    dates = sorted(result.date for result in results)
    # A single day once.
    days = ' to '.join(dict.fromkeys([dates[0], dates[-1]]))
    commits = dict.fromkeys(result.commit[:10] for result in results)
    changed = sorted({name for result in results for name in result.changed})
    text = (
        f'{len(results)} cells, {days}, on '
        f'{_all(r.machine for r in results)}, {_all(r.precision for r in results)}, torch '
        f'{_all(r.torch for r in results)}, commits {", ".join(commits)}; '
        f'{sum(r.cpu_seconds for r in results) / 3600:.1f} hours of one core'
    )
    return f'{text}; changed files: {", ".join(changed)}.' if changed else f'{text}.'


def _codes_shown(cell: Cell) -> str:
    """K, in bold where it is the rule's."""
    is_rule = cell.num_codes == rule_codes(cell.photos)
    return f'**{cell.num_codes}**' if is_rule else str(cell.num_codes)


def _rows(results: Iterable[Result]) -> list[list[Result]]:
    """The results of a cell, all seeds together, in the table's order."""
    rows: dict[Cell, list[Result]] = {}
    for result in results:
        rows.setdefault(replace(result.cell, seed=0), []).append(result)
    order = [list(REVIVALS), list(TEACHERS), list(QUANTIZERS)]

    def key(cell: Cell) -> tuple[int, ...]:
        kinds = zip(order, (cell.revival, cell.teacher, cell.quantizer))
        revival, teacher, quantizer = (names.index(name) for names, name in kinds)
        return cell.photos, teacher, quantizer, cell.num_codes, revival

    return [rows[cell] for cell in sorted(rows, key=key)]


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _start(row: Sequence[Result]) -> list[str]:
    cell, seeds = row[0].cell, str(len(row))
    if cell.stage == 'untrained':
        return ['untrained', *['–'] * 4, seeds]
    return [
        f'{cell.photos:,}',
        _codes_shown(cell),
        REVIVALS[cell.revival] if cell.quantizer == 'ema' else '–',
        TEACHERS[cell.teacher],
        QUANTIZERS[cell.quantizer],
        seeds,
    ]


def _codes_row(row: Sequence[Result]) -> list[str]:
    held_out, training = (_mean(row, name, '.3f') for name in ('reconstruction', TRAINING_LOSS))
    return [
        *_start(row),
        _percent(row, 'usage'),
        _mean(row, 'perplexity', '.0f'),
        _percent(row, 'told'),
        _percent(row, 'purity'),
        f'{held_out} ({training})',
        _percent(row, 'changed'),
    ]


def _probe_row(row: Sequence[Result]) -> list[str]:
    return [*_start(row), *(_percent(row, name) for name in PROBES)]


def _percent(row: Sequence[Result], name: str) -> str:
    return f'{_mean(row, name, ".1f", scale=100)} %'


def _mean(row: Sequence[Result], name: str, digits: str, scale: float = 1) -> str:
    """The seeds' mean, and their standard deviation where there are several."""
    values = [scale * result.figures[name] for result in row]
    mean = format(statistics.fmean(values), digits)
    if len(values) == 1:
        return mean
    return f'{mean} ± {format(statistics.stdev(values), digits)}'


def _all(values: Iterable[str]) -> str:
    return ' and '.join(dict.fromkeys(values))
