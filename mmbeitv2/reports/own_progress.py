"""The page of a run on one's own photos while it goes on: it refreshes itself."""

import datetime
import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from mmbeitv2.checkpoints.atomic import write_atomically
from mmbeitv2.reports.html import STYLE

ASKED, PLAN, SPENT, PAGE = 'asked.json', 'plan.json', 'spent.json', 'report.html'
SECONDS_BETWEEN_REFRESHES = 15
# In this order; those without a folder yet are still to come.
STAGES = ('tokenizer', 'pretraining', 'few_shot', 'timm_log', 'transformers_log', 'report')
TITLES = dict(
    tokenizer='train the tokenizer',
    pretraining='pretrain',
    few_shot='ask about labelled photos',
    timm_log='export for timm',
    transformers_log='export for transformers',
    report='report',
)
BAR = """
.bar { background: #e9ecef; border-radius: 6px; height: 10px; min-width: 8rem; overflow: hidden; }
.bar i { display: block; height: 100%; background: #2563eb; }
pre { overflow-x: auto; font-size: .82rem; color: #52606d; margin: 0; white-space: pre-wrap; }
"""


class StageState(NamedTuple):
    """How far a stage is.

    Attributes:
        name: key of ``TITLES``.
        state: ``'done'``, ``'running'`` or ``'to come'``.
        planned: minutes; None where none are planned.
        spent: minutes so far.
    """

    name: str
    state: str
    planned: float | None
    spent: float


def stage_states(run: Path, running: str) -> Iterator[StageState]:
    """The stages of a run.

    Args:
        run: folder.
        running: name of the stage that runs.
    """
    plan = json.loads((run / PLAN).read_text())
    spent = _read(run / SPENT)
    order = STAGES.index(running)
    for number, name in enumerate(STAGES):
        stage = plan.get(name)
        if number < order and name not in spent:
            # Not part of this run: a tokenizer that was given, labels that were not.
            continue
        state = 'done' if number < order else 'running' if number == order else 'to come'
        yield StageState(name, state, minutes_of(stage), spent.get(name, 0.0) / 60)


def minutes_of(stage: Mapping[str, Any] | None) -> float | None:
    """Planned minutes of a stage, as ``plan.json`` has it."""
    return None if stage is None else stage['minutes']


def render_progress(run: Path, running: str) -> str:
    """The page.

    Args:
        run: folder.
        running: name of the stage that runs.
    """
    states = list(stage_states(run, running))
    now = datetime.datetime.now().astimezone().strftime('%Y-%m-%d %H:%M:%S %Z')
    rows = ''.join(_row(state) for state in states)
    title = f'BEiT v2 on {run.resolve().name}'
    pages = ''.join(_page_of(run, state) for state in states)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="refresh" content="{SECONDS_BETWEEN_REFRESHES}">\n'
        f'<title>{escape(title)}</title>\n<style>{STYLE}{BAR}</style>\n</head>\n<body>\n<main>\n'
        f'<h1>{escape(title)}</h1>\n<p class="verdict">This run goes on: '
        f'{escape(TITLES[running])}.</p>\n'
        f'<p class="lead">Written {escape(now)}; the page loads itself again every '
        f'{SECONDS_BETWEEN_REFRESHES} seconds, and the report takes its place at the end. A date '
        'that stands still says that the run was stopped: repeat its command to go on.</p>\n'
        '<section>\n<h2>How far it is</h2>\n<div class="scroll"><table>\n<thead><tr>'
        '<th scope="col">stage</th><th scope="col">state</th><th scope="col">planned</th>'
        f'<th scope="col">spent</th></tr></thead>\n<tbody>{rows}</tbody>\n</table></div>\n'
        f'</section>\n{pages}</main>\n</body>\n</html>\n'
    )


def write_progress(run: Path, running: str) -> None:
    """Write ``report.html`` of a run that goes on.

    Args:
        run: folder with ``plan.json``.
        running: name of the stage that runs.
    """
    write_atomically(run / PAGE, render_progress(run, running).encode())


def _row(state: StageState) -> str:
    bar = ''
    if state.state == 'running' and state.planned:
        share = min(1.0, state.spent / state.planned)
        bar = f'<div class="bar"><i style="width: {share:.0%}"></i></div>'
    planned = '–' if state.planned is None else f'{state.planned:.0f} min'
    spent = f'{state.spent:.1f} min' if state.spent else '–'
    return (
        f'<tr><td>{escape(TITLES[state.name])}{bar}</td>'
        f'<td data-label="state">{escape(state.state)}</td>'
        f'<td data-label="planned">{planned}</td><td data-label="spent">{spent}</td></tr>\n'
    )


def _page_of(run: Path, state: StageState) -> str:
    """The last lines of what runs."""
    log = run / state.name / 'log.txt'
    if state.state != 'running' or not log.is_file():
        return ''
    lines = log.read_text(errors='replace').splitlines()[-4:]
    text = escape('\n'.join(lines))
    return f'<section>\n<h2>What it says</h2>\n<pre>{text}</pre>\n</section>\n'


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}
