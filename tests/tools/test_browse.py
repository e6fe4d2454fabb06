"""What a run's model sees is drawn: the very samples of the run, with mask, class and labels."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from photo_files import write_classes
from PIL import Image

from mmbeitv2.datasets import SampleIndex
from mmbeitv2.visualization.samples import draw_sample, hide

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import browse

    yield browse
    sys.modules.pop('browse')


@pytest.fixture
def pixels():
    return torch.randint(256, (3, 4, 6), dtype=torch.uint8)


def test_hidden_patches_are_grey_and_others_as_they_are(pixels):
    sample = DataSample()
    sample.set_field(torch.tensor([[True, False, False], [False, False, True]]), 'mask')
    picture, said = draw_sample(pixels, sample)
    assert said == '2 of 6 hidden'
    photo = pixels.permute(1, 2, 0).numpy()
    assert np.array_equal(picture[:2, 2:], photo[:2, 2:])
    hidden = (0.2 * photo[:2, :2] + 0.8 * 128).round()
    assert np.array_equal(picture[:2, :2], hidden)
    with pytest.raises(ValueError, match=r'the mask has 3 × 3 patches, but the photo 4 × 6'):
        hide(photo, np.zeros((3, 3), bool))


def test_classes_are_named_and_channels_turned(pixels):
    sample = DataSample().set_gt_label(1)
    picture, said = draw_sample(pixels, sample, bgr=True, classes=['cat', 'dog'])
    assert said == 'dog'
    assert np.array_equal(picture, pixels.permute(1, 2, 0).numpy()[..., ::-1])
    assert draw_sample(pixels, sample)[1] == '1'


def test_labelled_pixels_are_coloured_and_ignored_ones_are_not(pixels):
    labels = torch.full((1, 4, 6), 255)
    labels[:, :2] = 1
    sample = SegDataSample(gt_sem_seg=PixelData(data=labels))
    palette = [[0, 0, 0], [200, 0, 100]]
    picture, said = draw_sample(pixels, sample, classes=['a', 'b'], palette=palette)
    assert said == '50% labelled'
    photo = pixels.permute(1, 2, 0).numpy()
    assert np.array_equal(picture[2:], photo[2:])
    assert np.array_equal(picture[:2], (0.5 * photo[:2] + 0.5 * np.array(palette[1])).round())


def test_normalised_inputs_are_refused():
    with pytest.raises(ValueError, match='expected uint8 pixels'):
        draw_sample(torch.rand(3, 4, 4), DataSample())


def test_the_samples_are_those_of_a_run(tool, tmp_path):
    write_classes(tmp_path / 'train', 'cat', 'dog')
    config = ROOT / 'configs/demo/beitv2_demo.py'
    options = ['--photos', '2', '--epochs', '3', '--seed', '5', '--cfg-options']
    data = [
        f'train_dataloader.dataset.data_root={tmp_path}',
        'train_dataloader.dataset.data_prefix=train',
    ]
    args = tool.parse_args([str(config), '--out', str(tmp_path / 'x.png'), *options, *data])
    drawn = list(tool.samples(tool.load_config(args.config, args.cfg_options), args))
    assert len(drawn) == 6
    assert {said for _, said in drawn} == {'14 of 36 hidden'}
    assert not np.array_equal(drawn[0][0], drawn[1][0])
    cfg = tool.load_config(args.config, args.cfg_options)
    dataset = tool.DATASETS.build(cfg.train_dataloader.dataset)
    item = dataset[SampleIndex(3, 5, 2)]
    expected, _ = draw_sample(item['inputs'], item['data_samples'])
    assert np.array_equal(drawn[-1][0], expected)
    tool.main([str(config), '--out', str(tmp_path / 'x.png'), *options, *data])
    assert Image.open(tmp_path / 'x.png').width > 300


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--out', 'x.jpg'], '--out is x.jpg, but must end in .png'),
        (['--out', 'x.png', '--photos', '0'], '--photos is 0, but must be from 1 to 100'),
        (['--out', 'x.png', '--epochs', '101'], '--epochs is 101, but must be from 1 to 100'),
        (
            ['--out', 'x.png', '--cfg-options', 'train_dataloader.dataset.data_root=nowhere'],
            'nowhere',
        ),
    ],
)
def test_what_cannot_be_drawn_is_one_line(tool, options, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        tool.main([str(ROOT / 'configs/demo/beitv2_demo.py'), *options])
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1
