"""The page of a run on one's own photos while it goes on: it refreshes itself."""

import datetime
import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from mmbeitv2.checkpoints.atomic import write_atomically
from mmbeitv2.evaluation.learning_record import read_learning
from mmbeitv2.reports.html import STYLE
from mmbeitv2.reports.learning_page import OWN_STYLE, learning_section

ASKED, PLAN, SPENT, PAGE = 'asked.json', 'plan.json', 'spent.json', 'report.html'
# Folder of class folders, to judge by; not there without labels.
LABELLED = 'labelled'
JUDGED = 'few_shot'
SECONDS_BETWEEN_REFRESHES = 15
# In this order; those without a folder yet are still to come.
STAGES = ('tokenizer', 'pretraining', JUDGED, 'timm_log', 'transformers_log', 'report')
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
        share: of it that is done, 0 to 1.
    """

    name: str
    state: str
    planned: float | None
    spent: float
    share: float = 0.0


def stage_states(run: Path, running: str, share: float = 0.0) -> Iterator[StageState]:
    """The stages of a run.

    Args:
        run: folder.
        running: name of the stage that runs.
        share: of that stage that is done, 0 to 1.
    """
    plan = json.loads((run / PLAN).read_text())
    spent = _read(run / SPENT)
    order = STAGES.index(running)
    # A tokenizer that was given, labels that were not.
    left_out = [name for name in STAGES[:2] if plan[name] is None]
    left_out += [] if (run / LABELLED).is_dir() else ['few_shot']
    for number, name in enumerate(STAGES):
        if name in left_out:
            continue
        state = 'done' if number < order else 'running' if number == order else 'to come'
        planned = (plan.get(name) or {}).get('minutes')
        yield StageState(name, state, planned, spent.get(name, 0.0) / 60, share)


def title_of(run: Path) -> str:
    """Of a run's page: which photos it learns from."""
    photos = _read(run / ASKED)['photos']
    first, *others = [photos] if isinstance(photos, str) else photos
    more = f' and {len(others)} more' if others else ''
    return f'BEiT v2 on {Path(first).name}{more}'


def render_progress(run: Path, running: str, share: float = 0.0) -> str:
    """The page.

    Args:
        run: folder.
        running: name of the stage that runs.
        share: of that stage that is done, 0 to 1.
    """
    states = list(stage_states(run, running, share))
    now = datetime.datetime.now().astimezone().strftime('%Y-%m-%d %H:%M:%S %Z')
    rows = ''.join(_row(state) for state in states)
    title = title_of(run)
    pages = ''.join(_says(run, state) for state in states)
    looks = looks_of(run, states)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="refresh" content="{SECONDS_BETWEEN_REFRESHES}">\n'
        f'<title>{escape(title)}</title>\n<style>{STYLE}{OWN_STYLE}{BAR}</style>\n</head>\n<body>\n<main>\n'
        f'<h1>{escape(title)}</h1>\n<p class="verdict">This run goes on: '
        f'{escape(TITLES[running])}.</p>\n'
        f'<p class="lead">Written {escape(now)}; the page loads itself again every '
        f'{SECONDS_BETWEEN_REFRESHES} seconds, and the report takes its place at the end. A date '
        'that stands still says that the run was stopped: repeat its command to go on.</p>\n'
        '<section>\n<h2>How far it is</h2>\n<div class="scroll"><table>\n<thead><tr>'
        '<th scope="col">stage</th><th scope="col">state</th><th scope="col">planned</th>'
        f'<th scope="col">spent</th></tr></thead>\n<tbody>{rows}</tbody>\n</table></div>\n'
        f'</section>\n{looks}{pages}</main>\n</body>\n</html>\n'
    )


def write_progress(run: Path, running: str, share: float = 0.0) -> None:
    """Write ``report.html`` of a run that goes on.

    Args:
        run: folder with ``plan.json`` and ``asked.json``.
        running: name of the stage that runs.
        share: of that stage that is done, 0 to 1.
    """
    write_atomically(run / PAGE, render_progress(run, running, share).encode())


def _row(state: StageState) -> str:
    bar = ''
    if state.state == 'running' and state.planned:
        bar = f'<div class="bar"><i style="width: {state.share:.1%}"></i></div>'
    planned = '–' if state.planned is None else f'{state.planned:.0f} min'
    spent = f'{state.spent:.1f} min' if state.spent else '–'
    return (
        f'<tr><td>{escape(TITLES[state.name])}{bar}</td>'
        f'<td data-label="state">{escape(state.state)}</td>'
        f'<td data-label="planned">{planned}</td><td data-label="spent">{spent}</td></tr>\n'
    )


def looks_of(run: Path, states: Sequence[StageState]) -> str:
    """Whether each training that has been looked at is learning, the latest first.

    Args:
        run: folder.
        states: of its stages.
    """
    found = ((state.name, read_learning(run / state.name)) for state in reversed(states))
    return ''.join(
        f'<h2>Is it learning? {escape(TITLES[name].capitalize())}</h2>\n{learning_section(looks)}'
        for name, looks in found
        if looks
    )


def _says(run: Path, state: StageState) -> str:
    """The last lines of what runs."""
    log = run / state.name / 'log.txt'
    if state.state != 'running' or not log.is_file():
        return ''
    lines = log.read_text(errors='replace').splitlines()[-4:]
    text = escape('\n'.join(lines))
    return f'<section>\n<h2>What it says</h2>\n<pre>{text}</pre>\n</section>\n'


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}
