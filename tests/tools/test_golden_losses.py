"""The first losses of every stage are those that the repository keeps."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import golden_losses

    return golden_losses


@pytest.fixture
def golden(tool):
    kept = json.loads(tool.GOLDEN.read_text())
    if kept['versions'] != tool.versions():
        pytest.skip(f'losses of {kept["versions"]}, these are {tool.versions()}')
    return kept['losses']


def test_training_is_what_it_was(tool, golden, tmp_path):
    found = tool.differences(tool.train_stages(tmp_path), golden)
    assert {stage.split(':')[0] for stage in found} == set(tool.STAGES)
    assert {name: gap for name, gap in found.items() if gap > tool.TOLERANCE} == {}


@pytest.mark.parametrize(
    'change',
    [
        {'optim_wrapper.optimizer.betas': (0.9, 0.98)},
        {'train_dataloader.dataset.pipeline.0.transforms.0.interpolation': 'bilinear'},
    ],
    ids=str,
)
def test_a_small_change_is_noticed(tool, golden, tmp_path, change):
    data = tool.make_photos(tmp_path / 'data')
    found = dict(vqkd=tool.train_stage('vqkd', tmp_path, data, change))
    gaps = tool.differences(found, dict(vqkd=golden['vqkd']))
    assert max(gaps.values()) > tool.TOLERANCE


def test_a_number_that_is_none_and_a_missing_term_differ(tool):
    golden = dict(a=dict(loss=[1.0, 2.0], loss_cls=[1.0]))
    found = dict(a=dict(loss=[1.0, float('nan')]))
    assert tool.differences(found, golden) == {'a: loss': float('inf'), 'a: loss_cls': float('inf')}


def test_what_differs_is_printed_and_ends_with_an_error(tool, monkeypatch, capsys, tmp_path):
    kept = dict(versions=tool.versions(), losses=dict(vqkd=dict(loss=[1.0, 2.0])))
    monkeypatch.setattr(tool, 'GOLDEN', tmp_path / 'losses.json')
    tool.GOLDEN.write_text(json.dumps(kept))
    monkeypatch.setattr(tool, 'ROOT', tmp_path)
    monkeypatch.setattr(tool, 'train_stages', lambda folder: dict(vqkd=dict(loss=[1.0, 2.01])))
    with pytest.raises(SystemExit, match='2'):
        tool.main([])
    assert '5.0e-03  DIFFERS' in capsys.readouterr().out
    tool.main(['--renew'])
    tool.main([])
    assert '0.0e+00\n' in capsys.readouterr().out
