"""Weights are read as weights: from every usual container, and never by running code."""

import argparse
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmbeitv2 import torch_releases
from mmbeitv2.checkpoints import reading
from mmbeitv2.checkpoints.reading import read_state_dict, read_weights

WEIGHTS = {'a.weight': torch.arange(6.0).view(2, 3), 'a.bias': torch.ones(2)}


def assert_weights(found):
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


class Touch:
    """Object that writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize('key', [None, 'state_dict', 'model', 'module'])
def test_usual_containers(key, tmp_path):
    content = WEIGHTS if key is None else {key: WEIGHTS, 'epoch': 3}
    torch.save(content, tmp_path / 'file.pth')
    assert_weights(read_state_dict(tmp_path / 'file.pth'))


def test_safetensors(tmp_path):
    save_file(WEIGHTS, tmp_path / 'file.safetensors')
    assert_weights(read_state_dict(str(tmp_path / 'file.safetensors')))


def test_values_other_than_tensors_are_dropped(tmp_path):
    torch.save({**WEIGHTS, 'epoch': 3, 'name': 'vit'}, tmp_path / 'file.pth')
    assert_weights(read_state_dict(tmp_path / 'file.pth'))


def test_training_checkpoint_of_a_runner(vqkd, make_runner, tmp_path):
    make_runner(vqkd).train()
    found = read_state_dict(tmp_path / 'work/epoch_1.pth')
    expected = vqkd.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_code_is_refused_and_not_run(tmp_path):
    torch.save(dict(state_dict=WEIGHTS, extra=Touch(tmp_path / 'touched')), tmp_path / 'file.pth')
    with pytest.raises(ValueError, match=r'file\.pth cannot be read as weights only.*trust=True'):
        read_state_dict(tmp_path / 'file.pth')
    assert not (tmp_path / 'touched').exists()


def test_trusted_file_is_opened(tmp_path):
    torch.save(dict(state_dict=WEIGHTS, extra=Touch(tmp_path / 'touched')), tmp_path / 'file.pth')
    assert_weights(read_state_dict(tmp_path / 'file.pth', trust=True))
    assert (tmp_path / 'touched').exists()


@pytest.mark.needs_torch('2.4', 'reading what is no tensor without code')
def test_command_line_of_the_official_training_is_no_code(tmp_path):
    torch.save(dict(model=WEIGHTS, args=argparse.Namespace(lr=0.1)), tmp_path / 'file.pth')
    before = set(torch.serialization.get_safe_globals())
    assert_weights(read_state_dict(tmp_path / 'file.pth'))
    assert set(torch.serialization.get_safe_globals()) == before


def test_with_an_old_torch_the_command_line_is_refused_and_what_reads_it_named(
    tmp_path, monkeypatch
):
    for module in (reading, torch_releases):
        monkeypatch.setattr(module, 'HAS_SAFE_GLOBALS', False)
    torch.save(dict(model=WEIGHTS, args=argparse.Namespace(lr=0.1)), tmp_path / 'file.pth')
    with pytest.raises(ValueError, match=r'argparse.Namespace.*Torch 2\.4 or later reads this one'):
        read_state_dict(tmp_path / 'file.pth')
    assert_weights(read_state_dict(tmp_path / 'file.pth', trust=True))


def test_metadata_of_this_project(tmp_path):
    metadata = {'layer': '9'}
    torch.save({'mmbeitv2': metadata, 'model': WEIGHTS}, tmp_path / 'file.pth')
    save_file(WEIGHTS, tmp_path / 'file.safetensors', metadata)
    assert read_weights(tmp_path / 'file.pth')[1] == metadata
    assert read_weights(tmp_path / 'file.safetensors')[1] == metadata


def test_safetensors_are_known_by_their_content(tmp_path):
    save_file(WEIGHTS, tmp_path / 'file.safetensors')
    shutil.move(tmp_path / 'file.safetensors', tmp_path / 'download')
    assert_weights(read_state_dict(tmp_path / 'download'))


def test_truncated_safetensors_are_refused(tmp_path):
    save_file(WEIGHTS, tmp_path / 'whole.safetensors')
    content = (tmp_path / 'whole.safetensors').read_bytes()
    (tmp_path / 'half.safetensors').write_bytes(content[:-8])
    with pytest.raises(ValueError, match=r'half\.safetensors is a truncated or damaged'):
        read_state_dict(tmp_path / 'half.safetensors')


def test_plain_pickle_is_refused_and_not_run(tmp_path):
    (tmp_path / 'file.pkl').write_bytes(pickle.dumps(Touch(tmp_path / 'touched')))
    with pytest.raises(ValueError, match='cannot be read as weights only'):
        read_state_dict(tmp_path / 'file.pkl')
    assert not (tmp_path / 'touched').exists()


@pytest.mark.parametrize(
    ('content', 'message'),
    [([1, 2], 'holds a list, expected a dictionary'), ({'epoch': 3}, 'holds no tensors')],
)
def test_files_without_weights_are_refused(content, message, tmp_path):
    torch.save(content, tmp_path / 'file.pth')
    with pytest.raises(ValueError, match=message):
        read_state_dict(tmp_path / 'file.pth')


@pytest.mark.parametrize('name', ['none.pth', '.'])
def test_missing_file_is_named(name, tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint at'):
        read_state_dict(tmp_path / name)
