"""What 8 bits cannot hold is scaled or refused, alike in every loader."""

import struct

import numpy as np
import pytest
from PIL import Image

from mmbeitv2.datasets import (
    LoadCenterCrop,
    LoadImage,
    LoadRandomCrop,
    LoadSegmentationImage,
)
from mmbeitv2.datasets.decoding import to_rgb
from mmbeitv2.errors import UserError

LOADERS = {
    'LoadImage': LoadImage,
    'LoadRandomCrop': lambda **options: LoadRandomCrop(32, (1, 1), (1, 1), **options),
    'LoadCenterCrop': lambda **options: LoadCenterCrop(32, **options),
    'LoadSegmentationImage': LoadSegmentationImage,
}
GRADIENT = np.arange(32 * 32).reshape(32, 32) * 64
PALETTE = [value for i in range(256) for value in (i, 255 - i, i // 2)]


def pixels_of(loader, path, **options):
    """RGB pixels (32, 32, 3) of a square image of 32 pixels, int64."""
    image = LOADERS[loader](**options)({'img_path': str(path)})['img']
    if loader == 'LoadSegmentationImage':
        image = image[..., ::-1]
    if loader.endswith('Crop'):
        image = image.permute(1, 2, 0)
    return np.asarray(image).astype(np.int64)


@pytest.fixture(params=LOADERS)
def loader(request):
    return request.param


@pytest.mark.parametrize('suffix', ['png', 'tiff', 'pgm', 'jp2'])
def test_16_bits_equal_their_8_bit_twin(tmp_path, loader, suffix):
    path = tmp_path / f'deep.{suffix}'
    options = dict(irreversible=False) if suffix == 'jp2' else {}
    # Before Pillow 10 a PGM of 16 bits is written from integers of 32 bits only.
    dtype = np.int32 if suffix == 'pgm' else np.uint16
    Image.fromarray(GRADIENT.astype(dtype)).save(path, **options)
    twin = np.rint(GRADIENT / 65535 * 255)[..., None].repeat(3, axis=2)
    assert np.abs(pixels_of(loader, path) - twin).max() <= 1


@pytest.mark.parametrize('order', ['<', '>'])
def test_both_byte_orders_are_read(tmp_path, order):
    path = tmp_path / 'deep.tiff'
    mode = {'<': 'I;16', '>': 'I;16B'}[order]
    content = GRADIENT.astype(f'{order}u2').tobytes()
    Image.frombytes(mode, (32, 32), content).save(path)
    twin = np.rint(GRADIENT / 257)
    assert np.abs(pixels_of('LoadImage', path)[..., 0] - twin).max() <= 1


def deep(path, kind):
    values = GRADIENT / GRADIENT.max() if kind == 'float' else GRADIENT * 30000
    Image.fromarray(values.astype(np.float32 if kind == 'float' else np.int32)).save(path)
    return path, (0, 1) if kind == 'float' else (0, GRADIENT.max() * 30000)


@pytest.mark.parametrize('kind', ['float', 'integer'])
def test_32_bits_need_a_declared_range(tmp_path, loader, kind):
    path, value_range = deep(tmp_path / 'deep.tiff', kind)
    with pytest.raises(UserError, match=f"'{path}' holds {kind} numbers.*value_range") as error:
        pixels_of(loader, path)
    assert '\n' not in str(error.value)
    twin = np.rint(GRADIENT / GRADIENT.max() * 255)[..., None].repeat(3, axis=2)
    assert np.abs(pixels_of(loader, path, value_range=value_range) - twin).max() <= 1


def test_unsigned_32_bits_stay_positive(tmp_path):
    """Pillow's 32-bit mode has a sign."""
    path = tmp_path / 'counts.tiff'
    values = (GRADIENT * 65000).astype(np.uint32)
    Image.frombytes('I', (32, 32), values.tobytes()).save(path)
    content = bytearray(path.read_bytes())
    # Pillow writes what it has, signed integers: the tag's number, type, count and value.
    entry = content.index(struct.pack('<HHI', 339, 3, 1))
    content[entry + 8] = 1
    path.write_bytes(content)
    assert Image.open(path).tag_v2[339] == (1,)
    twin = np.rint(values / values.max() * 255)
    found = pixels_of('LoadImage', path, value_range=(0, int(values.max())))
    assert np.abs(found[..., 0] - twin).max() <= 1


def test_a_camera_of_12_bits_declares_them(tmp_path, loader):
    path = tmp_path / 'camera.png'
    values = GRADIENT // 16
    Image.fromarray(values.astype(np.uint16)).save(path)
    twin = np.rint(values / 4095 * 255)[..., None].repeat(3, axis=2)
    assert np.abs(pixels_of(loader, path, value_range=(0, 4095)) - twin).max() <= 1


def test_numbers_that_are_not_finite_are_refused(tmp_path, loader):
    values = np.ones((32, 32), np.float32)
    values[3, 4] = np.nan
    path = tmp_path / 'nodata.tiff'
    Image.fromarray(values).save(path)
    with pytest.raises(UserError, match=rf"'{path}' holds numbers that are not finite"):
        pixels_of(loader, path, value_range=(0, 1))


@pytest.mark.parametrize('value_range', [(1, 0), (0,), (0, float('nan')), 'ab', 3, (0, 0)])
def test_a_range_that_is_none_is_refused_at_once(loader, value_range):
    with pytest.raises(UserError, match='value_range is'):
        LOADERS[loader](value_range=value_range)


def image_of(mode):
    grey = Image.fromarray((GRADIENT // 257).astype(np.uint8))
    if mode == 'LA':
        image = grey.convert('LA')
        image.putalpha(Image.fromarray((255 - GRADIENT // 257).astype(np.uint8)))
        return image, {}
    if mode in ('P', 'P transparent'):
        grey.putpalette(PALETTE)
        return grey, dict(transparency=7) if mode != 'P' else {}
    if mode == 'RGBA':
        return image_of('LA')[0].convert('RGBA'), {}
    return grey.convert(mode), {}


@pytest.mark.parametrize('mode', ['L', 'LA', '1', 'P', 'P transparent', 'RGBA', 'RGB'])
def test_every_colour_mode_is_alike_in_all_loaders(tmp_path, mode):
    image, options = image_of(mode)
    path = tmp_path / 'image.png'
    image.save(path, **options)
    expected = np.asarray(Image.open(path).convert('RGB')).astype(np.int64)
    for loader in LOADERS:
        assert np.abs(pixels_of(loader, path) - expected).max() <= 1, loader


def test_cmyk_is_alike_in_all_loaders(tmp_path):
    path = tmp_path / 'print.jpg'
    image_of('CMYK')[0].save(path, quality=95)
    expected = pixels_of('LoadImage', path)
    for loader in LOADERS:
        assert np.abs(pixels_of(loader, path) - expected).max() <= 1, loader


@pytest.mark.parametrize('mode', ['RGBa', 'La', 'PA'])
def test_modes_of_rare_files_are_converted(mode):
    image = Image.new({'RGBa': 'RGBA', 'La': 'LA', 'PA': 'PA'}[mode], (2, 2)).convert(mode)
    assert to_rgb(image, 'rare.tiff').mode == 'RGB'
