"""Run what the plans say in the scratch copy, one after the other, and note what happened."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .pages import Block, Command
from .plans import Plan, plan
from .python_blocks import config_problems, is_config
from .recipes import random_checkpoint

LATER = 'not run today'


class Result(NamedTuple):
    """What became of a command or a block of Python."""

    command: str
    place: str
    how: str
    note: str = ''
    seconds: float = 0.0
    code: int | None = None
    error: str = ''


class Limits(NamedTuple):
    """What is run: seconds for each, and whether those known to take longer are tried."""

    seconds: float = 180.0
    long: bool = False


def environment(scratch: Path, line: str) -> dict[str, str]:
    """The variables of a command: this Python, the copy's package, no network, no GPU."""
    return {
        **os.environ,
        'PATH': f'{scratch / ".venv/bin"}{os.pathsep}{os.environ["PATH"]}',
        'PYTHONPATH': f'{scratch}{os.pathsep}{scratch / "tools"}',
        'CUDA_VISIBLE_DEVICES': '',
        'HF_HUB_OFFLINE': '1',
        'PIP_NO_INDEX': '1',
        # Whatever a script would install: the environment is not the copy's own. The tests
        # install into folders of their own.
        **({} if ' pytest ' in line else {'PIP_DRY_RUN': '1'}),
    }


def run_line(line: str, scratch: Path, seconds: float) -> tuple[int, str]:
    """Run one line of a shell in the copy.

    Args:
        line: as bash reads it.
        scratch: the copy.
        seconds: after which all that it started is killed.

    Returns:
        the exit code, 124 past the limit, and the error's line or the last of the output.
    """
    process = subprocess.Popen(
        ['bash', '-c', f'set -eo pipefail; {line}'],
        cwd=scratch,
        env=environment(scratch, line),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return 124, f'not done after {seconds:g} s'
    return process.returncode, _what_it_said(output)


def _what_it_said(output: str) -> str:
    """The tools' own line of an error, which torchrun follows by its own; else the last line."""
    lines = [row.strip() for row in output.splitlines() if row.strip()]
    said = [row for row in lines if row.startswith('error: ')]
    return (said or lines or [''])[-1]


def run_command(command: Command, scratch: Path, limits: Limits) -> Result:
    """Try one command as its plan says.

    Args:
        command: of a page or a docstring.
        scratch: the copy.
        limits: what is tried.
    """
    planned = plan(command)
    if not planned.lines:
        return Result(command.text, command.place, planned.how, planned.note)
    if 60 * planned.minutes > limits.seconds and not limits.long:
        known = 'hours' if planned.minutes == float('inf') else f'{planned.minutes:g} minutes'
        return Result(command.text, command.place, LATER, f'takes {known} on two cores')
    if planned.config:
        code, error = run_line(_weights(command, planned), scratch, limits.seconds)
        if code:
            return Result(command.text, command.place, planned.how, planned.note, 0.0, code, error)
    start = time.monotonic()
    code, last = 0, ''
    for line in planned.lines:
        code, last = run_line(line, scratch, limits.seconds if not limits.long else 86400.0)
        if code:
            break
    seconds = time.monotonic() - start
    error = last if code else ''
    return Result(command.text, command.place, planned.how, planned.note, seconds, code, error)


def _weights(command: Command, planned: Plan) -> str:
    wanted = random_checkpoint(planned.config) if ' CHECKPOINT' in command.text else ''
    return f'python -W ignore -m documented.random_weights {planned.config} {wanted}'


def run_python(blocks: Sequence[Block], scratch: Path, seconds: float) -> list[Result]:
    """Try the blocks of Python of a page: configs are read and checked, the others run together.

    Args:
        blocks: the page's blocks of Python.
        scratch: the copy.
        seconds: for the program of the page.
    """
    results, programs = [], []
    for block in blocks:
        if block.needs:
            note = f'needs {block.needs}'
            results.append(Result(_first_line(block), block.place, 'cannot run here', note))
        elif is_config(block):
            results.append(_checked(block, scratch))
        else:
            programs.append(block)
    if programs:
        results += _run_programs(programs, scratch, seconds)
    return sorted(results, key=lambda result: int(result.place.rpartition(':')[2]))


def _first_line(block: Block) -> str:
    """What a block is known by: its first line, and how many follow."""
    lines = block.text.strip().splitlines()
    return lines[0] if len(lines) == 1 else f'{lines[0]} … ({len(lines)} lines)'


def _checked(block: Block, scratch: Path) -> Result:
    """Read a config; a block whose first line is a comment of a path is written there."""
    start = time.monotonic()
    first = block.text.partition('\n')[0]
    if first.startswith('# configs/'):
        (scratch / first.removeprefix('# ')).write_text(block.text, encoding='utf-8')
    problems = config_problems(block)
    seconds = time.monotonic() - start
    note = 'read as a config, its parts checked'
    error = problems[0] if problems else ''
    place = block.place
    return Result(_first_line(block), place, 'shortened', note, seconds, int(bool(error)), error)


def _run_programs(blocks: Sequence[Block], scratch: Path, seconds: float) -> Iterator[Result]:
    source, target = scratch / 'blocks.json', scratch / 'results.json'
    source.write_text(json.dumps([block._asdict() for block in blocks]), encoding='utf-8')
    target.unlink(missing_ok=True)
    line = 'python -W ignore -m documented.programs blocks.json results.json'
    code, last = run_line(line, scratch, seconds)
    if not target.is_file():
        for block in blocks:
            yield Result(_first_line(block), block.place, 'as it stands', '', 0.0, code, last)
        return
    for block, outcome in zip(blocks, json.loads(target.read_text(encoding='utf-8')), strict=True):
        error = outcome['error']
        yield Result(
            _first_line(block),
            block.place,
            'as it stands',
            'with the files and images that the page speaks of',
            outcome['seconds'],
            int(bool(error)),
            error,
        )


def failed(results: Sequence[Result]) -> list[Result]:
    """Those that were tried and did not end well."""
    return [result for result in results if result.code]


def describe(results: Sequence[Result]) -> str:
    """How many became what, in one line."""
    ways = {}
    for result in results:
        ways[result.how] = ways.get(result.how, 0) + 1
    counted = ', '.join(f'{count} {how}' for how, count in ways.items())
    return f'{len(results)} commands: {counted}; {len(failed(results))} failed'
