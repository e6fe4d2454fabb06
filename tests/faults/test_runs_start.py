"""The tool starts a run from an official file, and does not resume one."""

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from tiny_runs import end, train, write_project

from mmbeitv2.checkpoints.reading import read_state_dict
from mmbeitv2.checkpoints.translation import translate
from mmbeitv2.exchange.exporting import export
from mmbeitv2.launch.config import load_config


@pytest.fixture
def project(demo_data, tmp_path):
    """A folder with the config of a tiny fine-tuning, and its model in the official layout."""
    write_project(tmp_path, demo_data)
    cfg = load_config(str(tmp_path / 'finetune.py'))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        state = MODELS.build(cfg.model).state_dict()
    # So that one epoch of learning does not hide whether it was loaded.
    state['head.fc.bias'] += 50
    written = export(translate(state, 'x'), 'official').state
    torch.save({'model': written}, tmp_path / 'official.pth')
    return tmp_path


def run(project, *options):
    process = train(project, 'finetune', 'work', *options)
    try:
        return process.wait(timeout=500), (project / 'work.log').read_text()
    finally:
        end(process)


def test_load_from_reads_the_official_layout(project):
    options = ('load_from=official.pth', 'train_cfg.max_epochs=1', 'param_scheduler=None')
    code, log = run(project, '--cfg-options', *options)
    assert code == 0, log[-3000:]
    assert 'ImageClassifier from official.pth (official classifier)' in log
    trained = read_state_dict(project / 'work')
    assert trained['head.fc.bias'].min() > 40


def test_resume_names_what_works(project):
    code, log = run(project, '--resume', 'official.pth')
    assert code == 2
    (line,) = [line for line in log.splitlines() if line.startswith('error: ')]
    assert 'official.pth holds weights of official, and no optimiser' in line
    assert 'load_from' in line
    assert 'Traceback' not in log
