"""One self-contained page: summary table, pictures with what to look at, and how it was made."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from mmbeitv2.reports.summary import GAIN, HEADER, LOSS, NOISE, NOT_RUN, NOTHING, Measurement

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: #1f2933; line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: clamp(1.6rem, 5vw, 2.3rem); line-height: 1.2; letter-spacing: -0.02em;
  margin: 0 0 .4rem; }
h2 { font-size: 1.25rem; letter-spacing: -0.01em; margin: 0 0 .35rem; }
.lead, .look, caption, .fine { color: #52606d; }
.lead { max-width: 46rem; margin: 0 0 1.6rem; }
.look { max-width: 50rem; margin: 0 0 1rem; }
section { background: #fff; border: 1px solid #dfe3e8; border-radius: 12px;
  padding: clamp(1rem, 3vw, 1.6rem); margin: 0 0 1.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  font-size: .93rem; margin-bottom: 1.1rem; }
caption { text-align: left; font-weight: 600; padding: .3rem .5rem; color: #1f2933; }
th, td { padding: .42rem .6rem; text-align: right; white-space: nowrap;
  border-top: 1px solid #e9ecef; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 11rem; }
thead th { font-weight: 500; color: #6b7785; border-top: 0; font-size: .82rem; }
td.value { font-weight: 650; color: #2563eb; }
td.gain { color: #15803d; font-weight: 600; }
td.loss { color: #b91c1c; font-weight: 600; }
td.noise { color: #6b7785; }
.verdict { max-width: 50rem; margin: 0 0 .8rem; font-weight: 600; }
.findings { max-width: 50rem; margin: 0 0 1rem; padding-left: 1.2rem; }
.findings li { margin: .3rem 0; }
td small { display: block; color: #6b7785; max-width: 24rem; }
.missing { color: #8a6d00; background: #fff8e1; border: 1px dashed #e6c65c; border-radius: 8px;
  padding: .7rem 1rem; margin: 0; }
td.missing { background: none; border: 0; border-top: 1px solid #e9ecef; padding: .42rem .6rem; }
figure { margin: 0; overflow-x: auto; }
img { max-width: 100%; height: auto; display: block; margin: 0 auto; }
@media (max-width: 640px) {
  img.wide { max-width: none; width: 780px; }
  /* A card for each row: four columns of numbers would be cut off. */
  thead, td.nothing:not(:first-child) { display: none; }
  table, caption, tbody, tr, td, th { display: block; }
  tr { border-top: 1px solid #dfe3e8; padding: .5rem 0; }
  td, td:first-child { border: 0; padding: .1rem .2rem; }
  td:not(:first-child) { display: flex; justify-content: space-between; gap: 1rem; }
  td:not(:first-child)::before { content: attr(data-label); color: #6b7785; font-weight: 400; }
  td:first-child { font-weight: 600; }
  td small { font-weight: 400; }
}
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: 0;
  font-size: .88rem; }
dt { color: #6b7785; }
dd { margin: 0; overflow-wrap: anywhere; }
.fine { font-size: .85rem; margin: 0; }
"""
HOW_TO_READ = (
    'A gain is over random weights or, where there is no such figure, over the simple guess. ± is '
    'the standard deviation over seeds, where several were run. In brackets beside a gain of one '
    'seed is its 95 % interval: over other test photos of the kind, the same ones for both sides '
    '(paired bootstrap), or over draws of the few labelled ones; it does not say what training '
    'once more would change. Green and red gains are beyond the noise, grey ones within. Random '
    'init: the same network, trained or probed in the same way, from random weights. Simple guess: '
    'the best prediction that ignores the image, or what a row names.'
)


@dataclass
class Section:
    """A part of the report.

    Args:
        title: of the part.
        look: one or two sentences on what to look at.
        picture: PNG to embed; None marks the stage as not run.
    """

    title: str
    look: str
    picture: Path | None


def render_report(
    title: str,
    verdict: str,
    lead: str,
    measurements: Sequence[Measurement],
    sections: Sequence[Section],
    facts: Mapping[str, str],
    more: str = '',
    style: str = '',
    findings: Sequence[str] = (),
) -> str:
    """Write the page.

    Args:
        title: of the page.
        verdict: the result in a sentence or two.
        lead: what was done, a sentence or two under it.
        measurements: of the summary table, grouped by their data.
        sections: in order.
        facts: date, versions, machine, seeds and the like, shown at the end.
        more: HTML of further parts, behind the summary.
        style: CSS of those parts.
        findings: what else is to be said of the result, a sentence or two each, as a list.

    Returns:
        HTML that needs no other file.

    Raises:
        FileNotFoundError: a section names a picture that is not there.
    """
    tables = ''.join(
        _table(data, [m for m in measurements if m.data == data])
        for data in dict.fromkeys(m.data for m in measurements)
    )
    rows = ''.join(f'<dt>{escape(k)}</dt><dd>{escape(v)}</dd>' for k, v in facts.items())
    said = ''.join(f'<li>{escape(finding)}</li>' for finding in findings)
    listed = f'<ul class="findings">{said}</ul>\n' if said else ''
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n'
        f'<h1>{escape(title)}</h1>\n'
        f'<p class="verdict">{escape(verdict)}</p>\n{listed}<p class="lead">{escape(lead)}</p>\n'
        f'<section>\n<h2>Summary</h2>\n{tables}'
        f'<p class="fine">{escape(HOW_TO_READ)}</p>\n</section>\n{more}'
        + ''.join(_section(section) for section in sections)
        + f'<section>\n<h2>How this was made</h2>\n<dl>{rows}</dl>\n</section>\n'
        '</main>\n</body>\n</html>\n'
    )


def _table(data: str, measurements: Sequence[Measurement]) -> str:
    head = ''.join(f'<th scope="col">{escape(cell)}</th>' for cell in HEADER)
    body = ''.join(_row(m) for m in measurements)
    return (
        f'<div class="scroll"><table>\n<caption>{escape(data)}</caption>\n'
        f'<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>\n</table></div>\n'
    )


def _row(measurement: Measurement) -> str:
    name, *cells = (escape(cell) for cell in measurement.row())
    note = f'<small>{escape(measurement.remark)}</small>' if measurement.remark else ''
    kind = 'missing' if cells[0] == NOT_RUN else 'value'
    kinds = [kind, '', '', {GAIN: 'gain', LOSS: 'loss'}.get(measurement.verdict or NOISE, 'noise')]
    kinds = ['nothing' if cell == NOTHING else kind for kind, cell in zip(kinds, cells)]
    columns = ''.join(
        f'<td class="{kind}" data-label="{escape(label)}">{cell}</td>'
        for kind, label, cell in zip(kinds, HEADER[1:], cells, strict=True)
    )
    return f'<tr><td>{name}{note}</td>{columns}</tr>\n'


def _section(section: Section) -> str:
    if section.picture is None:
        content = '<p class="missing">not run: this stage has left no results yet</p>'
    else:
        data = base64.b64encode(section.picture.read_bytes()).decode()
        content = (
            f'<figure><img class="wide" alt="{escape(section.title)}" '
            f'src="data:image/png;base64,{data}"></figure>'
        )
    return (
        f'<section>\n<h2>{escape(section.title)}</h2>\n'
        f'<p class="look">{escape(section.look)}</p>\n{content}\n</section>\n'
    )
