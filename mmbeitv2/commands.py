"""The command ``mmbeitv2`` forwards to the tools, of a checkout or of an installed wheel.

A tool's name is its file's, with dashes, and its line in the help the first of its docstring. So a
new tool is a command at once. Nothing of the tools is imported: they are parsed.
"""

import argparse
import ast
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmbeitv2.errors import InputError, UserError
from mmbeitv2.version import __version__

PACKAGE = Path(__file__).resolve().parent
# What launchers and CI start, and no user.
INTERNAL = ('torchrun', 'import-or-cure')
LAUNCHERS = ('dist_*.sh', 'slurm_*.sh')
# They read or write demo/, tests/ or docs/, which no wheel holds.
OF_CHECKOUT = (
    'demo-ablations',
    'draw-architecture',
    'example-fashion-mnist',
    'example-report',
    'golden-losses',
    'make-demo-data',
    'quickstart',
    'quickstart-report',
    'quickstart-table',
    'run-documented-commands',
    'small-data',
)
# How a tool's first line says its own call, which is another one here.
OWN_CALL = re.compile(r':\s*(``|tools/).*|[.:]$')


def tools_folder(package: Path = PACKAGE) -> Path:
    """Where the tools lie: ``.mim/tools`` of a wheel, ``tools`` beside the package of a checkout.

    Args:
        package: folder of the installed package.
    """
    shipped = package / '.mim' / 'tools'
    return shipped if shipped.is_dir() else package.parent / 'tools'


def find_commands(folder: Path) -> dict[str, Path]:
    """Files of the tools by the command's name, in order.

    Args:
        folder: of the tools.
    """
    scripts = [path for path in folder.glob('*.py') if _is_program(path)]
    scripts += [path for pattern in LAUNCHERS for path in folder.glob(pattern)]
    names = {path.stem.replace('_', '-'): path for path in sorted(scripts)}
    return {name: path for name, path in names.items() if name not in INTERNAL}


def offered(commands: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """Those that can do their work here.

    Args:
        commands: from :func:`find_commands`.
        folder: of the tools.
    """
    if (folder.parent / 'demo').is_dir():
        return dict(commands)
    return {name: path for name, path in commands.items() if name not in OF_CHECKOUT}


def first_line(path: Path) -> str:
    """What a tool does, in a line: from its docstring, or its first comment below ``#!``."""
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.py':
        said = ast.get_docstring(ast.parse(text)) or ''
    else:
        said = '\n'.join(line.lstrip('# ') for line in text.splitlines()[1:])
    return OWN_CALL.sub('', said.partition('\n')[0])


def choose(name: str, folder: Path) -> Path:
    """The tool of a command.

    Args:
        name: the command's, or a beginning of it that no other has.
        folder: of the tools.

    Raises:
        ValueError: no such command, several that begin so, or one that needs a checkout.
    """
    every = find_commands(folder)
    here = offered(every, folder)
    if name in here:
        return here[name]
    if name in every:
        raise InputError(
            f'the command {name!r} reads folders of the repository that an installed package does '
            'not have: run it in a checkout'
        )
    beginning = [known for known in here if name and known.startswith(name)]
    if len(beginning) == 1:
        return here[beginning[0]]
    what = 'ambiguous command' if beginning else 'unknown command'
    raise InputError(f'{what} {name!r}, allowed: {", ".join(beginning or here)}')


def environment(folder: Path) -> dict[str, str]:
    """The environment in which a tool finds this package and this Python.

    Args:
        folder: of the tools.
    """
    variables = dict(os.environ)
    # The launchers start `python`, whose environment need not be the active one.
    _put_first(variables, 'PATH', Path(sys.executable).parent)
    if folder.parent == PACKAGE.parent:
        # A tool's own folder comes first on its path, not the checkout's.
        _put_first(variables, 'PYTHONPATH', PACKAGE.parent)
    return variables


def main(argv: Sequence[str] | None = None) -> None:
    """Become the tool that the command line names: its exit code, signals and output are its own.

    Args:
        argv: arguments; those of the process by default.

    Raises:
        SystemExit: 0 after the help; 2 without a known command.
    """
    folder = tools_folder()
    parser = _parser(offered(find_commands(folder), folder))
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    try:
        tool = choose(args.command, folder)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        raise SystemExit(2) from None
    program = sys.executable if tool.suffix == '.py' else 'bash'
    os.execvpe(program, [program, str(tool), *args.arguments], environment(folder))


def _parser(commands: Mapping[str, Path]) -> argparse.ArgumentParser:
    width = max(map(len, commands))
    lines = [f'  {name:<{width}}  {first_line(path)}' for name, path in commands.items()]
    parser = argparse.ArgumentParser(
        prog='mmbeitv2',
        description='BEiT v2 for OpenMMLab.',
        epilog='\n'.join(
            [
                'commands:',
                *lines,
                '',
                'A beginning that no other command has is enough. `mmbeitv2 COMMAND --help` says '
                'what one takes.',
                "A config is a path, or 'mmbeitv2::NAME.py' of this package: `mmbeitv2 "
                'list-experiments` prints them.',
            ]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'mmbeitv2 {__version__}')
    parser.add_argument('command', nargs='?', metavar='COMMAND', help='one of those below')
    parser.add_argument('arguments', nargs=argparse.REMAINDER, metavar='...', help='of the command')
    return parser


def _is_program(path: Path) -> bool:
    return "if __name__ == '__main__':" in path.read_text(encoding='utf-8')


def _put_first(variables: dict[str, str], name: str, folder: Path) -> None:
    rest = variables.get(name)
    variables[name] = f'{folder}{os.pathsep}{rest}' if rest else str(folder)
