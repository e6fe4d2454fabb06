"""What is seen of a documented command without running it: files, options, names, configs."""

import argparse
import contextlib
import io
import re
import runpy
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from mmbeitv2.commands import choose
from mmbeitv2.errors import UserError
from mmbeitv2.launch.config import load_config

from .pages import (
    LANGUAGES,
    SHELL,
    Block,
    Command,
    all_blocks,
    commands,
    docstring_commands,
    inline_commands,
    pages,
)
from .python_blocks import check_python
from .shell import Simple, expand_choices, simple_commands

ROOT = Path(__file__).resolve().parents[2]
# Programs that are not the project's: their own manual is their check.
OTHERS = (
    'apt-get',
    'awk',
    'cd',
    'find',
    'git',
    'ln',
    'mim',
    'mkdir',
    'mypy',
    'pip',
    'pre-commit',
    'ruff',
)
OTHERS = (*OTHERS, 'python3.10', 'python3.11', 'python3.12', 'sort', 'source', 'srun', 'venv')
# What a launcher starts, and how many of its arguments before the tool's own it keeps.
LAUNCHERS = {
    'tools/dist_train.sh': ('tools/train.py', (0,), 2),
    'tools/dist_test.sh': ('tools/test.py', (0, 1), 3),
    'tools/slurm_train.sh': ('tools/train.py', (2,), 3),
    'tools/slurm_test.sh': ('tools/test.py', (2, 3), 4),
    'tools/quickstart.sh': ('tools/quickstart.py', (), 0),
    'tools/example_fashion_mnist.sh': ('tools/example_fashion_mnist.py', (), 0),
    'tools/benchmark/gpu.sh': ('tools/benchmark/gpu.py', (), 0),
    'tools/run_tests.sh': ('pytest', (), 0),
}
OWN_FOLDERS = re.compile(r'(mmbeitv2::|(configs|tools|tests|docs|demo|mmbeitv2)/)[\w./-]+\.\w+$')
# A file without a folder; what is in capitals stands for the reader's own.
WRITTEN = re.compile(
    r'--(?:out|json) ([a-z][\w.-]*\.\w+)(?![\w./])'
    r'|convert.checkpoint(?:\.py)? \S+ ([a-z][\w.-]*)(?![\w./])'
)
# Of the site's generator, as {toctree}.
DIRECTIVE = re.compile(r'\{[\w-]+\}')
SHELL_OPTION = re.compile(r'(?<![\w-])(--?[a-z][\w-]*)')
OPTION = re.compile(r"""['"](--?[a-z][\w-]*)['"]""")


def problems_of_block(block: Block) -> Iterator[str]:
    """Yield what is wrong with a block, each as ``PAGE:LINE: message``.

    Args:
        block: of any language.
    """
    if DIRECTIVE.match(block.language):
        return
    if block.language not in LANGUAGES:
        named = repr(block.language) if block.language else 'none'
        yield f'{block.place}: its language is {named}, allowed: {", ".join(LANGUAGES)}'
    elif block.language in SHELL:
        found = list(commands(block))
        if not found:
            yield f'{block.place}: a block of {block.language} without a command'
        for command in found:
            yield from problems_of_command(command)
            yield from _left_in_the_root(command)
    elif block.language == 'python':
        yield from check_python(block)


def all_problems(root: Path = ROOT) -> list[str]:
    """What is wrong with the documentation of a repository.

    Args:
        root: its folder; the tools and configs are those of this one.
    """
    found = [problem for block in all_blocks(root) for problem in problems_of_block(block)]
    named = [
        *(command for page in pages(root) for command in inline_commands(root, page)),
        *docstring_commands(root),
    ]
    return [*found, *(problem for command in named for problem in problems_of_command(command))]


def problems_of_command(command: Command) -> Iterator[str]:
    """Yield what is wrong with a command, each as ``PAGE:LINE: message``.

    Args:
        command: of a page or a docstring.
    """
    for text in expand_choices(command.text):
        try:
            parts = simple_commands(text)
        except ValueError as error:
            yield f'{command.place}: {text!r} is no command: {error}'
            continue
        for part in parts:
            for problem in [*_missing_files(part), *_refused(part)]:
                yield f'{command.place}: {problem}'


def _left_in_the_root(command: Command) -> Iterator[str]:
    """Files that a block's command would leave beside the README, where git sees them."""
    for found in WRITTEN.finditer(command.text):
        name = found[1] or found[2]
        yield f'{command.place}: {name} would lie in the repository: write it below work_dirs/'


def _missing_files(part: Simple) -> Iterator[str]:
    for word in (part.program, *part.arguments):
        if not OWN_FOLDERS.match(word):
            continue
        path = word.replace('mmbeitv2::', 'configs/')
        if not (ROOT / path.partition('::')[0]).exists():
            yield f'there is no {word}'


def _refused(part: Simple) -> Iterator[str]:
    """What the program's own reading of the command line says."""
    program, arguments = part
    if program == 'mmbeitv2' and arguments and not arguments[0].startswith('-'):
        try:
            tool = choose(arguments[0], ROOT / 'tools')
        except UserError as error:
            yield str(error)
            return
        program, arguments = str(tool.relative_to(ROOT)), arguments[1:]
    if program in LAUNCHERS:
        tool, kept, taken = LAUNCHERS[program]
        if len(arguments) < taken:
            yield f'{program} takes {taken} arguments or more, here are {len(arguments)}'
            return
        program, arguments = tool, [*(arguments[i] for i in kept), *arguments[taken:]]
    if Path(program).name in (*OTHERS, 'mmbeitv2', 'pytest'):
        return
    if not (ROOT / program).is_file() or not program.startswith('tools/'):
        yield f'unknown program {program!r}: name it in tools/documented/checks.py'
    elif program.startswith('tools/benchmark/') or program.endswith('.sh'):
        yield from _unknown_options(program, arguments)
    else:
        yield from _parsed(program, arguments)


def _parsed(program: str, arguments: Sequence[str]) -> Iterator[str]:
    """Have the tool's ``parse_args`` read the arguments, then its config the options."""
    if {'--help', '-h'} & set(arguments):
        return
    try:
        args = _parse(program, arguments)
    except _RefusedError as error:
        yield str(error)
        return
    options = getattr(args, 'cfg_options', None)
    if options and OWN_FOLDERS.match(args.config):
        try:
            load_config(ROOT / args.config, options)
        except UserError as error:
            yield f'{args.config}: {error}'


class _RefusedError(Exception):
    """A parser did not take its arguments."""


def _parse(program: str, arguments: Sequence[str]) -> argparse.Namespace:
    parse_args = _namespace(program).get('parse_args')
    if parse_args is None:
        raise _RefusedError(f'{program} has no parse_args() that could be asked')
    # Some read it themselves.
    before, sys.argv = sys.argv, [program, *arguments]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return parse_args()
    except SystemExit:
        raise _RefusedError(errors.getvalue().strip().rpartition('\n')[2]) from None
    finally:
        sys.argv = before


@cache
def _namespace(program: str) -> dict:
    # Where Python looks first when the tool is run.
    sys.path.insert(0, str((ROOT / program).parent))
    try:
        return runpy.run_path(str(ROOT / program))
    finally:
        sys.path.pop(0)


def _unknown_options(program: str, arguments: Sequence[str]) -> Iterator[str]:
    """Options that no file of a benchmark's declares; importing peers would take too long."""
    known = {'--help', '-h'}
    folder = (ROOT / program).parent
    waiting, seen = [ROOT / program], set()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        text = path.read_text(encoding='utf-8')
        known |= set((SHELL_OPTION if path.suffix == '.sh' else OPTION).findall(text))
        imported = re.findall(r'^(?:from|import) (\w+)', text, re.M)
        waiting += [folder / f'{name}.py' for name in imported]
    for word in arguments:
        option = word.partition('=')[0]
        if re.match(r'--?[a-z]', option) and option not in known:
            yield f'{program} has no option {option}'
