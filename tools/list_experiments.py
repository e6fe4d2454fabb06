"""Print every experiment: config, tables of the paper, published result, our result.

    python tools/list_experiments.py [WORD] [--update docs/experiments.md]

Read from the docstrings of the configs: ``Recipe:`` is the table of the paper that has the settings
(8 to 11), ``Results:`` the one that has the number (1 to 7), ``Published:`` the number with the
source it was read in, ``Measured:`` ours. ``Time:``, ``Memory:`` and ``Final loss:`` are for
whoever is about to start the run; the page leaves them to the configs.
"""

import argparse
import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mmbeitv2.errors import InputError
from mmbeitv2.launch.user_errors import one_line_errors

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
FIELDS = ('Recipe', 'Results', 'Published', 'Measured', 'Time', 'Memory', 'Final loss')
BEGIN, END = '<!-- experiments -->', '<!-- end of experiments -->'


class Experiment(NamedTuple):
    """One row; texts are on one line, and empty where the docstring has no such paragraph."""

    config: str
    recipe: str
    results: str
    published: str
    measured: str
    time: str
    memory: str
    final_loss: str


def experiments(configs: Path = CONFIGS) -> Iterator[Experiment]:
    """Yield a row for each config that can be started, in the order of their paths.

    Args:
        configs: folder of configs; those below ``_base_``, ``demo`` and ``example`` are left
            out.

    Raises:
        ValueError: a config without a docstring.
    """
    for path in sorted(configs.rglob('*.py'), key=lambda p: (p.parent, p.name)):
        relative = path.relative_to(configs)
        if relative.parts[0] in ('_base_', 'demo', 'example'):
            continue
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))
        if docstring is None:
            raise InputError(f'{path} has no docstring: say what it is and what to expect.')
        yield Experiment(str(relative), *(_field(docstring, name) for name in FIELDS))


def _field(docstring: str, name: str) -> str:
    """Text after ``name:``, up to an empty line or the next field."""
    stop = '|'.join(f'{other}:' for other in FIELDS)
    found = re.search(rf'\b{name}: (.+?)(?=\n\n|\n(?:{stop})|\Z)', docstring, re.DOTALL)
    return ' '.join(found[1].split()).rstrip('.') if found else ''


def table(rows: Sequence[Experiment]) -> str:
    """The rows as a Markdown table."""
    lines = [
        '| config | recipe | results | published | measured here |',
        '| --- | --- | --- | --- | --- |',
    ]
    for row in rows:
        values = (
            f'`{row.config}`',
            row.recipe or '–',
            row.results or '–',
            row.published or '–',
            row.measured or 'none yet',
        )
        lines.append(f'| {" | ".join(values)} |')
    return '\n'.join(lines)


def update(page: Path, content: str, begin: str = BEGIN, end: str = END) -> None:
    """Replace what stands between the two markers of a Markdown page.

    Raises:
        ValueError: the page lacks the markers.
    """
    text = page.read_text(encoding='utf-8')
    if begin not in text or end not in text:
        raise InputError(f'{page} has no place for the table: add the lines {begin} and {end}.')
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    page.write_text(f'{before}{begin}\n{content}\n{end}{after}', encoding='utf-8')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Print every experiment of the configs')
    parser.add_argument('word', nargs='?', default='', help='only configs whose path has this word')
    parser.add_argument('--update', type=Path, metavar='PAGE.md', help='write into this page')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    rows = [row for row in experiments() if args.word in row.config]
    if args.update is None:
        print(table(rows))
    else:
        update(args.update, table(rows))


if __name__ == '__main__':
    with one_line_errors():
        main()
