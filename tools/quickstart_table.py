"""What quick starts showed, as the tables of README.md and docs/demo.md.

    python tools/quickstart_table.py --add work_dirs/quickstart   # take its figures into the record
    python tools/quickstart_table.py --write                      # both tables, from the record

The record is docs/quickstart_results.json: a run for each precision, with machine, date and commit.
A run that is added takes the place of the one of its precision.
"""

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from list_experiments import update

from mmbeitv2.errors import InputError, MissingFileError
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.reports.quickstart import KNOWN, UNSEEN
from mmbeitv2.reports.summary import GAIN

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / 'docs/quickstart_results.json'
README, FULL = ROOT / 'README.md', ROOT / 'docs/demo.md'
BEGIN, END = '<!-- quick start -->', '<!-- end of quick start -->'
GROUPS = {KNOWN: 'known objects', UNSEEN: 'unseen objects'}
# What README has room for; docs/demo.md has all.
MAIN = (
    '5 labels a class, other photos of these cut-outs',
    '5 labels a class, photos of other cut-outs',
    'Linear probe, [CLS]',
    'Fine-tuning, top-1 accuracy',
    'Linear segmentation on frozen patches, mIoU',
    'Segmentation by UperNet, mIoU',
    'Masked codes, last layer',
    'Masked codes, last layer, beside copying',
)

# A run as the record has it, and one of its figures.
Run = Mapping[str, Any]
Figure = Mapping[str, Any]


def run_of(work_dir: Path) -> dict[str, Any]:
    """What a finished quick start says of itself.

    Args:
        work_dir: with ``results.json`` and the stages.

    Raises:
        FileNotFoundError: there is no report.
        ValueError: a stage has not run, or in another precision, or other code than a commit's made
            it.
    """
    report = work_dir / 'results.json'
    if not report.is_file():
        raise MissingFileError(
            f'no {report}: run `bash tools/quickstart.sh` first, to its report, or name its folder.'
        )
    results = json.loads(report.read_text(encoding='utf-8'))
    missing = [f['name'] for f in results['figures'] if not f['values']['per_seed']]
    if missing:
        raise InputError(
            f'{work_dir} lacks “{missing[0]}”, and {len(missing)} figures in all: only a whole '
            'quick start can be added. Run it without names of stages.'
        )
    made = results['made_with']
    if ' and ' in made['precision']:
        raise InputError(
            f'{work_dir} has stages trained in {made["precision"]}: run all of them in one, in '
            'another folder.'
        )
    starts = [json.loads(p.read_text()) for p in sorted(work_dir.glob('seed0/pretrain/*/run.json'))]
    code = starts[-1]['mmbeitv2']
    if code.get('changed') or 'commit' not in code:
        changed = ', '.join(line[3:] for line in code.get('changed', [])) or 'no commit is known'
        raise InputError(
            f'{work_dir} was made by changed code ({changed}): commit first and run it again, so '
            'that its figures can be repeated.'
        )
    return dict(
        precision=made['precision'],
        machine=made['machine'],
        date=made['date'][:10],
        commit=code['commit'],
        torch=starts[-1]['packages']['torch'],
        seeds=made['seeds'],
        figures=[_short(f) for f in results['figures'] if f['gain'] is not None],
    )


def _short(figure: Figure) -> dict[str, Any]:
    other = figure['baseline'] if figure['over_guess'] else figure['random']['mean']
    return dict(
        name=figure['name'],
        data=figure['data'],
        value=figure['values']['mean'],
        other=other,
        gain=figure['gain'],
        interval=figure['interval'],
        verdict=figure['verdict'],
    )


def read_record(path: Path = RECORD) -> list[Run]:
    """Runs of the record, bfloat16 first; none without the file."""
    return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else []


def with_run(runs: Sequence[Run], new: Run) -> list[Run]:
    """The record with a run, in the place of that of its precision."""
    others = [run for run in runs if run['precision'] != new['precision']]
    return sorted([*others, new], key=lambda run: run['precision'])


def table(runs: Sequence[Run], names: Sequence[str] = ()) -> str:
    """Markdown: a row for each figure, a column for each run, then where they were made.

    Args:
        runs: of the record.
        names: of the figures shown; empty for all.
    """
    if not runs:
        return 'No quick start has been recorded yet.'
    header = ['', '', *(run['precision'] for run in runs)]
    rows = [header, ['---'] * len(header), *_rows(runs, names)]
    lines = [f'| {" | ".join(row)} |' for row in rows]
    return '\n'.join([*lines, '', ' '.join(map(origin, runs))])


def _rows(runs: Sequence[Run], names: Sequence[str]) -> Iterator[list[str]]:
    found = [{(f['data'], f['name']): f for f in run['figures']} for run in runs]
    for data, group in GROUPS.items():
        keys = [key for key in dict.fromkeys(k for f in found for k in f) if key[0] == data]
        shown = [key for key in keys if not names or key[1] in names]
        for number, key in enumerate(shown):
            yield [group * (number == 0), key[1], *(_cell(figures.get(key)) for figures in found)]


def _cell(figure: Figure | None) -> str:
    """Value / what it is compared with, gain (interval); bold beyond it."""
    if figure is None:
        return '–'
    bold = '**' * (figure['verdict'] == GAIN)
    text = f'{100 * figure["value"]:.1f} / {100 * figure["other"]:.1f}'
    text += f', {bold}{100 * figure["gain"]:+.1f}{bold}'
    if figure['interval']:
        low, high = (100 * end for end in figure['interval'])
        text += f' ({low:+.1f} to {high:+.1f})'
    # A hyphen is hardly seen.
    return text.replace('-', '−')


def origin(run: Run) -> str:
    """A sentence on a run: where, when and with what."""
    return (
        f'{run["precision"]}: {run["machine"]}, {run["date"]}, torch {run["torch"]}, seed '
        f'{run["seeds"]}, commit {run["commit"][:10]}.'
    )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--add', type=Path, metavar='WORK_DIR', help='folder of a quick start')
    parser.add_argument('--record', type=Path, default=RECORD)
    parser.add_argument('--write', action='store_true', help='into README.md and docs/demo.md')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    runs = read_record(args.record)
    if args.add is not None:
        runs = with_run(runs, run_of(args.add))
        new = args.record.with_name(f'{args.record.name}.new')
        new.write_text(json.dumps(runs, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
        os.replace(new, args.record)
    if args.write:
        update(README, table(runs, MAIN), BEGIN, END)
        update(FULL, table(runs), BEGIN, END)
    else:
        print(table(runs))


if __name__ == '__main__':
    with one_line_errors():
        main()
