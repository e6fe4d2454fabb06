"""The command that converts a checkpoint and prints the table of equality."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

import mmbeitv2

TOOL = Path(mmbeitv2.__file__).resolve().parents[1] / 'tools' / 'convert_checkpoint.py'


@pytest.fixture
def source(vqkd, tmp_path):
    torch.save({'state_dict': vqkd.state_dict()}, tmp_path / 'vqkd.pth')
    return tmp_path / 'vqkd.pth'


@pytest.fixture
def run(monkeypatch):
    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', ['convert_checkpoint.py', *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name='__main__')

    return call


def test_conversion_prints_the_table(source, run, tmp_path, capsys):
    run(source, tmp_path / 'out.pth', '--to', 'mmpretrain', '--num-heads', 4)
    output = capsys.readouterr().out
    assert f'{source} (mmbeitv2 tokenizer) → {tmp_path / "out.pth"} (mmpretrain)' in output
    assert 'codes' in output
    assert 'way back: 52 of 52 tensors exactly equal' in output
    assert (tmp_path / 'out.pth').is_file()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere.pth', 'out.pth', '--to', 'official'], 'no checkpoint at nowhere.pth'),
        (['{source}', '{source}', '--to', 'official'], 'exists: choose another name'),
        (['{source}', 'out.pth', '--to', 'timm'], 'timm has no model for'),
        (['{source}', 'out.pth', '--to', 'official', '--num-heads', '3'], 'trained with 4 heads'),
    ],
    ids=['source', 'destination', 'kind', 'heads'],
)
def test_bad_input_ends_with_the_message_alone(
    arguments, message, source, run, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        run(*(argument.format(source=source) for argument in arguments))
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith('error: ')
    assert message in printed
    assert not (tmp_path / 'out.pth').exists()


def test_file_with_code_needs_trust(vqkd, run, tmp_path, capsys):
    content = {'state_dict': vqkd.state_dict(), 'hook': print}
    torch.save(content, tmp_path / 'code.pth')
    arguments = (tmp_path / 'code.pth', tmp_path / 'out.safetensors', '--to', 'safetensors')
    with pytest.raises(SystemExit, match='2'):
        run(*arguments, '--num-heads', 4)
    assert re.search(r'refused.*--trust', capsys.readouterr().err)
    run(*arguments, '--num-heads', 4, '--trust')
    assert (tmp_path / 'out.safetensors').is_file()


def test_unequal_outputs_end_with_an_error(source, run, tmp_path, monkeypatch):
    monkeypatch.setattr('mmbeitv2.exchange.conversion.TOLERANCE', -1.0)
    with pytest.raises(SystemExit, match='does not compute what the source does'):
        run(source, tmp_path / 'out.pth', '--to', 'official', '--num-heads', 4)
