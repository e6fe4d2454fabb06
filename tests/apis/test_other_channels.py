"""Models of other channels than RGB: told before any photo is read, by every command on photos."""

import sys
from pathlib import Path

import pytest
import torch

from mmbeitv2.datasets import center_crop
from mmbeitv2.models import BEiTV2

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ['--workers', '0', '--num-heads', '4']
COMMANDS = dict(
    embed=('{model}', '{photos}', '--out', 'out.npz', *OPTIONS),
    nearest=('{model}', '{photos}', '{photos}/f/b.png', *OPTIONS),
    probe=('{model}', '{photos}', '--shots', '1', *OPTIONS),
    few_shot=('{model}', '{photos}', '--shots', '1'),
    atlas=('{model}', '{photos}', '--out', 'out.html', '--num-heads', '4'),
    show=('{model}', '{photos}', '--out', 'out', '--num-heads', '4'),
)


@pytest.fixture
def checkpoint(beitv2_config, tmp_path):
    """A pretraining model of four channels."""
    beitv2_config['backbone']['in_chans'] = 4
    encoder = beitv2_config['target_generator']['encoder']
    beitv2_config['target_generator']['encoder'] = {**encoder, 'in_chans': 4}
    model = BEiTV2(**beitv2_config)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'four.pth')
    return tmp_path / 'four.pth'


@pytest.fixture
def refused(photos, tmp_path, monkeypatch, capsys):
    """The line that a command ends with; it reads no photo."""
    (photos / 'f').mkdir()
    for name in ('b.png', 'e.png', 'z.bmp'):
        (photos / name).rename(photos / 'f' / name)

    def read(*arguments):
        raise AssertionError('a photo is read')

    def run(name, *arguments, **places):
        monkeypatch.setattr(center_crop.LoadCenterCrop, 'transform', read)
        monkeypatch.syspath_prepend(ROOT / 'tools')
        monkeypatch.chdir(tmp_path)
        module = __import__(name)
        sys.modules.pop(name)
        with pytest.raises(SystemExit, match='2'):
            module.main([text.format(photos=photos, **places) for text in arguments])
        said = capsys.readouterr().err
        assert said.count('\n') == 1
        return said

    return run


@pytest.mark.parametrize(('name', 'arguments'), COMMANDS.items(), ids=COMMANDS)
def test_a_model_of_four_channels(refused, checkpoint, name, arguments):
    said = refused(name, *arguments, model=checkpoint)
    assert 'sees 4 channels, but photos are read as RGB here' in said


def test_a_tokenizer_of_four_channels(refused, checkpoint, tokenizer_checkpoint):
    options = ['--with', 'codes', '--tokenizer', '{codes}', '--out', 'out.npz', '--workers', '0']
    said = refused(
        *('embed', '{model}', '{photos}', *options), model=tokenizer_checkpoint, codes=checkpoint
    )
    assert 'four.pth sees 4 channels' in said
