"""The tables of docs/small_data.md, from the record alone."""

from collections.abc import Iterable, Sequence

from .cells import QUANTIZERS, REVIVALS, TEACHERS, rule_codes
from .record import Result

BEGIN, END = '<!-- small data -->', '<!-- end of small data -->'
CELL = ('photos', 'K', 'revival', 'teacher', 'quantizer', 'seed')
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
PROBES = (
    'five_labels_cls',
    'five_labels_avg',
    'five_labels_other_things_cls',
    'five_labels_other_things_avg',
)


def tables(results: Sequence[Result]) -> str:
    """Markdown: tokenizers, then probes of backbones, then where they were measured."""
    tokenizers = _sorted(r for r in results if r.cell.stage == 'tokenizer')
    backbones = _sorted(r for r in results if r.cell.stage != 'tokenizer')
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


def codes_shown(result: Result) -> str:
    """K, in bold where it is the rule's."""
    cell = result.cell
    return (
        f'**{cell.num_codes}**'
        if cell.num_codes == rule_codes(cell.photos)
        else str(cell.num_codes)
    )


def _sorted(results: Iterable[Result]) -> list[Result]:
    order = [list(REVIVALS), list(TEACHERS), list(QUANTIZERS)]

    def key(result: Result) -> tuple[int, ...]:
        cell = result.cell
        kinds = zip(order, (cell.revival, cell.teacher, cell.quantizer))
        revival, teacher, quantizer = (names.index(name) for names, name in kinds)
        return cell.photos, teacher, quantizer, cell.num_codes, revival, cell.seed

    return sorted(results, key=key)


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _start(result: Result) -> list[str]:
    cell = result.cell
    if cell.stage == 'untrained':
        return ['untrained', *['–'] * 4, str(cell.seed)]
    return [
        f'{cell.photos:,}',
        codes_shown(result),
        REVIVALS[cell.revival] if cell.quantizer == 'ema' else '–',
        TEACHERS[cell.teacher],
        QUANTIZERS[cell.quantizer],
        str(cell.seed),
    ]


def _codes_row(result: Result) -> list[str]:
    found = result.figures
    return [
        *_start(result),
        _percent(found['usage']),
        f'{found["perplexity"]:.0f}',
        _percent(found['told']),
        _percent(found['purity']),
        f'{found["reconstruction"]:.3f} ({found["reconstruction_train"]:.3f})',
        _percent(found['changed']),
    ]


def _probe_row(result: Result) -> list[str]:
    return [*_start(result), *(_percent(result.figures[name]) for name in PROBES)]


def _percent(value: float) -> str:
    return f'{100 * value:.1f} %'


def _all(values: Iterable[str]) -> str:
    return ' and '.join(dict.fromkeys(values))
