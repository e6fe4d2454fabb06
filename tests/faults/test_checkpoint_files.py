"""Files in a checkpoint's place are called what they are, and nothing in them is run."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.runner import CheckpointLoader, load_checkpoint
from safetensors.torch import save_file
from torch import nn

from mmbeitv2.apis import load_tokenizer
from mmbeitv2.checkpoints.host_reading import refuse_code_in_checkpoints
from mmbeitv2.checkpoints.reading import read_state_dict, read_training_checkpoint
from mmbeitv2.errors import InputError, MissingFileError, UserError
from mmbeitv2.exchange.conversion import convert
from mmbeitv2.launch import runner as launching

FILES = {
    'text': (b'hello', "is a text file that begins with 'hello'"),
    'text in many lines': ('é€😀\n'.encode() * 200, 'is a text file that begins with'),
    'JSON': (b'{"a": 1}', r'is a text file that begins with \'{"a": 1}\''),
    'web page': (b'\n<!DOCTYPE html><html>login</html>', 'is a web page, not a checkpoint'),
    'XML': (b'<?xml version="1.0"?><Error/>', 'is a web page'),
    'Git-LFS pointer': (
        b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n',
        'is a Git-LFS pointer.*git lfs pull',
    ),
    'JPEG': (b'\xff\xd8\xff\xe0\x00\x10JFIF' + bytes(90), 'is a JPEG image, no checkpoint'),
    'PNG': (b'\x89PNG\r\n\x1a\n' + bytes(90), 'is a PNG image'),
    'gzip': (b'\x1f\x8b\x08' + bytes(90), 'is a gzip archive: unpack it'),
    'empty': (b'', 'is empty'),
    'zeros': (bytes(4096), 'is no checkpoint.* 00 00'),
    'random bytes': (bytes(range(128, 256)) * 9, 'is truncated or damaged'),
    'more random bytes': (
        bytes(range(255, 0, -1)) * 9,
        'is no checkpoint.* ff fe',
    ),
    'truncated pickle': (pickle.dumps({'a': 1}, protocol=2)[:-3], 'is truncated or damaged'),
    'other pickle': (pickle.dumps({'a': 1}, protocol=2), 'is a pickle but no checkpoint'),
    'safetensors of another length': (
        b'\xff\x00\x00\x00\x00\x00\x00\x00{}',
        'is a truncated or dam',
    ),
}


class Touch:
    """Object that writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert '\n' not in message
    return message


@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize('read', [read_state_dict, read_training_checkpoint, load_tokenizer])
def test_other_files_are_called_what_they_are(name, read, tmp_path):
    content, message = FILES[name]
    (tmp_path / 'file.pth').write_bytes(content)
    with pytest.raises(InputError, match=rf'file\.pth {message}') as error:
        read(str(tmp_path / 'file.pth'))
    assert 'trust' not in one_line(error)


@pytest.mark.parametrize('share', [0.02, 0.3, 0.9, 0.999])
def test_truncated_files_are_called_truncated(share, tmp_path):
    weights = {'a': torch.ones(999)}
    torch.save(weights, tmp_path / 'whole.pth')
    torch.save(weights, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    save_file(weights, tmp_path / 'whole.safetensors')
    for name in ('whole.pth', 'old.pth', 'whole.safetensors'):
        content = (tmp_path / name).read_bytes()
        (tmp_path / f'cut_{name}').write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError, match=f'cut_{name} is .*damaged') as error:
            read_state_dict(tmp_path / f'cut_{name}')
        assert 'trust' not in one_line(error)


def test_every_flipped_byte_of_the_weights_is_found(tmp_path):
    torch.save({'state_dict': {'a': torch.rand(64)}}, tmp_path / 'file.pth')
    content = (tmp_path / 'file.pth').read_bytes()
    weights = torch.load(tmp_path / 'file.pth')['state_dict']['a'].numpy().tobytes()
    start = content.index(weights)
    for place in range(start, start + len(weights), 37):
        flipped = bytearray(content)
        flipped[place] ^= 4
        (tmp_path / 'flipped.pth').write_bytes(flipped)
        torch.load(tmp_path / 'flipped.pth', weights_only=True)  # which does not see it
        with pytest.raises(InputError, match=r'is damaged .*does not have its checksum'):
            read_state_dict(tmp_path / 'flipped.pth')


def test_flipped_byte_of_a_converted_file_is_found(vqkd, tmp_path):
    """The safetensors format has no checksum."""
    torch.save(dict(state_dict=vqkd.state_dict()), tmp_path / 'file.pth')
    path = tmp_path / 'file.safetensors'
    assert convert(tmp_path / 'file.pth', path, 'safetensors', num_heads=4).equal
    content = path.read_bytes()
    read_state_dict(path)
    for place in (len(content) - 1, len(content) // 2):
        flipped = bytearray(content)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(InputError, match=r'file\.safetensors is damaged: .*checksum'):
            read_state_dict(path)


def test_archives_of_other_things_are_called_so(tmp_path):
    torch.jit.trace(nn.Linear(1, 1), torch.ones(1, 1)).save(str(tmp_path / 'file.pth'))
    with pytest.raises(InputError, match='is a TorchScript program'):
        read_state_dict(tmp_path / 'file.pth')
    (tmp_path / 'folder').mkdir()
    shutil.make_archive(str(tmp_path / 'packed'), 'zip', tmp_path / 'folder')
    shutil.move(tmp_path / 'packed.zip', tmp_path / 'packed.pth')
    with pytest.raises(InputError, match=r'packed\.pth is '):
        read_state_dict(tmp_path / 'packed.pth')


def test_folder_is_called_a_folder(tmp_path):
    with pytest.raises(MissingFileError, match='this folder has neither'):
        read_training_checkpoint(tmp_path)


@pytest.fixture
def spoiled(tmp_path):
    """Checkpoint that writes ``touched`` when it is unpickled."""
    state = nn.Linear(2, 2).state_dict()
    content = dict(state_dict=state, extra=Touch(tmp_path / 'touched'))
    torch.save(content, tmp_path / 'spoiled.pth')
    return tmp_path / 'spoiled.pth'


class Call:
    """Object that calls the system when it is unpickled, which torch never allows."""

    def __reduce__(self) -> tuple:
        return os.system, ('exit',)


@pytest.mark.parametrize('content', [Touch(Path('file')), Call(), print, nn.Linear(1, 1)])
def test_what_would_run_is_named_and_nobody_is_told_to_let_it(content, tmp_path):
    torch.save(dict(state_dict={}, extra=content), tmp_path / 'file.pth')
    with pytest.raises(
        InputError, match=r'weights only \(.*nsupported (global|GLOBAL|class).*\)'
    ) as error:
        read_state_dict(tmp_path / 'file.pth')
    assert 'weights_only' not in one_line(error)


@pytest.fixture
def schemes(monkeypatch):
    """mmengine's readers, put back afterwards."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))


@pytest.mark.parametrize('resume', [False, True])
def test_run_that_loads_or_resumes_runs_no_code(
    spoiled, resume, schemes, vqkd, make_runner, monkeypatch, tmp_path
):
    monkeypatch.setattr(launching.Runner, 'from_cfg', lambda cfg: make_runner(vqkd, **cfg))
    with pytest.raises(InputError, match=r'spoiled\.pth cannot be read as weights only') as error:
        launching.build_runner(ConfigDict(load_from=str(spoiled), resume=resume))
    assert 'trust=True' in one_line(error)
    assert not (tmp_path / 'touched').exists()


def test_run_that_resumes_the_newest_file_runs_no_code(
    spoiled, schemes, vqkd, make_runner, monkeypatch, tmp_path
):
    """mmengine follows ``last_checkpoint`` by itself."""
    monkeypatch.setattr(launching.Runner, 'from_cfg', lambda cfg: make_runner(vqkd, **cfg))
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work/last_checkpoint').write_text(str(spoiled))
    runner = launching.build_runner(ConfigDict(resume=True))
    with pytest.raises(InputError, match=r'spoiled\.pth cannot be read as weights only'):
        runner.train()
    assert not (tmp_path / 'touched').exists()


def test_evaluation_runs_no_code(spoiled, schemes, vqkd, make_runner, monkeypatch, tmp_path):
    monkeypatch.setattr(launching.Runner, 'from_cfg', lambda cfg: make_runner(vqkd, **cfg))
    runner = launching.build_runner(ConfigDict())
    with pytest.raises(InputError, match=r'spoiled\.pth cannot be read as weights only'):
        launching.load_weights(runner, str(spoiled))
    assert not (tmp_path / 'touched').exists()


def test_own_program_can_make_mmengine_refuse_code(spoiled, schemes, tmp_path):
    refuse_code_in_checkpoints()
    with pytest.raises(UserError, match='cannot be read as weights only'):
        load_checkpoint(nn.Linear(2, 2), str(spoiled))
    assert not (tmp_path / 'touched').exists()
    with pytest.raises(UserError, match=r"'s3://bucket/a\.pth' is neither"):
        load_checkpoint(nn.Linear(2, 2), 's3://bucket/a.pth')


@pytest.mark.needs_torch('2.4', 'a list of what weights-only reading accepts')
def test_what_others_have_allowed_is_not_run(spoiled, tmp_path):
    torch.serialization.add_safe_globals([Path.touch, type(Path())])
    try:
        with pytest.raises(InputError, match='cannot be read as weights only'):
            read_state_dict(spoiled)
    finally:
        torch.serialization.clear_safe_globals()
    assert not (tmp_path / 'touched').exists()


def test_run_of_a_config_without_our_hooks_can_be_resumed(
    schemes, vqkd, make_runner, monkeypatch, tmp_path
):
    """Its log history is stored as tensors all the same."""
    plain = dict(default_hooks=dict(plain_checkpoint=dict(type='EmptyCacheHook')))
    monkeypatch.setattr(launching.Runner, 'from_cfg', lambda cfg: make_runner(vqkd, **plain, **cfg))
    launching.build_runner(ConfigDict()).train()
    last = str(tmp_path / 'work/epoch_1.pth')
    runner = launching.build_runner(ConfigDict(resume=True, load_from=last, epochs=2))
    runner.train()
    assert runner.epoch == 2
