"""``mmbeitv2 atlas``: a page from a checkpoint and a folder, or one line before any work."""

import json
import re
from pathlib import Path

import pytest
import torch
from photo_files import write_classes, write_photo

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import atlas

    return atlas


@pytest.fixture
def checkpoint(tokenizer, tmp_path):
    torch.save(dict(state_dict=tokenizer.state_dict()), tmp_path / 'tokenizer.pth')
    return tmp_path / 'tokenizer.pth'


@pytest.fixture
def folder(tmp_path):
    return write_classes(tmp_path / 'photos', 'cat', 'dog')


@pytest.fixture
def run(tool, checkpoint, folder, tmp_path):
    def run(*arguments, tokenizer=checkpoint, photos=folder):
        out = ['--out', str(tmp_path / 'page' / 'atlas.html'), '--num-heads', '4']
        tool.main([str(tokenizer), str(photos), *out, *map(str, arguments)])
        text = (tmp_path / 'page' / 'atlas.html').read_text()
        return json.loads(re.search(r'id="data">(.*)</script>', text)[1])

    return run


def test_a_page_is_written_and_its_size_said(run, capsys):
    data = run()
    assert (data['seen'], data['patches'], data['classes']) == (4, 64, [])
    assert data['title'].endswith('/tokenizer.pth')
    assert re.search(r'atlas.html: \d+\.\d MB; open it in a browser', capsys.readouterr().out)


def test_labels_are_folders_or_a_table(run, tmp_path):
    assert run('--labels')['classes'] == ['cat', 'dog']
    (tmp_path / 'labels.csv').write_text('cat/0.png,good\n')
    data = run('--labels', tmp_path / 'labels.csv')
    assert (data['classes'], data['labelled']) == (['good'], [1])


def test_a_photo_that_is_cut_off_is_left_out_and_named(run, folder, capsys):
    expected = run('--labels')
    capsys.readouterr()
    # Before the others, whose numbers must not move.
    cut = write_photo(folder / 'cat' / '-.jpg', size=(64, 64))
    cut.write_bytes(cut.read_bytes()[:700])
    assert run('--labels') == expected
    assert '1 of 5 photos cannot be read and are left out: cat/-.jpg (' in capsys.readouterr().out
    assert run('--labels', '--shown', 4)['photos'] == expected['photos']


def test_fewer_photos_may_be_shown(run):
    assert len(run('--shown', 1)['photos']['names']) <= 4


def test_what_cannot_be_used_is_one_line(refusal, run, tmp_path, folder, checkpoint):
    (tmp_path / 'empty').mkdir()
    assert 'has no photo' in refusal(photos=tmp_path / 'empty')
    (tmp_path / 'labels.csv').write_text('cat/9.png,good\n')
    assert "'cat/9.png'. Write paths" in refusal('--labels', tmp_path / 'labels.csv')
    assert 'is a folder' in refusal('--out', tmp_path)
    assert 'does not end in .html' in refusal('--out', tmp_path / 'atlas.png')
    assert 'megabytes is 0.0' in refusal('--megabytes', 0)
    assert 'shown is 0, allowed: 1' in refusal('--shown', 0)
    assert 'batch_size is 0, allowed: 1' in refusal('--batch-size', 0)
    (folder / 'cat' / 'a.jpg').write_text('no image')
    cut = write_photo(folder / 'cat' / 'cut.jpg', size=(64, 64))
    cut.write_bytes(cut.read_bytes()[:700])
    assert '2 of 6 photos cannot be read so far, borne are 1; the first are ' in refusal()
    assert 'max_unreadable is 2.0' in refusal('--max-unreadable', 2)


def test_a_pretraining_checkpoint_serves_by_its_tokenizer(run, refusal, beitv2, tmp_path):
    torch.save(dict(state_dict=beitv2.state_dict()), tmp_path / 'pretrained.pth')
    assert run(tokenizer=tmp_path / 'pretrained.pth')['total'] == 64
    beitv2.target_generator = None
    torch.save(dict(state_dict=beitv2.state_dict()), tmp_path / 'pretrained.pth')
    assert 'okenizer' in refusal(tokenizer=tmp_path / 'pretrained.pth')
