"""Run every command that the documentation names: ``python tools/run_documented_commands.py``.

Blocks of README, CONTRIBUTING and docs, and with ``--configs`` the commands of the configs'
docstrings, one after the other in a scratch copy of the repository with the demo photos. Paper
runs are cut to one step of their real model, hours are left out, and what needs a network, a
cluster or other data is listed with the reason (``tools/documented/plans.py`` has the rules). The
table goes to ``FOLDER/commands.md`` and ``commands.json``; exit code 1 if a command fails.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from documented.checks import ROOT
from documented.pages import SHELL, all_blocks, commands, docstring_commands
from documented.running import Limits, Result, describe, failed, run_command, run_python
from documented.scratch import make_scratch

from mmbeitv2.errors import InputError, MissingFileError
from mmbeitv2.launch.user_errors import one_line_errors

HEAD = '| command | where | how | s | exit | last line of the error |\n' + '| --- ' * 6 + '|\n'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Run every documented command in a scratch copy')
    parser.add_argument('pages', nargs='*', help='only these, as in docs/own_data.md')
    parser.add_argument('--configs', action='store_true', help="the configs' docstrings, too")
    parser.add_argument('--only', default='', metavar='TEXT', help='commands that hold this text')
    parser.add_argument('--limit', type=float, default=180, help='seconds for each command')
    parser.add_argument('--long', action='store_true', help='those that take longer, too')
    parser.add_argument(
        '--demo', type=Path, default=Path('data/demo'), help='composed demo photos, only read'
    )
    parser.add_argument(
        '--quickstart',
        type=Path,
        help="folder of a finished quick start, only read (default: its models' random weights)",
    )
    parser.add_argument('--out', type=Path, default=Path('work_dirs/documented_commands'))
    return parser.parse_args(argv)


def results(args: argparse.Namespace, scratch: Path) -> Iterator[Result]:
    """Try everything that is asked for, page by page.

    Args:
        args: of the command line.
        scratch: the copy.
    """
    limits = Limits(args.limit, args.long)
    blocks = [block for block in all_blocks(ROOT) if not args.pages or block.page in args.pages]
    for page in dict.fromkeys(block.page for block in blocks):
        of_page = [block for block in blocks if block.page == page]
        for block in of_page:
            if block.language in SHELL:
                for command in commands(block):
                    if args.only in command.text:
                        yield run_command(command, scratch, limits)
        python = [b for b in of_page if b.language == 'python' and args.only in b.text]
        yield from run_python(python, scratch, args.limit)
    if args.configs:
        for command in docstring_commands(ROOT):
            if args.only in command.text and (not args.pages or command.page in args.pages):
                yield run_command(command, scratch, limits)


def table(found: Sequence[Result]) -> str:
    """The results as a table of Markdown."""
    rows = []
    for result in found:
        how = f'{result.how}: {result.note}' if result.note else result.how
        tried = result.code is not None
        cells = (
            f'`{result.command}`',
            result.place,
            how,
            f'{result.seconds:.0f}' if tried else '',
            str(result.code) if tried else '',
            result.error,
        )
        rows.append('| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |\n')
    return HEAD + ''.join(rows)


def check(args: argparse.Namespace) -> None:
    """Refuse what nothing can be run with.

    Raises:
        UserError: no demo photos, no finished quick start there, or an unknown page.
    """
    if not (args.demo / 'demo_data.json').is_file():
        raise MissingFileError(
            f'there are no demo photos in {args.demo}: run python tools/make_demo_data.py'
        )
    quickstart = args.quickstart
    if quickstart and not (quickstart / 'seed0/pretrain/last_checkpoint').is_file():
        raise MissingFileError(
            f'there is no finished quick start in {quickstart}: run bash tools/quickstart.sh'
        )
    known = {block.page for block in all_blocks(ROOT)}
    known |= {command.page for command in docstring_commands(ROOT)}
    if unknown := [page for page in args.pages if page not in known]:
        raise InputError(f'{unknown[0]} has no command; pages: {", ".join(sorted(known))}')


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    check(args)
    args.out.mkdir(parents=True, exist_ok=True)
    found = []
    with tempfile.TemporaryDirectory(prefix='documented_') as folder:
        scratch = make_scratch(Path(folder) / 'mmbeitv2', args.demo, args.quickstart)
        for result in results(args, scratch):
            found.append(result)
            print(table([result]).rpartition('\n| ')[2].strip(), flush=True)
            # After each, so that nothing is lost when it is stopped.
            (args.out / 'commands.md').write_text(table(found), encoding='utf-8')
            rows = [result._asdict() for result in found]
            (args.out / 'commands.json').write_text(json.dumps(rows, indent=1), encoding='utf-8')
    print(describe(found))
    if failed(found):
        sys.exit(1)


if __name__ == '__main__':
    with one_line_errors():
        main()
