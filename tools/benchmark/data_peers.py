"""Pipelines of the transforms that mmpretrain and torchvision offer, to compare ours with.

But for ``PRETRAINING``, which is mmpretrain's own config, they are what our configs named before
they read crops: the same recipes, from whole decoded photos.
"""

MEAN_BGR = [103.53, 116.28, 123.675]
STD_BGR = [57.375, 57.12, 58.395]
LOAD = dict(
    type='LoadImageFromFile', imdecode_backend='pillow', color_type='color_ignore_orientation'
)
PACK = dict(type='PackInputs')

# configs/_base_/datasets/imagenet_bs256_beitv2.py of mmpretrain.
PRETRAINING = [
    dict(type='LoadImageFromFile'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandomResizedCropAndInterpolationWithTwoPic',
        size=224,
        second_size=224,
        interpolation='bicubic',
        second_interpolation='bicubic',
        scale=(0.2, 1.0),
    ),
    dict(
        type='BEiTMaskGenerator',
        input_size=(14, 14),
        num_masking_patches=75,
        max_num_patches=75,
        min_num_patches=16,
    ),
    PACK,
]
LINEAR_PROBE = [
    LOAD,
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    PACK,
]
RAND_AUGMENT = dict(
    type='RandAugment',
    policies='timm_increasing',
    num_policies=2,
    total_level=10,
    magnitude_level=9,
    magnitude_std=0.5,
    hparams=dict(pad_val=[round(value) for value in MEAN_BGR], interpolation='bicubic'),
)
RANDOM_ERASING = dict(
    type='RandomErasing',
    erase_prob=0.25,
    mode='rand',
    min_area_ratio=0.02,
    max_area_ratio=1 / 3,
    fill_color=MEAN_BGR,
    fill_std=STD_BGR,
)
FINE_TUNING = [*LINEAR_PROBE[:-1], RAND_AUGMENT, RANDOM_ERASING, PACK]
VALIDATION = [
    LOAD,
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    PACK,
]
UNLABELLED_VALIDATION = [
    dict(type='mmbeitv2.LoadImage'),
    dict(type='torchvision/Resize', size=224, interpolation='bicubic'),
    dict(type='torchvision/CenterCrop', size=224),
    PACK,
]
