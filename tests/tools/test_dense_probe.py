"""The tool that asks what frozen patches know of what lies where, on a tiny model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmbeitv2.apis import read_photos
from mmbeitv2.errors import InputError, MissingFileError

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = 8
COLOURS = 'colours of the patch, 4 × 4'


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import dense_probe
    import frozen_networks

    # Four heads, which the tensors do not show.
    load = frozen_networks.load_pretrained
    monkeypatch.setattr(frozen_networks, 'load_pretrained', lambda path: load(path, num_heads=4))
    return dense_probe


@pytest.fixture
def scenes(tmp_path):
    """Photos whose class is their colour, left and right; ADE20K's values."""
    random = np.random.default_rng(0)
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200]])
    for number in range(PHOTOS):
        halves = random.choice(3, 2, replace=False)
        labels = np.repeat(halves[None], 40, 0).repeat(40, 1)
        photo = colours[labels] + random.integers(-20, 20, (40, 80, 3))
        for folder, values in (('photos', photo), ('annotations', labels + 1)):
            path = tmp_path / folder / f'{number}.png'
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(path)
    return tmp_path


@pytest.fixture
def run(tool, beitv2, scenes, capsys):
    checkpoint = scenes / 'model.pth'
    torch.save(dict(state_dict=beitv2.state_dict()), checkpoint)

    def run(*arguments, annotations=scenes / 'annotations'):
        places = [checkpoint, scenes / 'photos', annotations]
        result = scenes / 'result.json'
        tool.main([str(a) for a in (*places, *arguments, '--json', result)])
        return json.loads(result.read_text()), capsys.readouterr().out

    return run


def test_photos_are_read_as_the_run_noted(tool, scenes, beitv2, capsys):
    beitv2.target_generator = None
    load = dict(type='mmbeitv2.LoadCenterCrop', size=32, value_range=(-1.0, 3.0))
    cfg = dict(test_dataloader=dict(dataset=dict(pipeline=[load, dict(type='PackInputs')])))
    meta = dict(cfg=Config(cfg).pretty_text)
    torch.save(dict(state_dict=beitv2.state_dict(), meta=meta), scenes / 'noted.pth')
    for path in (scenes / 'photos').glob('*.png'):
        values = np.asarray(Image.open(path).convert('L'), np.float32)
        Image.fromarray(values / 255 * 4 - 1).save(path.with_suffix('.tif'))
        path.unlink()
    tool.main([str(scenes / name) for name in ('noted.pth', 'photos', 'annotations')])
    assert COLOURS in capsys.readouterr().out


def ious(result):
    """IoU of each class, by colours."""
    right, asked = (np.sum(result['outcomes'][COLOURS][side], 0) for side in ('right', 'asked'))
    return right / asked


def test_what_colours_tell_is_told_by_colours(run):
    result, printed = run('--reduce-zero-label')
    assert list(result['outcomes']) == ['pretrained', 'random weights', COLOURS]
    assert len(result['photos']) == PHOTOS
    assert np.shape(result['outcomes'][COLOURS]['right']) == (PHOTOS, 3)
    assert ious(result).min() > 0.9
    assert 'labels of the other half: mIoU' in printed
    assert 'random weights' in printed


def test_labels_can_come_from_other_photos(run, scenes):
    train = ('--train', scenes / 'photos', scenes / 'annotations')
    result, printed = run('--reduce-zero-label', *train)
    assert f'labels of {scenes / "photos"}' in printed
    right, asked = (
        result['outcomes']['colours of the patch, 4 × 4'][s] for s in ('right', 'asked')
    )
    assert (np.sum(right, 0) / np.sum(asked, 0)).min() > 0.9


def test_a_photo_that_is_cut_off_is_left_out_with_its_annotation(run, scenes):
    path = scenes / 'photos/0.png'
    path.write_bytes(path.read_bytes()[:-500])
    result, printed = run('--reduce-zero-label')
    assert result['photos'] == [f'photos/{number}.png' for number in range(1, PHOTOS)]
    assert f'1 of {PHOTOS} photos cannot be read and are left out: ' in printed
    assert ious(result).min() > 0.9


def test_so_many_photos_are_drawn(run):
    result, _ = run('--reduce-zero-label', '--max-photos', '3')
    assert len(result['photos']) == 3


def test_centres_of_annotations_are_cut_as_those_of_photos(tool, scenes):
    """The boundary of a photo 80 × 40 lies in the middle of its centre."""
    labels = tool.read_labels(scenes / 'photos/0.png', scenes / 'annotations/0.png', 20, True)
    pixels = read_photos([scenes / 'photos/0.png'], 20)[0].float()
    assert labels.shape == (20, 20)
    colours = [labels[:, :9].unique().tolist(), labels[:, 11:].unique().tolist()]
    assert colours == [[int(pixels[:, 10, 2].argmax())], [int(pixels[:, 10, 17].argmax())]]


def test_zero_of_ade20k_is_no_class(tool, tmp_path):
    Image.fromarray(np.array([[0, 1], [2, 255]], np.uint8)).save(tmp_path / 'a.png')
    pair = [tmp_path / 'a.png'] * 2
    assert tool.read_labels(*pair, 2, True).tolist() == [[255, 0], [1, 255]]
    assert tool.read_labels(*pair, 2, False).tolist() == [[0, 1], [2, 255]]


class TestBadInput:
    @pytest.mark.parametrize(
        ('photos', 'annotations', 'message'),
        [
            ('none', 'annotations', 'no folder .*none: it is to hold photos'),
            ('photos', 'none', 'no folder .*none: it is to hold annotations'),
            ('photos', 'photos/empty', '0.png has no annotation .*empty/0.png: add it'),
            ('photos/empty', 'annotations', 'has 0 photos, needed are 2 or more'),
        ],
    )
    def test_folders(self, tool, scenes, photos, annotations, message):
        (scenes / 'photos/empty').mkdir()
        with pytest.raises((MissingFileError, InputError), match=message):
            tool.pairs(scenes / photos, scenes / annotations, 100)

    def test_colours_instead_of_classes(self, tool, scenes):
        with pytest.raises(InputError, match=r'0.png has shape \(40, 80, 3\), expected one value'):
            tool.read_labels(*[scenes / 'photos/0.png'] * 2, 20, False)

    def test_an_annotation_of_the_photo_turned(self, tool, scenes):
        """Labelling tools show photos by their EXIF orientation, which no reader here heeds."""
        turned = scenes / 'turned.png'
        Image.open(scenes / 'annotations/0.png').transpose(Image.Transpose.ROTATE_90).save(turned)
        with pytest.raises(InputError, match=r'turned.png has 80×40 pixels .*, its image 40×80'):
            tool.read_labels(scenes / 'photos/0.png', turned, 20, False)

    def test_a_damaged_annotation(self, tool, scenes):
        (scenes / 'annotations/0.png').write_bytes(b'no image')
        with pytest.raises(OSError, match=r'0.png. cannot be read'):
            tool.read_labels(scenes / 'photos/0.png', scenes / 'annotations/0.png', 20, False)

    def test_one_annotation_of_two_photos(self, tool, scenes):
        Image.open(scenes / 'photos/0.png').save(scenes / 'photos/0.jpg')
        with pytest.raises(InputError, match=r'0.jpg and .*0.png have one annotation'):
            tool.pairs(scenes / 'photos', scenes / 'annotations', 100)

    def test_no_class_at_all(self, run, scenes, capsys):
        empty = scenes / 'unlabelled'
        empty.mkdir()
        for number in range(PHOTOS):
            Image.fromarray(np.zeros((40, 80), np.uint8)).save(empty / f'{number}.png')
        with pytest.raises(SystemExit) as ended:
            run('--reduce-zero-label', annotations=empty)
        assert ended.value.code == 2
        assert 'no annotation names a class' in capsys.readouterr().err

    def test_one_photo(self, tool, capsys):
        with pytest.raises(SystemExit):
            tool.parse_args(['c', 'p', 'a', '--max-photos', '1'])
        assert '--max-photos is 1, allowed: 2 or more' in capsys.readouterr().err
