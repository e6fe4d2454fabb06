"""Both views of real photos are those of PIL and torchvision; the crop has no favourite place."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import MODELS, TRANSFORMS
from PIL import Image
from torchvision.transforms import ColorJitter, InterpolationMode
from torchvision.transforms.functional import resized_crop

from mmbeitv2.datasets.random_crop import draw_box
from mmbeitv2.datasets.sampling import SampleIndex, SampleSeeded
from mmbeitv2.launch.config import load_config

pytestmark = [pytest.mark.equality, pytest.mark.usefixtures('mmpretrain_scope')]
ROOT = Path(__file__).parents[2]
PHOTOS = sorted((ROOT / 'demo/assets/backgrounds').glob('*/*.jpg'))
EPOCHS = 10
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
IMAGENET_STD = np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope='module')
def cfg():
    return load_config(ROOT / 'configs/beitv2_vit-b16_300e.py')


def seeded_transforms(cfg):
    """The random transforms of the paper's pipeline, by their name."""
    (seeded,) = [t for t in cfg.train_pipeline if t['type'].endswith('SampleSeeded')]
    return {t['type'].replace('/', '.').split('.')[-1]: t for t in seeded['transforms']}


def pipeline_of(random):
    """Loading and packing around some of the random transforms."""
    seeded = dict(type='mmbeitv2.SampleSeeded', transforms=list(random.values()))
    return [seeded, dict(type='PackInputs')]


def our_views(cfg, pipeline, epoch=0):
    """Both views of every photo, float64 grey levels (photos, 224, 224, 3), 0 to 255."""
    pipeline = Compose(pipeline)
    samples = [
        pipeline(dict(img_path=str(path), sample_idx=SampleIndex(i, 0, epoch)))
        for i, path in enumerate(PHOTOS)
    ]
    preprocessor = MODELS.build(cfg.data_preprocessor)
    student, tokenizer = preprocessor(dict(inputs=[s['inputs'] for s in samples]))['inputs']
    student, tokenizer = (
        view.double().permute(0, 2, 3, 1).numpy() for view in (student, tokenizer)
    )
    return {
        "student's view": (student * IMAGENET_STD + IMAGENET_MEAN) * 255,
        "tokenizer's view": (tokenizer + 1) * 127.5,
    }


class Crop:
    """The peer: draw the same box, ``resize`` what it holds, and flip.

    The photo is jittered before that, as the official pipeline does.
    """

    def __init__(self, resize, jitter=None):
        self.resize = resize
        self.jitter = ColorJitter(jitter, jitter, jitter) if jitter else lambda photo: photo

    def __call__(self, results):
        photo = results['img']
        box = draw_box(photo.size[::-1], (0.2, 1.0), (3 / 4, 4 / 3))
        crop = self.resize(self.jitter(photo), *box)
        return dict(img=crop[:, ::-1] if torch.rand(1) < 0.5 else crop)


def peer_crops(resize, jitter=None, epoch=0):
    peer = SampleSeeded([Crop(resize, jitter)])
    crops = [
        peer(dict(img=Image.open(path).convert('RGB'), sample_idx=SampleIndex(i, 0, epoch)))['img']
        for i, path in enumerate(PHOTOS)
    ]
    return np.stack(crops)


def with_pil(photo, top, left, height, width):
    box = (left, top, left + width, top + height)
    return np.asarray(photo.crop(box).resize((224, 224), Image.Resampling.BICUBIC))


def with_torchvision(photo, top, left, height, width):
    return np.asarray(
        resized_crop(photo, top, left, height, width, [224, 224], InterpolationMode.BICUBIC)
    )


@pytest.mark.parametrize(('peer', 'resize'), [('PIL', with_pil), ('torchvision', with_torchvision)])
def test_training_views(peer, resize, cfg, assert_equal_within):
    random = seeded_transforms(cfg)
    del random['JitterCrop'], random['BlockMask']
    found = our_views(cfg, pipeline_of(random))
    expected = peer_crops(resize)
    # torch rounds weights and intermediate rows otherwise, which shows at sharp edges.
    compare(found, expected, f'{peer}, {len(PHOTOS)} photos', 'random', assert_equal_within, 5)


def test_jitter_is_that_of_the_whole_photo(cfg, assert_equal_within):
    """A crop that is jittered is the crop of a jittered photo, and not one jittered by itself."""
    random = seeded_transforms(cfg)
    del random['BlockMask']
    differences, ours, theirs = [], [], []
    for epoch in range(EPOCHS):
        found = our_views(cfg, pipeline_of(random), epoch)["tokenizer's view"]
        expected = peer_crops(with_pil, jitter=0.4, epoch=epoch)
        differences.append(np.abs(found - expected).mean())
        ours.append(found)
        theirs.append(expected)
    ours, theirs = np.stack(ours).astype(np.float64), np.stack(theirs).astype(np.float64)
    peer = f'torchvision and PIL, {len(PHOTOS)} photos, {EPOCHS} times'
    assert_equal_within(
        'jittered crop, grey levels, mean over pixels',
        peer,
        torch.tensor(np.mean(differences)),
        torch.tensor(0.0),
        # With the mean of the crop for contrast it is 0.9.
        atol=0.5,
    )
    for what, statistic in (('mean', np.mean), ('standard deviation', np.std)):
        assert_equal_within(
            f'jittered crops, {what} of every channel, grey levels',
            peer,
            *(torch.from_numpy(statistic(views, axis=(0, 1, 2, 3))) for views in (ours, theirs)),
            atol=0.1,
        )


def test_validation_views(cfg, assert_equal_within):
    found = our_views(cfg, cfg.val_pipeline)
    expected = []
    for path in PHOTOS:
        photo = Image.open(path).convert('RGB')
        scale = 224 / min(photo.size)
        photo = photo.resize(
            [max(224, int(side * scale)) for side in photo.size], Image.Resampling.BICUBIC
        )
        left, top = (round((side - 224) / 2) for side in photo.size)
        expected.append(np.asarray(photo.crop((left, top, left + 224, top + 224))))
    # A level, and what normalisation in float32 adds to it.
    peer = f'PIL, {len(PHOTOS)} photos'
    compare(found, np.stack(expected), peer, 'centre', assert_equal_within, most=1.001)


@pytest.mark.parametrize('size', [224, 384])
def test_classifiers_test_view(size, assert_equal_within):
    """From the file to what the model gets: mmpretrain's transforms on whole photos."""
    name = f'beitv2_vit-b16_in21k_in1k-{size}.py'
    cfg = load_config(ROOT / 'configs/finetune' / name)
    short_side = cfg.val_pipeline[0].short_side
    theirs = [
        dict(
            type='LoadImageFromFile',
            imdecode_backend='pillow',
            color_type='color_ignore_orientation',
        ),
        dict(type='ResizeEdge', scale=short_side, backend='pillow', interpolation='bicubic'),
        dict(type='CenterCrop', crop_size=size),
        dict(type='PackInputs'),
    ]
    views = []
    for pipeline, to_rgb in ((cfg.val_pipeline, cfg.data_preprocessor.to_rgb), (theirs, True)):
        samples = [Compose(pipeline)(dict(img_path=str(path))) for path in PHOTOS]
        assert all(sample['inputs'].dtype == torch.uint8 for sample in samples)
        preprocessor = dict(cfg.data_preprocessor, type='ClsDataPreprocessor', to_rgb=to_rgb)
        batch = dict(inputs=torch.stack([sample['inputs'] for sample in samples]))
        view = MODELS.build(preprocessor)(batch)['inputs'].double()
        assert view.shape == (len(PHOTOS), 3, size, size)
        views.append(view.permute(0, 2, 3, 1).numpy() * IMAGENET_STD * 255)
    compare(
        {f"classifier's view, {size} pixels": views[0]},
        views[1],
        f'mmpretrain, {len(PHOTOS)} photos',
        'centre',
        assert_equal_within,
        # Larger pixels show more of the order in which the passes of the resize are rounded.
        most=1.001 if size == 224 else 2.001,
    )


def compare(found, expected, peer, crop, assert_equal_within, most=1):
    """At most so many grey levels of difference, and 0.02 on average."""
    expected = torch.from_numpy(expected.astype(np.float64))
    for view, values in found.items():
        values = torch.from_numpy(values)
        assert_equal_within(f'{view}, {crop} crop, grey levels', peer, values, expected, atol=most)
        mean = (values - expected).abs().mean()
        assert_equal_within(
            f'{view}, {crop} crop, mean over pixels', peer, mean, torch.tensor(0.0), atol=0.02
        )


def test_crop_is_unbiased(cfg, assert_equal_within, tmp_path):
    """The mean of a crop of a picture of coordinates tells its centre, its extremes the sides."""
    width, height = 48, 32
    column, row = np.meshgrid(np.arange(width), np.arange(height))
    picture = np.stack([4 * column, 4 * row, 0 * row], axis=-1).astype(np.uint8)
    path = tmp_path / 'coordinates.png'
    Image.fromarray(picture).save(path)
    crop = TRANSFORMS.build({**seeded_transforms(cfg)['LoadRandomCrop'], 'size': 32})
    crops = torch.stack([crop(dict(img_path=str(path)))['img'] for _ in range(4000)])
    coordinates = crops[:, :2].permute(0, 2, 3, 1).numpy().astype(np.float64) / 4
    centres = coordinates.mean(axis=(1, 2))
    expected = np.array([(width - 1) / 2, (height - 1) / 2])
    standard_error = centres.std(axis=0) / len(centres) ** 0.5
    assert_equal_within(
        'mean centre of the random crop, in standard errors',
        'centre of the photo, 4,000 crops',
        torch.from_numpy(centres.mean(axis=0) / standard_error),
        torch.from_numpy(expected / standard_error),
        atol=4,
    )
    # Every side of the photo is reached, and opposite sides equally often.
    first = (coordinates.min(axis=(1, 2)) == 0).sum(axis=0)
    last = (coordinates.max(axis=(1, 2)) == [width - 1, height - 1]).sum(axis=0)
    assert first.min() > 0
    assert_equal_within(
        'crops that reach the last row or column, in standard errors',
        'the first, 4,000 crops',
        torch.from_numpy(last / np.sqrt(first + last)),
        torch.from_numpy(first / np.sqrt(first + last)),
        atol=4,
    )
