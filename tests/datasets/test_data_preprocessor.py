import subprocess
import sys

import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.registry import MODELS, TRANSFORMS
from mmpretrain.structures import DataSample
from PIL import Image
from torchvision import transforms

from mmbeitv2.datasets import BEiTV2DataPreprocessor, LoadImage, VQKDDataPreprocessor

BOTH = pytest.mark.parametrize('cls', [BEiTV2DataPreprocessor, VQKDDataPreprocessor])


@pytest.fixture
def crop(photo):
    return Image.open(photo).convert('RGB').crop((100, 50, 164, 98))


@pytest.fixture
def images(crop):
    return [transforms.functional.pil_to_tensor(crop).flip(i) for i in (1, 2)]


def test_student_view_equals_torchvisions_normalisation(crop):
    expected = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )(crop)
    pixels = transforms.functional.pil_to_tensor(crop)
    student, _ = BEiTV2DataPreprocessor()({'inputs': [pixels]})['inputs']
    assert student.dtype == torch.float32
    torch.testing.assert_close(student, expected[None])


def test_tokenizer_view_equals_torchvisions_map_to_minus_one_and_one(crop):
    expected = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])(crop)
    pixels = transforms.functional.pil_to_tensor(crop)
    _, view = BEiTV2DataPreprocessor()({'inputs': [pixels]})['inputs']
    alone = VQKDDataPreprocessor()({'inputs': [pixels]})['inputs']
    assert view.dtype == alone.dtype == torch.float32
    torch.testing.assert_close(view, expected[None])
    assert torch.equal(view, alone)


def test_tokenizer_view_spans_exactly_minus_one_to_one():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).repeat(1, 3, 2, 1)
    view = VQKDDataPreprocessor()({'inputs': pixels})['inputs']
    assert (view.min().item(), view.max().item()) == (-1.0, 1.0)


def test_other_mean_and_std(images):
    preprocessor = BEiTV2DataPreprocessor(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    student, view = preprocessor({'inputs': images})['inputs']
    torch.testing.assert_close(student, view)


@BOTH
def test_list_and_stacked_batch_give_the_same(cls, images):
    from_list = cls()({'inputs': images})['inputs']
    from_tensor = cls()({'inputs': torch.stack(images)})['inputs']
    torch.testing.assert_close(from_list, from_tensor, rtol=0, atol=0)


@pytest.mark.parametrize('collate', [default_collate, pseudo_collate])
def test_packed_photos_keep_their_samples_and_masks(mmpretrain_scope, photo, collate):
    pipeline = [
        LoadImage(),
        TRANSFORMS.build(
            {'type': 'torchvision/RandomResizedCrop', 'size': 32, 'interpolation': 'bicubic'}
        ),
        TRANSFORMS.build({'type': 'mmbeitv2.BlockMask', 'grid_size': 8, 'num_masked': 30}),
        TRANSFORMS.build({'type': 'PackInputs'}),
    ]
    batch = []
    for _ in range(3):
        results = {'img_path': str(photo)}
        for transform in pipeline:
            results = transform(results)
        batch.append(results)
    preprocessor = MODELS.build({'type': 'mmbeitv2.BEiTV2DataPreprocessor', 'image_size': 32})
    data = preprocessor(collate(batch), training=True)
    assert [view.shape for view in data['inputs']] == [(3, 3, 32, 32)] * 2
    for sample, packed in zip(data['data_samples'], batch, strict=True):
        assert isinstance(sample, DataSample)
        assert sample.mask.sum() == 30
        assert torch.equal(sample.mask, packed['data_samples'].mask)


@BOTH
def test_samples_are_optional_and_input_stays_unchanged(cls, images):
    before = [image.clone() for image in images]
    assert cls()({'inputs': images})['data_samples'] is None
    assert all(torch.equal(a, b) for a, b in zip(images, before, strict=True))


@BOTH
def test_preprocessor_is_found_before_any_dataset_is_built(cls):
    """A runner builds the model, and with it the preprocessor, before its data loaders."""
    code = (
        'from mmengine.registry import MODELS, init_default_scope; '
        "init_default_scope('mmpretrain'); "
        f"MODELS.build(dict(type='mmbeitv2.{cls.__name__}'))"
    )
    process = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


@BOTH
def test_preprocessor_adds_nothing_to_checkpoints(cls):
    assert not cls().state_dict()


@BOTH
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_views_are_made_on_the_device(cls, images):
    inputs = cls().to('cuda')({'inputs': images})['inputs']
    expected = cls()({'inputs': images})['inputs']
    torch.testing.assert_close(inputs, expected, check_device=False)
    assert all(view.is_cuda for view in inputs)


@BOTH
@pytest.mark.parametrize(
    ('image', 'shown'),
    [
        (torch.zeros(3, 8, 8), r'torch\.float32 and shape \(3, 8, 8\)'),
        (torch.zeros(1, 8, 8, dtype=torch.uint8), r'\(1, 8, 8\)'),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r'\(8, 8, 3\)'),
        (torch.zeros(8, 8, dtype=torch.uint8), r'\(8, 8\)'),
    ],
)
def test_anything_but_uint8_rgb_is_refused(cls, image, shown):
    with pytest.raises(ValueError, match=shown + '.*uint8 RGB'):
        cls()({'inputs': [image, image]})


@BOTH
def test_different_sizes_in_a_batch_are_refused(cls):
    images = [torch.zeros(3, side, 8, dtype=torch.uint8) for side in (8, 6)]
    with pytest.raises(ValueError, match=r'\(3, 6, 8\), \(3, 8, 8\)'):
        cls()({'inputs': images})


@BOTH
@pytest.mark.parametrize('image_size', [32, (48, 32)])
def test_another_size_than_image_size_is_refused(cls, image_size, images):
    with pytest.raises(ValueError, match=r'\(48, 64\).*image_size=\(\d+, 32\)'):
        cls(image_size=image_size)({'inputs': images})


@BOTH
def test_expected_size_is_accepted(cls, images):
    assert cls(image_size=[48, 64])({'inputs': images})['inputs'][0].shape[-2:] == (48, 64)


@pytest.mark.parametrize(
    'arguments', [{'mean': (123.675, 116.28, 103.53)}, {'std': (0, 1, 1)}, {'mean': (0.5,)}]
)
def test_mean_and_std_on_another_scale_are_refused(arguments):
    with pytest.raises(ValueError, match=r'mean=.*std=.*\[0, 1\]'):
        BEiTV2DataPreprocessor(**arguments)
