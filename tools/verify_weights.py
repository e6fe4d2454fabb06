"""Ours beside the published: ``python tools/verify_weights.py --imagenet DIR --imagenet-a DIR``.

Evaluates the official classifiers by the configs of this project on each data set whose folder is
given, and prints top-1 beside what timm measured with the same weights. Photos are cut as timm does
(``crop_pct`` of its model), which is not the configs' own 256 pixels. Ends with exit code 1 where
a number differs by more than 0.3 points.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import timm

from mmbeitv2.checkpoints.catalogue import Published, catalogue, named
from mmbeitv2.engine.workers import end_workers
from mmbeitv2.errors import InputError
from mmbeitv2.launch import preflight
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.options import ConfigOptions
from mmbeitv2.launch.precision import add_precision_argument, set_evaluation_precision
from mmbeitv2.launch.runner import build_runner, load_weights
from mmbeitv2.launch.user_errors import one_line_errors

DATA = (
    *('imagenet', 'imagenet-real', 'imagenet-v2'),
    *('imagenet-a', 'imagenet-r', 'imagenet-sketch'),
)
# What timm's preprocessing and ours, rounding and hardware may make, in points of top-1.
TOLERANCE = 0.3
SIZE = 224


class Row(NamedTuple):
    """One result.

    Attributes:
        name: of the weights.
        data: one of ``DATA``.
        ours: top-1 in percent.
        published: the same, as timm lists it.
    """

    name: str
    data: str
    ours: float
    published: float

    @property
    def agrees(self) -> bool:
        """Whether the two are within ``TOLERANCE``."""
        return abs(self.ours - self.published) <= TOLERANCE


def measured_names() -> list[str]:
    """Names of the weights that others have measured, in the official layout."""
    return [name for name, entry in catalogue().items() if entry.measured and not entry.same_as]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = ', '.join(measured_names())
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'of weights (default: {known})')
    for data in DATA:
        parser.add_argument(f'--{data}', metavar='DIR', help=f'folder of {data}')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/verify_weights'))
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE', default={}
    )
    add_precision_argument(parser, 'the evaluation')
    return parser.parse_args(argv)


def config_of(entry: Published, data: str) -> str:
    """The config that evaluates weights on a data set.

    Args:
        entry: of a classifier.
        data: one of ``DATA``.
    """
    if data == 'imagenet':
        return f'mmbeitv2::{entry.config}'
    size = 'l' if '-l16-' in entry.name else 'b'
    return f'mmbeitv2::robustness/beitv2_vit-{size}16_{data}.py'


def resized_side(entry: Published) -> int:
    """Shorter side to which timm resizes before it takes the centre of 224 pixels."""
    (model,) = [
        e for e in catalogue().values() if e.same_as == entry.name and e.publisher == 'timm'
    ]
    cfg = timm.get_pretrained_cfg(model.addresses[0].rpartition('/')[2])
    return int(SIZE / cfg.crop_pct)


def measure(
    entry: Published,
    data: str,
    folder: str,
    work_dir: Path,
    options: Mapping[str, Any],
    precision: str | None = None,
) -> Row:
    """Top-1 of weights on a data set.

    Args:
        entry: of a classifier that ``measured`` says something of.
        data: one of ``DATA``.
        folder: where it lies, laid out as docs/experiments.md says.
        work_dir: for the log.
        options: values by dotted key, above the config's.
        precision: of the matrix products; the config's unless given.

    Raises:
        UserError: no data, or no weights.
    """
    cfg = load_config(config_of(entry, data), options)
    cfg.test_dataloader.dataset.data_root = folder
    cfg.test_dataloader.dataset.pipeline[0].short_side = resized_side(entry)
    cfg.load_from, cfg.launcher, cfg.work_dir = entry.name, 'none', str(work_dir)
    if precision is not None:
        set_evaluation_precision(cfg, precision)
    preflight.check(cfg, phases=('test',))
    # Loaded here instead, so that weights that do not fit are an error.
    cfg.load_from = None
    runner = build_runner(cfg)
    load_weights(runner, entry.name)
    return Row(entry.name, data, runner.test()['accuracy/top1'], entry.measured[data])


def table(rows: Sequence[Row]) -> str:
    """The results, a line each."""
    lines = [f'{"weights":<24} {"data":<16} {"ours":>7} {"timm":>7} {"difference":>10}']
    for row in rows:
        difference = f'{row.ours - row.published:+.3f}'
        note = '' if row.agrees else '  differs'
        lines.append(
            f'{row.name:<24} {row.data:<16} {row.ours:>7.3f} {row.published:>7.3f} '
            f'{difference:>10}{note}'
        )
    return '\n'.join(lines)


def run(args: argparse.Namespace) -> list[Row]:
    """Evaluate what the command line asks for.

    Raises:
        ValueError: no data set is given, or weights that nobody has measured.
    """
    entries = [named(name) for name in args.names or measured_names()]
    for entry in entries:
        if entry.name not in measured_names():
            raise InputError(
                f'nobody has measured {entry.name}, allowed: {", ".join(measured_names())}'
            )
    folders = {data: vars(args)[data.replace('-', '_')] for data in DATA}
    given = {data: folder for data, folder in folders.items() if folder is not None}
    if not given:
        raise InputError(f'no data are given: one or more of --{", --".join(DATA)}')
    return [
        measure(
            entry,
            data,
            folder,
            args.work_dir / entry.name / data,
            args.cfg_options,
            args.precision,
        )
        for entry in entries
        for data, folder in given.items()
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with one_line_errors():
        try:
            rows = run(args)
        finally:
            end_workers()
    print(table(rows))
    if not all(row.agrees for row in rows):
        sys.exit(f'error: some differ by more than {TOLERANCE} points')


if __name__ == '__main__':
    main()
