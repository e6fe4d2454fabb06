"""Where results are to be written is looked at first: no photo is read for what cannot be."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Neither checkpoint nor photos are there, which would be said if anything were opened before.
COMMANDS = dict(
    classify=('classify', 'none.pth', 'none', '--out', '{}.csv'),
    classify_picture=('classify', 'none.pth', 'none', '--picture', '{}.png'),
    segment=('segment', 'none.pth', 'none', '--out', '{}'),
    nearest=('nearest', 'none.pth', 'none', 'none', '--json', '{}.json'),
    nearest_picture=('nearest', 'none.pth', 'none', 'none', '--picture', '{}.png'),
    probe=('probe', 'none.pth', 'none', '--ask', 'none', '--out', '{}.csv'),
    few_shot=('few_shot', 'none.pth', 'none', '--json', '{}.json'),
    dense_probe=('dense_probe', 'none.pth', 'none', 'none', '--json', '{}.json'),
    atlas=('atlas', 'none.pth', 'none', '--out', '{}.html'),
    show=('show', 'none.pth', 'none', '--out', '{}'),
    browse=('browse', 'none.py', '--out', '{}.png'),
    check_images=('check_images', 'none', '--out', '{}'),
    pack_images=('pack_images', 'none', '{}.lmdb'),
    prepare_images=('prepare_images', 'none', '{}'),
    pretrain=('pretrain', 'none', '--out', '{}'),
)


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """The one line with which a command ends."""

    def run(command: tuple[str, ...], place: str) -> str:
        name, *arguments = (part.format(place) for part in command)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(ROOT / 'tools')
        monkeypatch.setattr(sys, 'argv', [name, *arguments])
        module = __import__(name)
        try:
            module.main()
        except SystemExit:
            said = capsys.readouterr().err
        except (OSError, ValueError) as error:
            # Commands whose caller prints the line.
            said = f'error: {error}\n'
        assert said.startswith('error: ')
        assert said.count('\n') == 1
        return said

    return run


@pytest.mark.parametrize('command', COMMANDS.values(), ids=COMMANDS)
def test_a_place_below_a_file(refused, command, tmp_path):
    (tmp_path / 'file').write_text('')
    said = refused(command, 'file/results/name')
    assert 'file/results/name' in said
    assert f'cannot be written: {tmp_path / "file"} is a file, not a folder' in said


@pytest.mark.parametrize('command', COMMANDS.values(), ids=COMMANDS)
def test_a_place_that_is_read_only(refused, command, tmp_path, monkeypatch):
    (tmp_path / 'disk').mkdir()
    # Whoever runs the tests may write everywhere.
    monkeypatch.setattr(os, 'access', lambda path, mode: Path(path) != tmp_path / 'disk')
    said = refused(command, 'disk/results')
    assert f'{tmp_path / "disk"} is read-only for this user; give another place' in said


@pytest.mark.parametrize('command', COMMANDS.values(), ids=COMMANDS)
def test_a_name_that_is_too_long(refused, command):
    assert 'cannot be written: File name too long' in refused(command, 'x' * 300)


def test_a_folder_in_the_place_of_a_file(refused, tmp_path):
    (tmp_path / 'name.csv').mkdir()
    said = refused(COMMANDS['classify'], 'name')
    assert 'name.csv is a folder: give the name of a file' in said
