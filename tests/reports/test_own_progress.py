"""The page of a run that goes on: it refreshes itself, and says where the run is."""

import json
import re

import pytest

from mmbeitv2.reports.own_progress import PAGE, stage_states, write_progress

TIMED = dict(minutes=12.0, epochs=10)


@pytest.fixture
def run(tmp_path):
    def write(labelled=False, tokenizer=TIMED, photos='photos'):
        plan = dict(tokenizer=tokenizer, pretraining=dict(minutes=40.0))
        (tmp_path / 'plan.json').write_text(json.dumps(plan))
        (tmp_path / 'asked.json').write_text(json.dumps(dict(photos=photos)))
        if labelled:
            (tmp_path / 'labelled').mkdir()
        (tmp_path / 'spent.json').write_text(json.dumps(dict(tokenizer=90.0)))
        return tmp_path

    return write


def test_stages_are_those_of_the_run(run):
    names = [s.name for s in stage_states(run(tokenizer=None), 'pretraining')]
    assert names == ['pretraining', 'timm_log', 'transformers_log', 'report']
    states = {s.name: s for s in stage_states(run(labelled=True), 'pretraining')}
    assert [s.state for s in states.values()] == ['done', 'running', *['to come'] * 4]
    assert states['tokenizer'].spent == 1.5
    assert states['pretraining'].planned == 40


def test_page_loads_itself_again_and_names_cannot_write_into_it(run):
    folder = run(photos='/data/<script>alert(1)</script>')
    (folder / 'pretraining').mkdir()
    (folder / 'pretraining' / 'log.txt').write_text('loss: 5 <b>now</b>')
    write_progress(folder, 'pretraining', 0.25)
    page = (folder / PAGE).read_text()
    assert re.search(r'<meta http-equiv="refresh" content="\d+">', page)
    assert 'width: 25.0%' in page
    assert '&lt;b&gt;now' in page
    assert '<script>' not in page
    assert '<b>' not in page


def test_page_fits_desktop_and_phone(run, browser, width):
    folder = run(labelled=True)
    write_progress(folder, 'pretraining', 0.25)
    page = browser.new_page(viewport=dict(width=width, height=800))
    page.goto((folder / PAGE).as_uri())
    assert page.evaluate('document.documentElement.scrollWidth <= window.innerWidth')
    assert page.get_by_text('ask about labelled photos').is_visible()
    page.close()
