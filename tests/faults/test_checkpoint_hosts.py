"""Another project's tools that run a config of ours read no code from a checkpoint."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from mmbeitv2.errors import InputError

CONFIGS = Path(__file__).parents[2] / 'configs/_base_'


class Touch:
    """A pickle that writes a file when it is opened."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, 'w')


@pytest.fixture(autouse=True)
def readers(monkeypatch):
    """Reading stays the test's: the registry of readers is as before, after it."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))


@pytest.mark.parametrize('runtime', ['default_runtime.py', 'segmentation_runtime.py'])
@pytest.mark.parametrize('resume', [False, True])
def test_runner_without_our_tools_runs_no_code(runtime, resume, vqkd, make_runner, tmp_path):
    touched = tmp_path / 'touched'
    content = dict(state_dict=vqkd.state_dict(), extra=Touch(touched))
    torch.save(content, tmp_path / 'file.pth')
    hook = Config.fromfile(CONFIGS / runtime).default_hooks.refuse_code
    runner = make_runner(vqkd, hooks=[hook], load_from=str(tmp_path / 'file.pth'), resume=resume)
    with pytest.raises(InputError, match='cannot be read as weights only'):
        runner.train()
    assert not touched.exists()
