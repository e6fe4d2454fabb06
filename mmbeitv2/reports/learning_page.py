"""``learning.html``: is a run learning? One page that refreshes itself while the run goes on."""

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

from mmbeitv2.checkpoints.atomic import write_atomically
from mmbeitv2.errors import MissingFileError
from mmbeitv2.evaluation.learning_record import FILE, Record, read_learning
from mmbeitv2.evaluation.verdict import COLLAPSED, LEARNING, MEMORISING, STALLED, TOO_EARLY
from mmbeitv2.reports.html import STYLE
from mmbeitv2.reports.learning_curves import charts_of, columns_of
from mmbeitv2.reports.svg_curves import svg_chart

PAGE = 'learning.html'
REFRESH = 20
ROWS = 12
NAMES = dict(pretraining='Pretraining', tokenizer='Tokenizer')
KINDS = {
    LEARNING: 'good',
    STALLED: 'doubtful',
    MEMORISING: 'doubtful',
    COLLAPSED: 'bad',
    TOO_EARLY: 'open',
}
OWN_STYLE = """
.said { border-left: 6px solid #6b7785; border-radius: 10px; background: #fff;
  padding: 1rem 1.2rem; margin: 0 0 1.2rem; }
.said b { display: block; font-size: 1.5rem; letter-spacing: -0.01em; }
.said p { margin: .3rem 0 0; max-width: 52rem; overflow-wrap: anywhere; }
.said.good { border-color: #15803d; background: #f0fdf4; } .said.good b, td.good { color: #15803d; }
.said.doubtful { border-color: #b45309; background: #fffbeb; }
.said.doubtful b, td.doubtful { color: #b45309; }
.said.bad { border-color: #b91c1c; background: #fef2f2; } .said.bad b, td.bad { color: #b91c1c; }
.said.open b, td.open { color: #52606d; }
h1 { overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr));
  gap: 1.2rem 1.8rem; }
.chart h3 { font-size: .95rem; margin: 0 0 .3rem; }
.chart svg { width: 100%; height: auto; display: block; }
.chart text { font-size: 12px; fill: #6b7785; }
figcaption { display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: .82rem; color: #52606d; }
.key { display: inline-block; width: 1.1rem; border-top: 3px solid; vertical-align: middle;
  margin-right: .4rem; }
.key.dashed { border-top-style: dashed; border-top-width: 2px; }
.key.dotted { border-top-style: dotted; border-top-width: 2px; }
td.word { font-weight: 600; }
.looks th, .looks td { padding: .4rem .45rem; } .looks thead th { white-space: normal; }
.looks th:first-child, .looks td:first-child { min-width: 0; white-space: nowrap; }
@media (max-width: 640px) { .chart text { font-size: 16px; } }
"""
READ = (
    'Every look is at the same held-out photos and as many training photos, without augmentation '
    'and with the same masks. Bands are two standard errors over other photos of the kind; whether '
    'a loss has changed is judged by pairs, photo by photo, which sees much smaller changes. Epoch '
    '0 is before the first step. What each figure means and what to change: “Is it learning?” in '
    'docs/own_data.md.'
)


def learning_page(records: Sequence[Record], title: str, finished: bool = False) -> str:
    """The page of a run's looks.

    Args:
        records: of :func:`~mmbeitv2.evaluation.learning_record.read_learning`, one or more.
        title: such as the run's name.
        finished: whether the run is; else the page asks the browser to load it again.

    Returns:
        HTML that needs no other file.
    """
    last = records[-1]
    refresh = '' if finished else f'<meta http-equiv="refresh" content="{REFRESH}">\n'
    heading = f'{NAMES[last["kind"]]}: {title}'
    state = 'finished' if finished else f'refreshes every {REFRESH} s while the run goes on'
    return (
        f'<!doctype html>\n<html lang="en" data-ready>\n<head>\n<meta charset="utf-8">\n{refresh}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(last["verdict"]["word"])} – {escape(heading)}</title>\n'
        f'<style>{STYLE}{OWN_STYLE}</style>\n</head>\n<body>\n<main>\n'
        f'<h1>{escape(heading)}</h1>\n<p class="lead">Epoch {last["epoch"]} of '
        f'{last["max_epochs"]}, step {last["iter"]:,} of {last["max_iters"]:,}; '
        f'{escape(time.strftime("%Y-%m-%d %H:%M:%S"))}; {state}.</p>\n'
        f'{learning_section(records)}</main>\n</body>\n</html>\n'
    )


def learning_section(records: Sequence[Record]) -> str:
    """Verdict, curves and the last looks, for this page or within another.

    Its classes are styled by ``OWN_STYLE``, beside the ``STYLE`` of the other pages.

    Args:
        records: of one run, one or more.
    """
    last = records[-1]
    said = last['verdict']
    advice = f'<p><strong>{escape(said["advice"])}</strong></p>' if said['advice'] else ''
    photos = ', '.join(
        f'{count} {name.replace("_", "-")}'
        for name, count in last['photos'].items()
        if name != 'digest'
    )
    charts = ''.join(svg_chart(chart, 'epoch') for chart in charts_of(records))
    return (
        f'<div class="said {KINDS[said["word"]]}"><b>{escape(said["word"].capitalize())}</b>'
        f'<p>{escape(_sentence(said["reason"]))}</p>{advice}</div>\n'
        f'<section>\n<h2>Curves</h2>\n<div class="charts">{charts}</div>\n</section>\n'
        f'<section>\n<h2>Last looks</h2>\n{_table(records)}<p class="fine">{escape(READ)} Photos: '
        f'{escape(photos)}. Looks have cost {last["cost"]["share"]:.1%} of the time so far; '
        f'epochs from one to the next: {last["interval"]}.</p>\n</section>\n'
    )


def _sentence(clause: str) -> str:
    return f'{clause[:1].upper()}{clause[1:]}.'


def _table(records: Sequence[Record]) -> str:
    columns = columns_of(records)
    head = ''.join(f'<th scope="col">{escape(n)}</th>' for n in ('', 'verdict', *columns))
    rows = ''
    for record in reversed(records[-ROWS:]):
        cells = ''.join(
            f'<td data-label="{escape(name)}">{escape(cell(record))}</td>'
            for name, cell in columns.items()
        )
        word = record['verdict']['word']
        rows += (
            f'<tr><td>epoch {record["epoch"]}</td>'
            f'<td class="word {KINDS[word]}" data-label="verdict">{escape(word)}</td>{cells}</tr>\n'
        )
    return (
        f'<div class="scroll"><table class="looks">\n<thead><tr>{head}</tr></thead>\n'
        f'<tbody>{rows}</tbody>\n</table></div>\n'
    )


def write_learning_page(
    work_dir: str | Path, finished: bool = False, title: str | None = None
) -> Path:
    """Write ``learning.html`` into a run's folder.

    Args:
        work_dir: of the run, with the records of ``LearningHook``.
        finished: see :func:`learning_page`.
        title: see :func:`learning_page`; the folder's name unless given.

    Returns:
        The page.

    Raises:
        FileNotFoundError: the run has not been looked at.
    """
    records = read_learning(work_dir)
    if not records:
        raise MissingFileError(
            f'{Path(work_dir, FILE)} has no look at the run: LearningHook writes them, put '
            "dict(type='mmbeitv2.LearningHook') into its hooks."
        )
    path = Path(work_dir, PAGE)
    page = learning_page(records, title or Path(work_dir).resolve().name, finished)
    write_atomically(path, page.encode())
    return path
