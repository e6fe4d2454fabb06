"""The table of the demo's ablations in docs/experiments.md, from their record alone."""

from collections.abc import Iterator

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from ablation_record import Record
from demo_claims import CLAIMS, FIRST, MEASURES, SMALLEST_DIFFERENCE, pairs_of, planned_pairs

from mmbeitv2.evaluation.paired import (
    Difference,
    deviation_of,
    paired_difference,
    power_of_pairs,
    verdict,
)

BEGIN, END = '<!-- demo ablations -->', '<!-- end of demo ablations -->'
HEADER = (
    'claim',
    'measured by',
    'as it is',
    'changed',
    'difference [95 %]',
    'pairs',
    f'power for {100 * SMALLEST_DIFFERENCE:g} points',
    'verdict',
)
NOTHING, NOT_RUN, RUNNING, TOO_FEW = '–', 'not run yet', 'running', 'too few pairs'


def table(record: Record) -> str:
    """Markdown: a row for each claim and measure, then where and when it was measured."""
    rows = [HEADER, ['---'] * len(HEADER), *_rows(record)]
    lines = [f'| {" | ".join(row)} |' for row in rows]
    return '\n'.join([*lines, '', origin(record)])


def _rows(record: Record) -> Iterator[list[str]]:
    for name, claim in CLAIMS.items():
        for number, measure in enumerate(claim.measures):
            # The text once: a claim's rows stand together.
            yield [
                claim.text if number == 0 else '',
                MEASURES[measure],
                *_cells(record, name, measure),
            ]


def _cells(record: Record, claim: str, measure: str) -> list[str]:
    pairs = pairs_of(record.figures, claim, measure)
    count, planned = len(pairs.base), planned_pairs(record.figures, claim, record.max_seeds)
    if count == 0:
        return [*[NOTHING] * 5, NOT_RUN]
    # No verdict before the planned number: whoever looks after every pair finds what is not there.
    final = count >= max(planned, FIRST)
    waiting = RUNNING if count < planned else TOO_FEW
    means = [f'{100 * sum(values) / count:.1f} %' for values in pairs]
    if count == 1:
        return [*means, NOTHING, f'1 of {planned}', NOTHING, waiting]
    found = paired_difference(*pairs)
    power = power_of_pairs(count, deviation_of(pairs.differences), SMALLEST_DIFFERENCE)
    return [
        *means,
        interval(found),
        str(count) if final else f'{count} of {planned}',
        f'{100 * power:.0f} %',
        f'**{verdict(found)}**' if final else waiting,
    ]


def interval(difference: Difference) -> str:
    """In points, as ``+1.2 [−0.3, 2.7]``."""
    mean, low, high = (100 * value for value in difference[:3])
    return f'{mean:+.1f} [{low:.1f}, {high:.1f}]'.replace('-', '−')


def origin(record: Record) -> str:
    """A sentence on the runs: how many, when, where, with what."""
    runs = record.runs
    if not runs:
        return 'No run has been made yet.'
    dates = sorted(run.date for run in runs)
    # A single day once.
    days = ' to '.join(dict.fromkeys([dates[0], dates[-1]]))
    commits = dict.fromkeys(c[:10] for run in runs for c in run.commits)
    known = [run.minutes for run in runs if run.minutes is not None]
    text = (
        f'{len(runs)} runs, {days}, on {_all(run.machine for run in runs)}, '
        f'{_all(run.precision for run in runs)}, torch {_all(run.torch for run in runs)}, commits '
        f'{", ".join(commits) or "unknown"}; {sum(known) / 60:.1f} hours'
    )
    if len(known) < len(runs):
        text += f', without the time of interrupted runs ({len(runs) - len(known)})'
    changed = sorted({name for run in runs for name in run.changed})
    return f'{text}; changed files: {", ".join(changed)}.' if changed else f'{text}.'


def _all(values: Iterator[str]) -> str:
    return ' and '.join(dict.fromkeys(values))
