"""Images of 1, 4 and 13 channels from files to a pretrained backbone, or one line."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import timm
import torch
from mmengine.config import Config
from PIL import Image

import mmbeitv2
from mmbeitv2.apis import load_tokenizer, tokenize
from mmbeitv2.datasets import LoadCenterCrop, LoadRandomCrop
from mmbeitv2.datasets.channels import RGBView, read_channels
from mmbeitv2.errors import InputError, UserError
from mmbeitv2.evaluation.learning_record import read_learning
from mmbeitv2.launch import preflight
from mmbeitv2.launch.channels import check_channels
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.config_parts import check_parts
from mmbeitv2.launch.runner import build_runner
from mmbeitv2.models import BEiTViT
from mmbeitv2.models.backbone import adapt_channels_of

CONFIGS = Path(mmbeitv2.__file__).parents[1] / 'configs/demo'
WIDTH = dict(embed_dim=32, num_heads=2)
VIEWS = {1: 'repeat', 4: [2, 1, 0], 13: [[1 / 13] * 13] * 3}


def bands(channels, seed=0, kind=np.uint16, side=40):
    return np.random.default_rng(seed).integers(0, 60000, (side, side, channels)).astype(kind)


def write(path, pixels):
    """A grey PNG of 16 bits, or a TIFF of several bands."""
    if pixels.shape[2] == 1:
        Image.fromarray(pixels[..., 0]).save(path)
    else:
        tifffile.imwrite(path, pixels, photometric='minisblack', planarconfig='contig')
    return path


@pytest.fixture
def folder(tmp_path, request):
    channels = request.param
    name = 'png' if channels == 1 else 'tif'
    for split in ('train', 'val'):
        (tmp_path / split).mkdir()
        for index in range(4):
            write(tmp_path / f'{split}/{index}.{name}', bands(channels, index))
    return tmp_path, channels


def the_line(call, kind=UserError):
    with pytest.raises(kind) as caught:
        call()
    (line,) = str(caught.value).splitlines()
    return line


def settled(cfg, data, channels, work_dir):
    """A demo config of small sizes for images of other channels."""
    cfg.update(work_dir=str(work_dir), load_from=None)
    cfg.train_cfg.max_epochs = 1
    cfg.param_scheduler = []
    cfg.custom_hooks = []
    cfg.default_hooks.learning = dict(type='mmbeitv2.LearningHook')
    cfg.data_preprocessor.channels = channels
    for split in ('train', 'val'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.update(data_root=str(data), data_prefix=split)
        loader.dataset.pop('ann_file', None)
        loading = loader.dataset.pipeline[0]
        inner = loading.get('transforms', [loading])
        inner[0].channels = channels
        inner[:] = [t for t in inner if not t['type'].endswith('JitterCrop')]
    cfg.test_dataloader = cfg.val_dataloader
    return cfg


def tokenizer_config(data, channels, work_dir):
    torch.manual_seed(0)
    network = timm.create_model('test_efficientnet', pretrained=False)
    work_dir.mkdir(exist_ok=True)
    torch.save(network.state_dict(), work_dir / 'teacher.pth')
    cfg = settled(Config.fromfile(CONFIGS / 'vqkd_demo.py'), data, channels, work_dir)
    cfg.model.encoder.update(depth=1, in_chans=channels, **WIDTH)
    cfg.model.decoder.update(depth=1, **WIDTH)
    cfg.model.quantizer.update(num_codes=16, code_dim=8, kmeans_init=False)
    cfg.model.teacher.update(
        model='test_efficientnet', checkpoint=str(work_dir / 'teacher.pth'), view=VIEWS[channels]
    )
    cfg.val_evaluator.num_codes = 16
    cfg.test_evaluator = cfg.val_evaluator
    return cfg


def pretraining_config(data, channels, tokenizer, work_dir):
    cfg = settled(Config.fromfile(CONFIGS / 'beitv2_demo.py'), data, channels, work_dir)
    cfg.model.backbone.update(arch=dict(depth=2, **WIDTH), in_chans=channels)
    cfg.model.neck.update(layer=1, depth=1, **WIDTH)
    cfg.model.head.update(embed_dim=32, num_codes=16)
    cfg.model.target_generator.encoder.update(depth=1, in_chans=channels, **WIDTH)
    cfg.model.target_generator.quantizer.update(num_codes=16, code_dim=8)
    cfg.model.target_generator.init_cfg.checkpoint = str(tokenizer)
    cfg.data_preprocessor.update(mean=[0.5] * channels, std=[0.3] * channels)
    return cfg


def assert_looked_at(runner, figures):
    """Before the run's only epoch and after it, at all four held-out photos."""
    looks = read_learning(runner.work_dir)
    assert [(look['epoch'], look['photos']['held_out']) for look in looks] == [(0, 4), (1, 4)]
    assert all(np.isfinite(look['measures'][name]) for look in looks for name in figures)


@pytest.mark.parametrize(
    'folder',
    [pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow), 13],
    indirect=True,
)
def test_a_tokenizer_and_a_backbone_are_trained_on_other_channels(folder, tmp_path):
    data, channels = folder
    cfg = tokenizer_config(data, channels, tmp_path / 'vqkd')
    preflight.check(cfg)
    runner = build_runner(cfg)
    runner.train()
    assert_looked_at(runner, ('loss_held_out', 'code_perplexity', 'rank_mean'))
    tokenizer = tmp_path / 'tokenizer.pth'
    torch.save(dict(state_dict=runner.model.state_dict()), tokenizer)
    codes = tokenize(load_tokenizer(str(tokenizer)), torch.rand(1, channels, 96, 96) * 2 - 1)
    assert codes.shape == (1, 6, 6)
    cfg = pretraining_config(data, channels, tokenizer, tmp_path / 'pretrain')
    preflight.check(cfg)
    runner = build_runner(cfg)
    before = runner.model.backbone.patch_embed.proj.weight.clone()
    runner.train()
    assert_looked_at(runner, ('loss_held_out', 'loss_constant', 'attention_entropy', 'rank_cls'))
    after = runner.model.backbone.patch_embed.proj.weight
    assert after.shape[1] == channels
    assert after.isfinite().all()
    assert not torch.equal(before, after)


@pytest.mark.parametrize('folder', [4], indirect=True)
def test_what_does_not_fit_together_is_one_line_before_training(folder, tmp_path):
    data, channels = folder
    cfg = tokenizer_config(data, channels, tmp_path / 'vqkd')
    cfg.model.teacher.pop('view')
    assert 'model.teacher.view is None' in the_line(lambda: preflight.check(cfg))
    cfg = tokenizer_config(data, channels, tmp_path / 'vqkd')
    cfg.data_preprocessor.channels = 3
    assert 'data_preprocessor.channels=3' in the_line(lambda: preflight.check(cfg))
    write(data / 'train/0.tif', bands(5))
    cfg = tokenizer_config(data, channels, tmp_path / 'vqkd')
    line = the_line(lambda: preflight.check(cfg), InputError)
    assert 'train/0.tif' in line
    assert 'holds 5 channels, but channels=4' in line


@pytest.mark.parametrize('channels', [1, 4, 13])
def test_sixteen_bits_are_scaled_in_every_channel(tmp_path, channels):
    pixels = bands(channels)
    path = write(tmp_path / ('x.png' if channels == 1 else 'x.tif'), pixels)
    expected = np.rint(pixels / 257).astype(np.uint8)
    assert (read_channels(str(path), channels) == expected).all()
    ranged = np.rint(pixels.clip(0, 10000) / 10000 * 255)
    found = read_channels(str(path), channels, value_range=(0, 10000))
    assert np.abs(found - ranged).max() <= 1


def test_pages_of_a_tiff_are_channels(tmp_path):
    pixels = bands(5, kind=np.uint8)
    pages = pixels.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / 'x.tif', pages, photometric='minisblack')
    assert (read_channels(str(tmp_path / 'x.tif'), 5) == pixels).all()


def test_crops_of_other_channels_are_those_of_each_channel(tmp_path):
    """A crop of four equal channels has four equal planes, as with RGB."""
    grey = bands(1, kind=np.uint8)
    Image.fromarray(np.repeat(grey, 4, 2), 'RGBA').save(tmp_path / 'four.png')
    Image.fromarray(np.repeat(grey, 3, 2), 'RGB').save(tmp_path / 'three.png')
    loaders = ((LoadRandomCrop, dict(scale=(0.2, 1), flip_prob=1)), (LoadCenterCrop, {}))
    for load, options in loaders:
        planes = {}
        for name, channels in (('three', 3), ('four', 4)):
            np.random.seed(0)
            result = load(16, channels=channels, **options)(
                dict(img_path=str(tmp_path / f'{name}.png'))
            )
            planes[name] = result['img']
        assert planes['four'].shape == (4, 16, 16)
        assert torch.equal(planes['four'], planes['three'][:1].expand(4, -1, -1))


def test_float_bands_without_a_range_and_palettes_are_refused(tmp_path):
    write(tmp_path / 'x.tif', bands(4).astype(np.float32))
    line = the_line(lambda: read_channels(str(tmp_path / 'x.tif'), 4), InputError)
    assert 'value_range' in line
    Image.fromarray(bands(1, kind=np.uint8)[..., 0]).convert('P').save(tmp_path / 'p.png')
    line = the_line(lambda: read_channels(str(tmp_path / 'p.png'), 1), InputError)
    assert 'mode P' in line


def test_views_are_the_choice_of_the_user():
    images = torch.rand(2, 4, 3, 3) * 2 - 1
    assert torch.allclose(RGBView(4, [3, 2, 0], 'view')(images), images[:, [3, 2, 0]], atol=1e-6)
    mean = RGBView(4, [[0.25] * 4] * 3, 'view')(images)
    assert torch.allclose(mean, images.mean(1, keepdim=True).expand(-1, 3, -1, -1), atol=1e-6)
    wrong = ((4, 'repeat'), (4, [0, 1, 4]), (4, [[1.0] * 3] * 3), (4, None), (1, None))
    for channels, view in wrong:
        assert 'view' in the_line(lambda c=channels, v=view: RGBView(c, v, 'view'), InputError)


def test_a_view_is_as_fine_under_autocast():
    images = torch.rand(1, 4, 16, 16) * 2 - 1
    view = RGBView(4, [3, 2, 0], 'view')
    with torch.autocast('cpu', torch.bfloat16):
        seen = view(images)
    assert torch.equal(seen, view(images))


@pytest.mark.parametrize('channels', [1, 4])
def test_weights_of_rgb_are_adapted_on_demand_alone(tmp_path, channels):
    arch = dict(depth=1, **WIDTH)
    source = BEiTViT(arch, img_size=32)
    source.init_weights()
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'rgb.pth')
    model = BEiTViT(arch, img_size=32, in_chans=channels)
    line = the_line(lambda: model.load_checkpoint(str(tmp_path / 'rgb.pth')), InputError)
    assert 'adapt_channels=True' in line
    model.load_checkpoint(str(tmp_path / 'rgb.pth'), adapt_channels=True)
    weight = source.patch_embed.proj.weight
    rule = weight.sum(1, keepdim=True) if channels == 1 else weight[:, [0, 1, 2, 0]] * 3 / 4
    torch.testing.assert_close(model.patch_embed.proj.weight, rule)


@pytest.mark.parametrize('channels', [1, 2, 4, 13])
def test_weights_of_rgb_are_adapted_by_timms_rule(channels):
    weight = torch.randn(6, 3, 2, 2)
    expected = timm.models.adapt_input_conv(channels, weight)
    torch.testing.assert_close(adapt_channels_of(weight, channels), expected)


def test_weights_of_other_channels_than_rgb_are_adapted_too():
    near, far = torch.randn(6, 2, 2, 2).split(1, dim=1)
    weight = torch.cat([near, far], dim=1)
    torch.testing.assert_close(adapt_channels_of(weight, 1), near + far)
    expected = torch.cat([near, far, near], dim=1) * 2 / 3
    torch.testing.assert_close(adapt_channels_of(weight, 3), expected)


def test_adapted_weights_see_a_grey_image_as_its_three_equal_channels(tmp_path):
    arch = dict(depth=1, **WIDTH)
    source = BEiTViT(arch, img_size=32)
    source.init_weights()
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'rgb.pth')
    model = BEiTViT(arch, img_size=32, in_chans=1)
    model.load_checkpoint(str(tmp_path / 'rgb.pth'), adapt_channels=True)
    grey = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(model(grey)[0], source(grey.expand(-1, 3, -1, -1))[0])


def test_the_check_before_a_run_knows_what_a_teacher_sees():
    name = 'mmbeitv2::vqkd/vqkd_encoder-b16_decoder-1x768x12_clip-b16_100e.py'
    cfg = load_config(name)
    cfg.model.teacher.view = [3, 2, 1]
    check_parts(cfg, ('train',))
    cfg.model.teacher.views = [3, 2, 1]
    with pytest.raises(ValueError, match=r'model\.teacher\.views: CLIPTeacher takes no views'):
        check_parts(cfg, ('train',))


@pytest.mark.parametrize('channels', [3, 4])
def test_all_bits_of_a_png_of_several_channels_count(tmp_path, channels):
    values = np.full((8, 8, channels), 4095, np.uint16)
    values[..., 0] = 0
    path = tmp_path / 'photo.png'
    cv2.imwrite(str(path), values[..., [2, 1, 0, 3][:channels]])
    scaled = read_channels(str(path), channels, value_range=(0, 4095))
    assert scaled[0, 0].tolist() == [0, *[255] * (channels - 1)]
    assert read_channels(str(path), channels)[0, 0].tolist() == [0, *[16] * (channels - 1)]


def test_numbers_that_are_no_brightness_are_refused(tmp_path):
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    grey.convert('P').save(tmp_path / 'palette.tif')
    write(tmp_path / 'complex.tif', np.ones((8, 8, 2), np.complex64))
    for name, channels, word in (('palette', 1, 'mode P'), ('complex', 2, 'complex numbers')):
        line = the_line(lambda n=name, c=channels: read_channels(str(tmp_path / f'{n}.tif'), c))
        assert word in line


def test_compressed_bands_are_read(tmp_path):
    pytest.importorskip('imagecodecs')
    values = bands(4, kind=np.uint8)
    Image.fromarray(values, 'RGBA').save(tmp_path / 'photo.tif', compression='tiff_lzw')
    assert (read_channels(str(tmp_path / 'photo.tif'), 4) == values).all()


def test_a_crop_may_have_more_channels_than_opencv_flips(tmp_path):
    path = write(tmp_path / 'photo.tif', bands(130))
    plain, mirrored = (
        LoadRandomCrop(16, scale=(1, 1), ratio=(1, 1), channels=130, flip_prob=p)
        for p in (0.0, 1.0)
    )
    one, other = (crop.transform(dict(img_path=str(path)))['img'] for crop in (plain, mirrored))
    assert torch.equal(one.flip(-1), other)


def test_channels_of_mmpretrains_preprocessor_are_those_of_its_mean(tmp_path):
    write(tmp_path / '0.tif', bands(4))
    (tmp_path / 'list.txt').write_text('0.tif 0\n')
    loading = dict(type='mmbeitv2.LoadCenterCrop', size=32, channels=4)
    dataset = dict(type='mmbeitv2.Photos', data_root=str(tmp_path), ann_file='list.txt',
                   pipeline=[loading])  # fmt: skip
    cfg = Config(
        dict(
            model=dict(backbone=dict(in_chans=4)),
            data_preprocessor=dict(mean=[1, 2, 3, 4], std=[1, 1, 1, 1]),
            train_dataloader=dict(batch_size=1, dataset=dataset),
        )
    )
    check_channels(cfg, ['train'])
    cfg.data_preprocessor.mean = [1, 2, 3]
    assert 'data_preprocessor.channels=3' in the_line(lambda: check_channels(cfg, ['train']))
    cfg.data_preprocessor.mean = [1, 2, 3, 4]
    (tmp_path / '0.tif').write_bytes(b'')
    assert 'empty' in the_line(lambda: check_channels(cfg, ['train']))
    dataset['on_error'] = 'replace'
    cfg.train_dataloader.dataset = dataset
    check_channels(cfg, ['train'])
