"""Pretraining on ImageNet-1k without labels: one crop, two views, 75 of 196 patches masked."""

_base_ = 'imagenet_unlabelled.py'

image_size = 224
grid_size = image_size // 16

data_preprocessor = dict(type='mmbeitv2.BEiTV2DataPreprocessor', image_size=image_size)
block_mask = dict(
    type='mmbeitv2.BlockMask',
    grid_size=grid_size,
    num_masked=round(0.383 * grid_size**2),
    min_block=round(0.08 * grid_size**2),
)

train_pipeline = [
    dict(
        type='mmbeitv2.SampleSeeded',
        transforms=[
            dict(
                type='mmbeitv2.LoadRandomCrop',
                size=image_size,
                scale=(0.2, 1.0),
                interpolation='bicubic',
            ),
            dict(type='mmbeitv2.JitterCrop', brightness=0.4, contrast=0.4, saturation=0.4),
            dict(type='torchvision/RandomHorizontalFlip'),
            block_mask,
        ],
    ),
    dict(type='PackInputs', algorithm_keys=['mask']),
]
val_pipeline = [
    dict(type='mmbeitv2.LoadCenterCrop', size=image_size, interpolation='bicubic'),
    dict(type='mmbeitv2.SampleSeeded', transforms=[block_mask]),
    dict(type='PackInputs', algorithm_keys=['mask']),
]

train_dataloader = dict(batch_size=256, num_workers=10, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=256, num_workers=10, dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
