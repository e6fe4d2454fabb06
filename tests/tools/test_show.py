"""``mmbeitv2 show``: four figures from a checkpoint and a folder, or one line before any work."""

import random
from pathlib import Path

import pytest
import torch
from photo_files import write_classes
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import show

    return show


@pytest.fixture
def folder(tmp_path):
    return write_classes(tmp_path / 'photos', 'cat', 'dog')


@pytest.fixture
def run(tool, checkpoint, folder, tmp_path, capsys):
    def run(*arguments, checkpoint=checkpoint, photos=folder):
        options = ['--out', str(tmp_path / 'figures'), '--num-heads', '4']
        tool.main([str(checkpoint), str(photos), *options, *map(str, arguments)])
        return capsys.readouterr().out

    return run


def test_four_figures_are_written_and_named(run, tmp_path):
    state = random.getstate()
    printed = run('--count', 2, '--neighbours', 3)
    names = ['features.png', 'attention.png', 'codes.png', 'neighbours.png']
    assert printed.splitlines() == [str(tmp_path / 'figures' / name) for name in names]
    assert all(Image.open(tmp_path / 'figures' / name).width > 200 for name in names)
    assert random.getstate() == state


def test_a_photo_may_be_chosen_and_the_masks_drawn_anew(run, tmp_path, folder):
    run('--photo', folder / 'dog' / '1.png')
    first = (tmp_path / 'figures' / 'codes.png').read_bytes()
    run('--photo', folder / 'dog' / '1.png')
    assert (tmp_path / 'figures' / 'codes.png').read_bytes() == first
    run('--photo', folder / 'dog' / '1.png', '--seed', 5)
    assert (tmp_path / 'figures' / 'codes.png').read_bytes() != first


def test_without_a_tokenizer_codes_are_left_out_and_it_is_said(run, beitv2, tokenizer, tmp_path):
    beitv2.target_generator = None
    bare, tokens = tmp_path / 'bare.pth', tmp_path / 'tokenizer.pth'
    torch.save(dict(state_dict=beitv2.state_dict()), bare)
    torch.save(dict(state_dict=tokenizer.state_dict()), tokens)
    assert 'no codes.png: the checkpoint has no tokenizer' in run(checkpoint=bare)
    assert not (tmp_path / 'figures' / 'codes.png').exists()
    assert 'no codes.png' not in run('--tokenizer', tokens, checkpoint=bare)
    assert (tmp_path / 'figures' / 'codes.png').exists()


@pytest.mark.parametrize('left', [60, 0])
def test_photos_that_cannot_be_read_are_left_out_and_named(run, refusal, tmp_path, folder, left):
    """They had ended the tool, which reads every photo of the folder."""
    cut = folder / 'cat' / '0.png'
    whole = cut.read_bytes()
    cut.write_bytes(whole[:left])
    printed = run('--count', 2, '--neighbours', 2)
    assert f'1 of 4 photos cannot be read and are left out: {cut}' in printed
    assert len(list((tmp_path / 'figures').glob('*.png'))) == 4
    assert f"'{cut}' cannot be read" in refusal('--photo', cut)
    (folder / 'cat' / '1.png').write_bytes(whole[:left])
    assert '2 of 4 photos cannot be read so far, borne are 1' in refusal()
    assert '2 of 4 photos' in run('--max-unreadable', 0.5)
    (folder / 'dog' / '0.png').write_bytes(whole[:left])
    assert 'has 1 photo that can be read' in refusal('--max-unreadable', 0.9)


def test_what_cannot_be_used_is_one_line(refusal, folder, tmp_path, checkpoint):
    (tmp_path / 'empty').mkdir()
    assert 'has no photo' in refusal(photos=tmp_path / 'empty')
    assert 'count is 0, allowed: 1' in refusal('--count', 0)
    assert 'neighbours is 0' in refusal('--neighbours', 0)
    assert 'layer is 9, allowed: -5 to 4' in refusal('--layer', 9)
    assert 'is no photo of' in refusal('--photo', checkpoint)
    assert 'is a file: give the name of a folder' in refusal('--out', checkpoint)
    assert 'lies in the folder of photos' in refusal('--out', folder / 'figures')
    for path in [*folder.glob('dog/*'), folder / 'cat' / '1.png']:
        path.unlink()
    assert 'has 1 photo, needed are 2' in refusal()
