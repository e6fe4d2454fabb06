"""Run rows of a table one after the other, each a process with a time limit.

A row that fails or takes too long says why and the rest goes on. What was measured is written after
each row, and a row that succeeded before, by the same command and the same code, is not run again.
"""

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from figures import key_figures

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STAGES = {1: 'correctness', 2: 'the table', 3: 'profile'}
OK, FAILED, TIMED_OUT = 'ok', 'failed', 'timed out'
# Lines of a failed row's output that are shown.
LAST = 15


@dataclass(frozen=True)
class Row:
    """One process.

    Attributes:
        name: of the row and of its files.
        stage: a key of ``STAGES``.
        command: a script of this folder and its options; ``--json FILE`` is added. ``{folder}``
            stands for the folder of the results.
        limit: seconds after which the process and all that it started are killed.
    """

    name: str
    stage: int
    command: tuple[str, ...]
    limit: float


@dataclass
class Outcome:
    """What became of a row; ``result`` is what its script has written."""

    stage: int
    status: str
    seconds: float
    limit: float
    command: str
    code: str
    figures: str = ''
    result: object = None


def code_state(root: Path = ROOT) -> str:
    """Hash of all that a row runs: package, configs and tools, committed or not, in git or not."""
    digest = hashlib.sha256()
    for folder in ('mmbeitv2', 'configs', 'tools'):
        for path in sorted((root / folder).rglob('*.py')):
            digest.update(f'{path.relative_to(root)}\0'.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def run_rows(
    rows: Sequence[Row],
    folder: Path,
    again: bool = False,
    environment: Mapping[str, str] | None = None,
    say: Callable[[str], None] = print,
    state: Callable[[], str] = code_state,
    note: str = '',
) -> list[str]:
    """Run rows and write ``summary.json`` and ``summary.md`` into ``folder`` after each.

    Args:
        rows: in this order.
        folder: of the results; those of earlier calls stay, in rows that are not run now too.
        again: run rows that have succeeded before, too.
        environment: of the processes, over this one's.
        say: takes a line about each row.
        state: gives the state of the code, before each row anew, since somebody may change it
            meanwhile.
        note: a sentence for the top of the page.

    Returns:
        Names of the rows that failed or took too long.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = read_summary(folder)
    for number, row in enumerate(rows, 1):
        before, code = outcomes.get(row.name), state()
        where = f'[{number}/{len(rows)}] {row.name}'
        if not again and before and _same(before, row, code):
            say(f'{where}: ok before, {before.figures}')
            continue
        say(f'{where}: at most {row.limit:.0f} s …')
        outcomes[row.name] = outcome = run_row(row, folder, code, environment or {})
        write_summary(folder, outcomes, note)
        say(f'{where}: {outcome.status}, {outcome.seconds:.0f} s, {outcome.figures}')
        if outcome.status != OK:
            say(last_lines(folder / f'{row.name}.txt'))
    return [row.name for row in rows if outcomes[row.name].status != OK]


def _same(before: Outcome, row: Row, code: str) -> bool:
    return (before.status, before.command, before.code) == (OK, shlex.join(row.command), code)


def run_row(row: Row, folder: Path, code: str, environment: Mapping[str, str]) -> Outcome:
    """Run one row; its output goes to ``NAME.txt``, what it measures to ``NAME.json``."""
    written = folder / f'{row.name}.json'
    written.unlink(missing_ok=True)
    script, *options = (part.replace('{folder}', str(folder)) for part in row.command)
    command = [sys.executable, '-W', 'ignore', str(HERE / script), *options]
    begin = time.monotonic()
    status, ending = OK, ''
    with (folder / f'{row.name}.txt').open('w') as output:
        # A session of its own, so that the limit ends the processes that the row has started too.
        process = subprocess.Popen(
            [*command, '--json', str(written)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, 'PYTHONUNBUFFERED': '1', **environment},
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            if exit_code := process.wait(row.limit):
                status, ending = FAILED, f'exit code {exit_code}'
        except subprocess.TimeoutExpired:
            status, ending = TIMED_OUT, f'after {row.limit:.0f} s'
        finally:
            _end(process)
    result = _read(written)
    figures = ending
    if status == OK:
        try:
            figures = key_figures(result)
        except (AttributeError, KeyError, TypeError) as error:
            status, figures = FAILED, f'no figures in {written.name}: {error!r}'
    return Outcome(
        stage=row.stage,
        status=status,
        seconds=round(time.monotonic() - begin, 1),
        limit=row.limit,
        command=shlex.join(row.command),
        code=code,
        figures=figures,
        result=result,
    )


def _end(process: subprocess.Popen) -> None:
    """Kill whatever is left of a row."""
    # No such process: nothing is left of the session.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        # A row that was killed may have written none, or half of it.
        return None


def last_lines(path: Path) -> str:
    """The end of a row's output, indented."""
    lines = path.read_text(errors='replace').rstrip().splitlines()[-LAST:]
    return '\n'.join(f'    {line}' for line in lines)


def read_summary(folder: Path) -> dict[str, Outcome]:
    """Outcomes of earlier calls by the name of the row."""
    found = _read(folder / 'summary.json') or {}
    return {name: Outcome(**outcome) for name, outcome in found.get('rows', {}).items()}


def write_summary(folder: Path, outcomes: Mapping[str, Outcome], note: str) -> None:
    """Write the outcomes as JSON, which holds all that was measured, and as a page."""
    rows = {name: asdict(outcome) for name, outcome in outcomes.items()}
    text = json.dumps(dict(date=time.strftime('%Y-%m-%d'), note=note, rows=rows), indent=1)
    # In one step: a summary that is cut off would forget every row.
    for name, content in (('summary.json', text), ('summary.md', page(outcomes, note))):
        temporary = folder / f'{name}.new'
        temporary.write_text(content + '\n', encoding='utf-8')
        temporary.replace(folder / name)


def page(outcomes: Mapping[str, Outcome], note: str = '') -> str:
    """A table for each stage, and the machine that the last row has found."""
    results = [outcome.result for outcome in outcomes.values() if outcome.result]
    machines = [result['machine'] for result in results if 'machine' in result]
    facts = ', '.join(f'{key} {value}' for key, value in (machines or [{}])[-1].items())
    lines = ['# Benchmarks']
    for paragraph in filter(None, (note, facts)):
        lines += ['', paragraph]
    for stage, title in STAGES.items():
        rows = {name: outcome for name, outcome in outcomes.items() if outcome.stage == stage}
        if not rows:
            continue
        lines += ['', f'## Stage {stage}: {title}', '']
        lines += ['| row | status | seconds | figures | command |', '| --- ' * 5 + '|']
        for name, row in rows.items():
            figures = row.figures.replace('|', '\\|')
            command = f'`tools/benchmark/{row.command}`'
            lines.append(f'| {name} | {row.status} | {row.seconds:.0f} | {figures} | {command} |')
    return '\n'.join(lines)
