"""Build the documentation site and check it, without a network.

    bash tools/build_docs.sh [FOLDER]

A warning of Sphinx is an error, and so is a link, a picture or an anchor that leads nowhere, or a
page that would load anything from another host. The folder is replaced when all of it is built.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from check_links import faults_of
from sphinx.cmd.build import main as build_with_sphinx

from mmbeitv2.errors import ExistingFileError
from mmbeitv2.launch.user_errors import one_line_errors

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'folder',
        type=Path,
        nargs='?',
        default=ROOT / 'work_dirs' / 'site',
        help='where the site is put (default: work_dirs/site)',
    )
    return parser.parse_args(argv)


def check_replaceable(folder: Path) -> None:
    """Raise an error unless a folder is absent, empty, or an earlier site.

    Raises:
        ExistingFileError: something else is there.
    """
    if folder.is_dir() and (folder / 'objects.inv').is_file():
        return
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ExistingFileError(
            f'{folder} is there and is no site of an earlier build, which alone is replaced: name '
            'another folder.'
        )


def build(folder: Path) -> int:
    """Build the site and put it into a folder; the exit status, 0 if nothing is wrong.

    Raises:
        ExistingFileError: the folder holds something else.
    """
    check_replaceable(folder)
    with tempfile.TemporaryDirectory() as scratch:
        site, doctrees = Path(scratch, 'site'), Path(scratch, 'doctrees')
        options = ['-q', '-W', '--keep-going', '-b', 'html', '-c', str(HERE), '-d', str(doctrees)]
        failed = build_with_sphinx([*options, str(ROOT), str(site)])
        faults = faults_of(site) if site.is_dir() else []
        print(*faults, sep='\n', end='\n' if faults else '', file=sys.stderr)
        if failed or faults:
            return 1
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(site, folder)
    print(f'{folder}/index.html: {len(list(folder.rglob("*.html")))} pages')
    return 0


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    status = build(parse_args(argv).folder.resolve())
    if status:
        sys.exit(status)


if __name__ == '__main__':
    main()
