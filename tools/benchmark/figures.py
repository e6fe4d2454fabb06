"""The few figures that a row of the table is about, as one line, from what its script has written.

A script says itself what they are, under ``key_figures``, or has written what others write too.
"""

import statistics
from collections.abc import Iterator, Mapping

OURS = 'ours'


def key_figures(result: Mapping) -> str:
    """One line.

    Args:
        result: JSON that a script of this folder has written.
    """
    if 'key_figures' in result:
        return result['key_figures']
    return '; '.join(_found(result))


def _found(result: Mapping) -> Iterator[str]:
    for name, comparison in result.get('results', {}).items():
        yield f'{name}: {_comparison(comparison)}'
    for name, rate in result.get('rates', {}).items():
        yield f'{name} {rate["median"]:,.0f}'
    for name, step in result.get('steps', {}).items():
        yield f'{name} at {step["share"]["median"]:.0%} of the rate'
    for name in ('side', 'codes', 'processes'):
        yield from _growth(name, result.get(name, {}))
    for name, counts in result.items():
        if isinstance(counts, Mapping) and 'flops' in counts:
            yield _counts(name, counts)


def _comparison(comparison: Mapping) -> str:
    """Images a second of ours, and how many times faster than each peer."""
    rate = comparison['batch'] / statistics.median(comparison['turns'][OURS])
    peers = [f'{r["median"]:.2f} times {peer}' for peer, r in comparison['speedup'].items()]
    return ', '.join([f'{rate:,.4g} images/s', *(peers or ['no peer'])])


def _growth(name: str, series: Mapping) -> Iterator[str]:
    """Time of the last of a series over that of the first."""
    if name == 'processes':
        for step, runs in series.items():
            yield from _growth(f'{step}, processes', runs)
    elif len(series) > 1:
        first, *_, last = series
        ratio = series[last]['seconds'] / series[first]['seconds']
        yield f'{name} {first} to {last}: {ratio:.3g} times the time'


def _counts(name: str, counts: Mapping) -> str:
    line = f'{name}: {counts["flops"] / counts["batch"] / 1e9:.1f} GFLOP/image'
    if counts['host_waits'] is not None:
        line += f', {counts["kernel_launches"]} kernels, {counts["host_waits"]} waits'
    return line
