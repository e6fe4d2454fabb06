"""Published weights by name: ``python tools/weights.py [NAME] [--download]``.

Without NAME all of them, as a table: what they hold, size and place of those that lie on this
machine, the result published with them, and their licence. With NAME one of them, and the lines
that use it. A name stands wherever a checkpoint may; see docs/weights.md.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmbeitv2.checkpoints.catalogue import Published, catalogue, named
from mmbeitv2.checkpoints.published_files import (
    MIRROR,
    file_here,
    file_of,
    kept_in,
    recorded_hash,
)
from mmbeitv2.errors import InputError
from mmbeitv2.launch.user_errors import one_line_errors

BEGIN, END = '<!-- catalogue -->', '<!-- end of catalogue -->'
USES = {
    'tokenizer': (
        "load_tokenizer('{name}')                          # from mmbeitv2.apis import ...",
        'mmbeitv2 train CONFIG --cfg-options tokenizer_checkpoint={name}',
    ),
    'pretraining': (
        "load_pretrained('{name}')                         # from mmbeitv2.apis import ...",
        'mmbeitv2 train CONFIG --cfg-options model.backbone.init_cfg.checkpoint={name}',
        'mmbeitv2 embed {name} PHOTOS --out features.npz',
    ),
    'classifier': (
        'mmbeitv2 test mmbeitv2::{config} {name}',
        'mmbeitv2 classify {name} PHOTOS',
        'mmbeitv2 embed {name} PHOTOS --out features.npz',
        'mmbeitv2 convert-checkpoint {name} DST --to timm',
    ),
    'segmentation': (
        'mmbeitv2 test mmbeitv2::{config} {name}',
        'mmbeitv2 segment {name} PHOTOS --out FOLDER',
        'mmbeitv2 convert-checkpoint {name} DST --to mmbeitv2',
    ),
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('name', nargs='?', metavar='NAME', help='of published weights')
    parser.add_argument('--download', action='store_true', help='have the file of NAME here')
    parser.add_argument(
        '--update', type=Path, metavar='PAGE.md', help='write the catalogue into this page'
    )
    return parser.parse_args(argv)


def size_of(path: Path | None) -> str:
    """Size of a file in megabytes, ``–`` where it is not here."""
    return '–' if path is None else f'{path.stat().st_size / 1e6:.0f} MB'


def overview() -> str:
    """All weights, a line each, in columns."""
    rows = [('name', 'kind', 'published result', 'licence', 'size', 'on this machine')]
    for entry in catalogue().values():
        path = file_here(entry)
        rows.append(
            (
                entry.name,
                entry.kind,
                entry.published or '–',
                entry.licence,
                size_of(path),
                'no' if path is None else str(path),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ['  '.join(f'{c:<{w}}' for c, w in zip(row, widths)).rstrip() for row in rows]
    return '\n'.join(
        [
            *lines,
            '',
            f'Downloads are kept in {kept_in()}; {MIRROR} names a folder or address with the '
            'files.',
        ]
    )


def details(entry: Published) -> str:
    """One of them: all that is known, and the lines that use it."""
    path = file_here(entry)
    rows = {
        'kind': entry.kind,
        'published by': f'{entry.publisher}, licence {entry.licence}',
        'result': entry.published or 'none was published with it',
        'config': f'mmbeitv2::{entry.config}',
        'file': entry.file,
        'addresses': ', '.join(entry.addresses),
        'SHA-256': recorded_hash(entry)
        or (f'begins with {entry.hash_prefix}' if entry.hash_prefix else 'not published'),
        'here': 'no' if path is None else f'{path}, {size_of(path)}',
    }
    if entry.same_as:
        rows['same weights'] = entry.same_as
    if entry.measured:
        values = ', '.join(f'{name} {value:g}' for name, value in entry.measured.items())
        rows['measured'] = f'{values} (top-1, timm)'
    width = max(map(len, rows))
    lines = [f'{entry.name}: {entry.what}']
    lines += [f'  {name:<{width}}  {value}' for name, value in rows.items()]
    return '\n'.join([*lines, '', *uses(entry)])


def uses(entry: Published) -> list[str]:
    """Lines that use published weights."""
    return [line.format(name=entry.name, config=entry.config) for line in USES[entry.kind]]


def markdown() -> str:
    """The catalogue as a table of a page."""
    lines = ['| name | what | published | by | licence |', '| --- | --- | --- | --- | --- |']
    for entry in catalogue().values():
        lines.append(
            f'| `{entry.name}` | {entry.what} | {entry.published or "–"} | {entry.publisher} | '
            f'{entry.licence} |'
        )
    return '\n'.join(lines)


def run(args: argparse.Namespace) -> None:
    """Print or download."""
    if args.update is not None:
        # Its neighbour, which the tests run from elsewhere.
        from list_experiments import update

        update(args.update, markdown(), BEGIN, END)
        return
    if args.name is None:
        if args.download:
            raise InputError('--download needs a NAME: choose one of `mmbeitv2 weights`')
        print(overview())
        return
    entry = named(args.name)
    if args.download:
        file_of(entry)
    print(details(entry))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    with one_line_errors():
        run(parse_args(argv))


if __name__ == '__main__':
    main()
