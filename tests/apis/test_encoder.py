"""From a checkpoint and a photo to features in three lines, whatever the checkpoint."""

import pytest
import torch
from mmengine.config import Config
from torch.testing import assert_close

from mmbeitv2.apis import (
    extract_features,
    for_backbone,
    for_tokenizer,
    load_encoder,
    load_pretrained,
    load_tokenizer,
    read_photos,
    tokenize,
)


def encoder_of(checkpoint, **options):
    return load_encoder(checkpoint, num_heads=4, precision='float32', **options)


def test_features_of_one_photo_are_those_of_extract_features(pretrained_checkpoint, photos):
    found = encoder_of(pretrained_checkpoint).from_photo(photos / 'b.png')
    pixels = read_photos([photos / 'b.png'], 64)
    model = load_pretrained(str(pretrained_checkpoint), num_heads=4)
    expected = extract_features(model, for_backbone(pixels))
    assert_close(found['cls'], expected['cls_token'][0])
    assert_close(found['patches'], expected['patch_tokens'][0])
    assert_close(found['mean'], expected['patch_tokens'][0].mean(0))
    assert torch.equal(found['codes'], tokenize(model.target_generator, for_tokenizer(pixels))[0])


def test_a_tokenizer_sees_its_own_range(tokenizer_checkpoint, photos):
    encoder = encoder_of(tokenizer_checkpoint)
    found = encoder.from_photo(photos / 'b.png')
    tokenizer = load_tokenizer(str(tokenizer_checkpoint), num_heads=4)
    pixels = for_tokenizer(read_photos([photos / 'b.png'], 64))
    patches, _ = tokenizer.encoder.patch_tokens(pixels)
    assert_close(found['patches'], patches[0])
    assert torch.equal(found['codes'], tokenize(tokenizer, pixels)[0])
    assert repr(encoder) == 'PhotoEncoder(tokenizer, size=64, width=48, codes=64)'


def test_the_mean_of_a_classifier_is_what_its_head_sees(
    classifier_backbone, classifier_checkpoint, photos
):
    found = encoder_of(classifier_checkpoint).from_photos([photos / 'b.png', photos / 'e.png'])
    pixels = read_photos([photos / 'b.png', photos / 'e.png'], 64)
    (expected,) = classifier_backbone(for_backbone(pixels))
    assert_close(found['mean'], expected)
    assert 'codes' not in found


def test_photos_are_normalised_as_the_run_noted(pretrained_checkpoint, photos):
    mean, std = (0.45, 0.44, 0.43), (0.25, 0.24, 0.26)
    content = torch.load(pretrained_checkpoint, weights_only=True)
    # As our own pretraining notes it.
    pipeline = [
        dict(type='torchvision/RandomHorizontalFlip', p=0.5),
        dict(type='mmbeitv2.LoadRandomCrop'),
    ]
    cfg = dict(
        data_preprocessor=dict(mean=mean, std=std),
        train_dataloader=dict(dataset=dict(pipeline=pipeline)),
    )
    meta = dict(cfg=Config(cfg).pretty_text)
    torch.save({**content, 'meta': meta}, pretrained_checkpoint)
    found = encoder_of(pretrained_checkpoint).from_photo(photos / 'b.png')
    model = load_pretrained(str(pretrained_checkpoint), num_heads=4)
    views = for_backbone(read_photos([photos / 'b.png'], 64), mean, std)
    assert_close(found['cls'], extract_features(model, views)['cls_token'][0])


def test_photos_of_segmentation_are_turned_round_by_its_preprocessor(segmenter):
    found = encoder_of(segmenter[1]).normalization
    assert found == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_codes_of_another_tokenizer_and_another_size(
    pretrained_checkpoint, tokenizer_checkpoint, photos
):
    encoder = load_encoder(
        pretrained_checkpoint, tokenizer_checkpoint, size=96, num_heads=4, precision='float32'
    )
    assert encoder.grids == dict(patches=(6, 6), codes=(6, 6))
    found = encoder.from_photo(photos / 'b.png')
    assert found['patches'].shape == (36, 48)
    tokenizer = load_tokenizer(str(tokenizer_checkpoint), num_heads=4)
    pixels = for_tokenizer(read_photos([photos / 'b.png'], 96))
    assert torch.equal(found['codes'], tokenize(tokenizer, pixels)[0])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(size=70), 'size is 70 pixels, but must be a multiple of the patch, 16'),
        (dict(size=0), 'size is 0 pixels'),
        (dict(device='cuda:77'), "device is 'cuda:77', which this machine does not have"),
        (dict(device='meta'), "device is 'meta', which this machine does not have"),
        (dict(device='gpu'), "device is 'gpu', which this machine does not have"),
    ],
)
def test_arguments_that_cannot_be_used_are_one_line(pretrained_checkpoint, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        encoder_of(pretrained_checkpoint, **options)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'pixels', [torch.rand(1, 3, 64, 64), torch.zeros(3, 64, 64, dtype=torch.uint8)]
)
def test_only_pixels_are_taken(pretrained_checkpoint, pixels):
    with pytest.raises(ValueError, match='expected uint8 RGB'):
        encoder_of(pretrained_checkpoint).from_pixels(pixels)
