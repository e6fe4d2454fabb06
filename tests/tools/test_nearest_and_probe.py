"""Nearest photos of a photo, and what a checkpoint's features know of a folder's classes."""

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmbeitv2.apis import embed, nearest

ROOT = Path(__file__).resolve().parents[2]
COLOURS = dict(blue=(30, 40, 220), green=(30, 210, 60), red=(220, 40, 30))


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run a tool without workers, in float32; its exit code, output and error output."""

    def run(name, *arguments):
        monkeypatch.syspath_prepend(ROOT / 'tools')
        module = __import__(name)
        sys.modules.pop(name)
        code = 0
        options = ['--workers', '0', '--precision', 'float32', '--num-heads', '4']
        try:
            module.main([*map(str, arguments), *options])
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def checkpoint(beitv2, tmp_path):
    torch.save(beitv2.state_dict(), tmp_path / 'model.pth')
    return tmp_path / 'model.pth'


@pytest.fixture
def photos(tmp_path):
    """Four photos of each of three colours, with some noise, in class folders."""
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (tmp_path / 'photos' / name).mkdir(parents=True)
        for index in range(4):
            pixels = np.clip(random.normal(colour, 12, (64, 64, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'photos' / name / f'{index}.png')
    return tmp_path / 'photos'


def names_of(printed):
    return [line.split('  ')[1] for line in printed.splitlines()]


def test_nearest_orders_by_cosine():
    features = np.array([[1.0, 0], [0, 2], [3, 3], [-1, 0]])
    found = nearest(np.array([2.0, 0.1]), features, list('abcd'), 3)
    assert [one.name for one in found] == ['a', 'c', 'b']
    assert found[0].cosine == pytest.approx(2 / np.hypot(2, 0.1))
    with pytest.raises(ValueError, match='both must come from one checkpoint'):
        nearest(np.zeros(3), features, list('abcd'))
    with pytest.raises(ValueError, match='count is 0'):
        nearest(np.zeros(2), features, list('abcd'), 0)


def test_a_photo_is_nearest_to_itself_and_to_those_alike(checkpoint, photos, tool, tmp_path):
    picture, table = tmp_path / 'n.png', tmp_path / 'n.json'
    asked = photos / 'red/2.png'
    options = ['--count', 4, '--picture', picture, '--json', table]
    code, printed, _ = tool('nearest', checkpoint, photos, asked, *options)
    assert code == 0
    names = names_of(printed)
    assert names[0] == 'red/2.png'
    assert {Path(name).parent.name for name in names} == {'red'}
    assert [row['name'] for row in json.loads(table.read_text())] == names
    assert Image.open(picture).width > 300


def test_a_file_of_embeddings_answers_for_its_own_photos_and_for_others(
    checkpoint, photos, tool, tmp_path, beitv2
):
    file = tmp_path / 'all.npz'
    embed(checkpoint, photos, file, num_heads=4, precision='float32')
    of_checkpoint = tool('nearest', checkpoint, photos, photos / 'blue/1.png')[1]
    assert names_of(tool('nearest', file, 'blue/1.png')[1]) == names_of(of_checkpoint)
    assert names_of(tool('nearest', file, photos / 'blue/1.png')[1]) == names_of(of_checkpoint)
    Image.new('RGB', (80, 70), COLOURS['green']).save(tmp_path / 'new.png')
    code, _, error = tool('nearest', file, tmp_path / 'new.png')
    assert (code, error.count('\n')) == (2, 1)
    assert 'has no photo' in error
    printed = tool('nearest', file, tmp_path / 'new.png', '--checkpoint', checkpoint)[1]
    assert names_of(printed)[0].startswith('green/')
    with torch.no_grad():
        beitv2.backbone.cls_token += 1
    torch.save(beitv2.state_dict(), tmp_path / 'other.pth')
    other = ['--checkpoint', tmp_path / 'other.pth']
    code, _, error = tool('nearest', file, tmp_path / 'new.png', *other)
    assert (code, error.count('\n')) == (2, 1)
    assert 'is not the checkpoint of' in error
    meta = dict(cfg='data_preprocessor = dict(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.4])')
    content = dict(state_dict=torch.load(checkpoint, weights_only=True), meta=meta)
    torch.save(content, tmp_path / 'other.pth')
    code, _, error = tool('nearest', file, tmp_path / 'new.png', *other)
    assert (code, error.count('\n')) == (2, 1)
    assert 'or has other heads or another normalisation' in error


def test_a_name_that_means_two_photos(checkpoint, photos, tool, tmp_path, monkeypatch):
    """Of the file's folder, and of the one where the command is given."""
    embed(checkpoint, photos, tmp_path / 'all.npz', num_heads=4, precision='float32')
    shutil.copytree(photos / 'red', tmp_path / 'here' / 'blue')
    monkeypatch.chdir(tmp_path / 'here')
    code, _, error = tool('nearest', tmp_path / 'all.npz', 'blue/1.png')
    assert (code, error.count('\n')) == (2, 1)
    assert 'and of another file here: give the absolute path' in error
    found = tool('nearest', tmp_path / 'all.npz', photos / 'blue/1.png')[1]
    assert names_of(found)[0] == 'blue/1.png'


def test_a_probe_of_the_folder_where_one_is(checkpoint, photos, tool, monkeypatch):
    """Its photos are those of the same folder by its path, also in folders below."""
    (photos / 'red/2021').mkdir()
    (photos / 'red/0.png').rename(photos / 'red/2021/0.png')
    options = ['--shots', 1, '--draws', 3]
    expected = tool('probe', checkpoint, photos, *options)
    assert '3 classes' in expected[1]
    monkeypatch.chdir(photos)
    assert tool('probe', checkpoint, '.', *options)[:2] == expected[:2]


def test_a_probe_is_right_where_classes_are_plain_and_names_other_photos(
    checkpoint, photos, tool, tmp_path
):
    new = tmp_path / 'new'
    new.mkdir()
    for name, colour in COLOURS.items():
        Image.new('RGB', (70, 80), colour).save(new / f'{name}.png')
    out = tmp_path / 'out.csv'
    options = ['--shots', 1, 3, '--draws', 3, '--ask', new, '--out', out]
    code, printed, _ = tool('probe', checkpoint, photos, *options)
    assert code == 0
    rows = [line for line in printed.splitlines() if line.startswith(('[CLS]', 'mean'))]
    assert [row.split('  ')[0] for row in rows] == [
        '[CLS]',
        'mean of patches',
        'mean colours, 4 × 4',
    ]
    assert '100.0 ± 0.0' in rows[1]
    found = {row['photo']: row['class'] for row in csv.DictReader(out.open())}
    assert found == {f'{name}.png': name for name in COLOURS}


def test_copies_are_told(checkpoint, photos, tool):
    """In the table they stand as right answers."""
    options = ['--shots', 1, '--draws', 2]
    assert 'copies' not in tool('probe', checkpoint, photos, *options)[1]
    shutil.copy(photos / 'blue/0.png', photos / 'blue/9.png')
    Image.open(photos / 'red/0.png').save(photos / 'red/9.bmp')
    printed = tool('probe', checkpoint, photos, *options)[1]
    copy, of = photos / 'blue/9.png', photos / 'blue/0.png'
    assert (
        f'2 of 14 photos that are asked about are copies of another one, such as {copy} of {of}'
        in printed
    )


def test_a_class_is_not_lost_with_photos_that_cannot_be_read(checkpoint, photos, tool):
    for path in (photos / 'red').iterdir():
        path.write_bytes(b'no image')
    options = ['--shots', 1, '--draws', 2, '--max-unreadable', 1]
    code, _, error = tool('probe', checkpoint, photos, *options)
    assert code == 2
    assert "no photo of the class 'red' can be read" in error


def test_a_class_of_one_photo_is_named_before_any_is_read(checkpoint, photos, tool):
    for path in sorted((photos / 'red').iterdir())[1:]:
        path.unlink()
    (photos / 'green/0.png').write_bytes(b'would be said first')
    code, output, error = tool('probe', checkpoint, photos, '--shots', 1)
    assert (code, output, error.count('\n')) == (2, '', 1)
    assert "the class 'red' has 1 photo, but needs 2 or more" in error


@pytest.mark.parametrize(
    ('name', 'arguments', 'message'),
    [
        ('nearest', ['model.pth', 'photos'], 'expected CHECKPOINT PHOTOS PHOTO'),
        ('nearest', ['x.npz', 'photos', 'a.png'], 'expected a file of embeddings and PHOTO'),
        ('nearest', ['x.npz', 'a.png'], 'no file of embeddings at x.npz'),
        ('nearest', ['model.pth', 'photos', 'none.png'], 'no photos at none.png'),
        ('nearest', ['model.pth', 'photos', 'a.png', '--picture', 'a.gif'], 'must end in .png'),
        ('nearest', ['none.pth', 'photos', 'a.png', '--count', '0'], '--count is 0, but must be 1'),
        ('probe', ['none.pth', 'photos', '--shots', '1', '0'], '--shots has 0, allowed: 1 or more'),
        ('probe', ['model.pth', 'nowhere'], 'no folder nowhere'),
        ('probe', ['model.pth', 'photos', '--ask', 'x'], '--ask PHOTOS and --out FILE.csv belong'),
        ('probe', ['model.pth', 'photos', '--draws', '1'], '--draws is 1, but must be 2 or more'),
        ('probe', ['model.pth', 'photos/red'], 'has 4 photos in no class folder'),
    ],
)
def test_what_cannot_be_done_is_one_line(
    checkpoint, photos, tool, name, arguments, message, monkeypatch
):
    monkeypatch.chdir(photos.parent)
    code, _, error = tool(name, *arguments)
    assert (code, error.count('\n')) == (2, 1)
    assert message in error
