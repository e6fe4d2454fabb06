"""Figures of a quick start go into a record, and from it into README and docs."""

import importlib.util
import json
from pathlib import Path

import pytest

from mmbeitv2.reports.quickstart import KNOWN, UNSEEN
from mmbeitv2.reports.summary import Measurement

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    path = ROOT / 'tools/quickstart_table.py'
    spec = importlib.util.spec_from_file_location('quickstart_table', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figures(data):
    probe = dict(values={'seed0': 0.355}, random={'seed0': 0.228})
    return [
        Measurement('Linear probe, [CLS]', data, **probe, interval=(0.08, 0.175)),
        Measurement('Odd one', data, {'seed0': 0.2}, {'seed0': 0.231}, interval=(-0.04, -0.02)),
        Measurement('Masked', data, {'seed0': 0.2}, baseline=0.19, over_guess=True),
        Measurement('Tokenizer, codes in use', data, {'vqkd': 0.9}),
    ]


@pytest.fixture
def work_dir(tmp_path):
    """A finished quick start; ``change`` writes it again with other values."""

    def write(precision='float32', changed=(), measurements=None):
        work = tmp_path / 'work'
        stage = work / 'seed0/pretrain/20260101_000000'
        stage.mkdir(parents=True, exist_ok=True)
        code = dict(commit='a' * 40, changed=list(changed))
        start = dict(mmbeitv2=code, packages=dict(torch='2.14.1'))
        (stage / 'run.json').write_text(json.dumps(start))
        made = dict(date='2026-11-27 04:00 UTC', precision=precision, seeds='0', machine='a CPU')
        measurements = measurements or [*figures(KNOWN), *figures(UNSEEN)]
        results = dict(made_with=made, figures=[m.as_json() for m in measurements])
        (work / 'results.json').write_text(json.dumps(results))
        return work

    return write


@pytest.fixture
def record(tmp_path):
    return tmp_path / 'record.json'


def test_a_run_is_added_in_the_place_of_that_of_its_precision(tool, work_dir, record):
    for precision in ('float32', 'bfloat16', 'float32'):
        tool.main(['--add', str(work_dir(precision)), '--record', str(record)])
    assert [run['precision'] for run in tool.read_record(record)] == ['bfloat16', 'float32']


def test_a_row_has_value_other_gain_and_interval(tool, work_dir):
    text = tool.table([tool.run_of(work_dir())])
    rows = [line for line in text.splitlines() if line.startswith('|')]
    assert rows[0] == '|  |  | float32 |'
    assert rows[2] == (
        '| known objects | Linear probe, [CLS] | 35.5 / 22.8, **+12.7** (+8.0 to +17.5) |'
    )
    assert rows[3] == '|  | Odd one | 20.0 / 23.1, −3.1 (−4.0 to −2.0) |'
    assert rows[4] == '|  | Masked | 20.0 / 19.0, +1.0 |'
    assert rows[5].startswith('| unseen objects | Linear probe, [CLS] |')
    assert len(rows) == 8
    assert 'float32: a CPU, 2026-11-27, torch 2.14.1, seed 0, commit aaaaaaaaaa.' in text


def test_only_named_figures_are_shown(tool, work_dir):
    text = tool.table([tool.run_of(work_dir())], ['Masked'])
    assert [line.split('|')[2].strip() for line in text.splitlines()[2:4]] == ['Masked', 'Masked']


def test_a_folder_without_a_report_names_the_command(tool, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'quickstart\.sh'):
        tool.run_of(tmp_path)


def test_a_part_of_a_quick_start_is_refused(tool, work_dir):
    with pytest.raises(ValueError, match='lacks “Fine-tuning”, and 1 figures in all'):
        tool.run_of(work_dir(measurements=[Measurement('Fine-tuning', KNOWN)]))


def test_figures_of_changed_code_are_refused(tool, work_dir):
    with pytest.raises(ValueError, match=r'changed code \(tools/train.py\): commit first'):
        tool.run_of(work_dir(changed=[' M tools/train.py']))


def test_stages_of_two_precisions_are_refused(tool, work_dir):
    with pytest.raises(ValueError, match='stages trained in bfloat16 and float32: run all'):
        tool.run_of(work_dir('bfloat16 and float32'))


@pytest.mark.parametrize('page', ['README.md', 'docs/demo.md'])
def test_pages_hold_the_tables_of_the_record(tool, page):
    runs = tool.read_record()
    expected = tool.table(runs, tool.MAIN if page == 'README.md' else ())
    assert f'{tool.BEGIN}\n{expected}\n{tool.END}' in (ROOT / page).read_text()


def test_what_readme_shows_is_in_the_record_for_both_kinds_of_objects(tool):
    found = {(f['data'], f['name']) for run in tool.read_record() for f in run['figures']}
    assert {(data, name) for data in tool.GROUPS for name in tool.MAIN} <= found
